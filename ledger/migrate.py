"""Brings a ledger's schema up to date with the migrations in this package; no alembic.ini is needed.

The whole upgrade is one transaction on both databases, and only one process at a time is in it: PostgreSQL holds an
advisory lock, SQLite its write lock.
"""

import threading
import time
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError as SqliteError
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, NullPool, create_engine, event, text

LOCK_TIMEOUT_SECONDS = 60
# Any fixed number: the name of our advisory lock.
_ADVISORY_LOCK = 0x7A11_0001
_ALEMBIC = Path(__file__).with_name("alembic")
# Alembic's `context` and `op` belong to the process, so its threads take turns.
_turn = threading.Lock()


def alembic_config() -> Config:
    """The configuration that both the program and its tests use."""
    config = Config()
    config.set_main_option("script_location", str(_ALEMBIC).replace("%", "%%"))
    return config


def migrate(url: URL) -> list[str]:
    """Applies what is missing, oldest first, and returns the revisions applied."""
    engine = create_engine(url, poolclass=NullPool, connect_args=_connect_args(url))
    if url.get_backend_name() == "sqlite":
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with _turn, engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:name)"), {"name": _ADVISORY_LOCK})
        applied = _upgrade(connection)
        if connection.dialect.name == "sqlite":
            _check_references(connection)
    return applied


def _upgrade(connection: Connection) -> list[str]:
    applied: list[str] = []
    config = alembic_config()
    config.attributes["connection"] = connection
    config.attributes["applied"] = applied
    command.upgrade(config, "head")
    return applied


def _connect_args(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"timeout": LOCK_TIMEOUT_SECONDS}
    return {"connect_timeout": 5, "application_name": "tallyhouse-migrate", "options": "-c timezone=UTC"}


def _prepare_sqlite(connection: SqliteConnection, _record: Any) -> None:
    # The driver must not begin transactions by itself: the "begin" event does.
    connection.isolation_level = None
    # A table is changed by making a copy and dropping the original, which enforced references would refuse. The setting
    # cannot change inside a transaction; _check_references looks at them all before the commit instead.
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA synchronous = FULL")
    _enter_wal(connection)


def _enter_wal(connection: SqliteConnection) -> None:
    # Changing the journal mode does not wait for the busy timeout when another process is changing it too.
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except SqliteError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _check_references(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise RuntimeError(f"the migration would leave {len(broken)} rows that point nowhere, first in {broken[0][0]}")
