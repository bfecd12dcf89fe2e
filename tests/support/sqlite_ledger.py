"""A migrated SQLite ledger for tests. A conftest offers it with `from tests.support.sqlite_ledger import ledger`; all
tests of a worker share the template.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.db import Ledger


@pytest.fixture(scope="session")
def ledger_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy; migrating one takes longer than most tests."""
    path = tmp_path_factory.mktemp("ledger") / "template.db"
    opened = Ledger(f"sqlite:///{path}")
    opened.migrate()
    opened.dispose()
    return path


@pytest.fixture
def ledger(ledger_template: Path, tmp_path: Path) -> Iterator[Ledger]:
    """A migrated, empty ledger."""
    path = tmp_path / "ledger.db"
    shutil.copy(ledger_template, path)
    opened = Ledger(f"sqlite:///{path}")
    yield opened
    opened.dispose()
