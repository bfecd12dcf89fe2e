"""A migrated, empty ledger per test, on SQLite and on PostgreSQL."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from bench.postgres import NoPostgres, create_database, running_postgres
from ledger.db import Ledger
from ledger.models import Base
from tests.support.at_once import Workers

_numbers = itertools.count()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("ledger") / "made" / "on demand" / "template.db"
    Ledger(f"sqlite:///{path}").migrate()
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A server for the session."""
    try:
        with running_postgres() as admin:
            yield admin
    except NoPostgres as reason:
        pytest.skip(f"PostgreSQL half skipped: {reason}")


@pytest.fixture(scope="session")
def postgres_ledger(postgres: str) -> str:
    """The address of a migrated ledger that the tests share, one after the other."""
    url = create_database(postgres, "ledger")
    Ledger(url).migrate()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """The address of a migrated, empty ledger."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        path = template.with_name("ledger.db")
        for left in template.parent.glob("ledger.db*"):
            left.unlink()
        shutil.copy(template, path)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("postgres_ledger")
    _empty(url)
    return url


@pytest.fixture(scope="session")
def opened() -> dict[str, Ledger]:
    """Ledgers by address. They outlive a test, since each keeps the statements that it has compiled."""
    return {}


@pytest.fixture
def ledger(ledger_url: str, opened: dict[str, Ledger]) -> Iterator[Ledger]:
    """A migrated, empty ledger."""
    found = opened.setdefault(ledger_url, Ledger(ledger_url))
    yield found
    found.dispose()


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """Two processes that work on ledgers at the same time."""
    started = Workers("tests.support.ledger_worker", 2)
    yield started
    started.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without any tables; on SQLite the file is not there yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return create_database(request.getfixturevalue("postgres"), f"empty_{next(_numbers)}")


def _empty(url: str) -> None:
    """Deletes every row. A new database for each test, or TRUNCATE, takes a hundred times as long."""
    # As a replica does: without triggers, which is also how references are checked.
    replica = sql.SQL("SET LOCAL session_replication_role = replica")
    deletes = [sql.SQL("DELETE FROM {}").format(sql.Identifier(name)) for name in Base.metadata.tables]
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(sql.SQL(";").join([replica, *deletes]))
