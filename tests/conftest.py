"""What tests of many folders share, and which of them run on one worker.

Starting processes takes longer than most tests: one warehouse and one migrated ledger to copy serve a whole worker, and
folders whose tests share processes of their own run on one worker each (`--dist loadgroup`).
"""

from pathlib import Path

import pytest

from tests.support.sqlite_ledger import ledger_template
from tests.support.warehouse_fixtures import warehouse_server

__all__ = ["ledger_template", "pytest_collection_modifyitems", "warehouse_server"]

_TESTS = Path(__file__).parent
_ON_ONE_WORKER = {
    "integration/api",
    "integration/ingestion",
    "integration/ledger",
    "integration/metering",
    "integration/stripe/gateway",
    "integration/stripe/sandbox",
    "integration/warehouse",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Names the group of each test that has one."""
    for item in items:
        folder = item.path.parent.relative_to(_TESTS).as_posix()
        if folder in _ON_ONE_WORKER:
            item.add_marker(pytest.mark.xdist_group(folder))
