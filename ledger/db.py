"""Engine and unit of work: one transaction per `with`, on SQLite or PostgreSQL.

On SQLite a writing transaction starts with BEGIN IMMEDIATE. It takes the write lock at its start and waits for it as
long as the busy timeout; a deferred transaction would fail at once when it turns from reading to writing after another
process has written. https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#serializable-isolation-savepoints-transactional-ddl
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from sqlite3 import Connection as SqliteConnection
from typing import Any, TypeVar

import psycopg
from msgspec.json import decode
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from billing.errors import Unavailable

BUSY_TIMEOUT_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 5
POOL_TIMEOUT_SECONDS = 10
RUN_ATTEMPTS = 6

# Class 40 (serialization failure, deadlock) and lock timeouts: the transaction was rolled back and may be run again.
_RETRYABLE_SQLSTATES = frozenset({"40001", "40P01", "55P03"})
# Classes 08 (connection), 53 (too many connections, out of memory) and 57 (shut down, statement timeout).
_NO_SERVICE = ("08", "53", "57")

_EMPTY = ("[]", b"[]")
_ANALYZE = "ANALYZE customers, subscriptions, quantities, gate_results, invoices, invoice_lines"

T = TypeVar("T")


class Ledger:
    """The ledger at `url`: `sqlite:////path/to/ledger.db` or `postgresql+psycopg://user:password@host/database`."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        if self.url.get_backend_name() == "sqlite":
            self._engine = _sqlite_engine(url)
            self._reading = self._engine.execution_options(read_only=True)
        else:
            self._engine = _postgres_engine(url)
            self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @property
    def takes_several(self) -> bool:
        """Whether several transactions may write at once. On SQLite each waits for the one before."""
        return self.url.get_backend_name() != "sqlite"

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One writing transaction: commits when the block ends, rolls back when it raises.

        Raises Unavailable `ledger_busy` (rolled back, may be run again) or `ledger_unreachable`.
        """
        with _translated_errors(), _session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One read-only transaction over a single snapshot; never waits for a writer and cannot write."""
        with _translated_errors(), _session(self._reading) as session, session.begin():
            yield session

    def run(self, work: Callable[[Session], T]) -> T:
        """`work` in one writing transaction, run again (bounded, with jitter) when it lost to another transaction.

        `work` must have no effect but on the session, since each attempt before the last was rolled back.
        """
        for attempt in range(1, RUN_ATTEMPTS):
            try:
                with self.begin() as session:
                    return work(session)
            except Unavailable as error:
                if error.code != "ledger_busy":
                    raise
            time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - jitter, not a secret
        with self.begin() as session:
            return work(session)

    def migrate(self) -> list[str]:
        """Brings the schema up to date and returns the revisions applied. Safe when several processes do it at once."""
        # Alembic takes half a second to import, and nothing else needs it.
        from ledger.migrate import migrate  # noqa: PLC0415

        return migrate(self.url)

    def refresh_statistics(self) -> None:
        """Lets the database look at how full its tables are; seconds at most, whatever their size.

        PostgreSQL does so by itself about once a minute. A run that fills tables faster than that is planned as if they
        were empty: then each foreign key is checked by reading a whole environment instead of one row. The tables are
        those that a billing day fills.
        """
        with _translated_errors(), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(_ANALYZE)

    def dispose(self) -> None:
        """Closes all connections."""
        self._engine.dispose()


def _session(engine: Engine) -> Session:
    # Stores write with statements, so an object read earlier in the session must not hide what the row holds now.
    return Session(engine, expire_on_commit=False, execution_options={"populate_existing": True})


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS},
        pool_size=10,
        max_overflow=20,
        pool_timeout=POOL_TIMEOUT_SECONDS,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: SqliteConnection, _record: Any) -> None:
        # The driver must not begin transactions by itself: `begin` below does.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        # FULL, because in WAL mode NORMAL may lose committed transactions when the power fails.
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("PRAGMA query_only = ON" if read_only else "PRAGMA query_only = OFF")
        connection.exec_driver_sql("BEGIN DEFERRED" if read_only else "BEGIN IMMEDIATE")

    return engine


def _postgres_engine(url: str) -> Engine:
    return create_engine(
        url,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "tallyhouse",
            "options": "-c timezone=UTC -c lock_timeout=10s -c statement_timeout=60s"
            " -c idle_in_transaction_session_timeout=60s",
        },
        pool_size=10,
        max_overflow=20,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        json_deserializer=_read_json,
    )


def _read_json(text: str | bytes) -> Any:
    """Most documents of an invoice and its lines are empty lists, of which a parser takes as long as of others."""
    return [] if text in _EMPTY else decode(text)


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if _lost_to_another(error):
            raise Unavailable(
                "ledger_busy", "the ledger is busy with other writes", hint="Try again.", retry_after_seconds=1
            ) from error
        if error.connection_invalidated or _cannot_connect(error):
            raise _unreachable() from error
        raise
    except PoolTimeout as error:
        raise _unreachable() from error


def _unreachable() -> Unavailable:
    return Unavailable(
        "ledger_unreachable", "the ledger's database does not answer", hint="Try again shortly.", retry_after_seconds=5
    )


def _lost_to_another(error: DBAPIError) -> bool:
    sqlite_code = getattr(error.orig, "sqlite_errorname", "") or ""
    return sqlite_code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or (
        getattr(error.orig, "sqlstate", None) in _RETRYABLE_SQLSTATES
    )


def _cannot_connect(error: DBAPIError) -> bool:
    if getattr(error.orig, "sqlite_errorname", None) == "SQLITE_CANTOPEN":
        return True
    # psycopg reports a refused or timed out connection without an SQLSTATE.
    state = getattr(error.orig, "sqlstate", None)
    return (isinstance(error.orig, psycopg.OperationalError) and state is None) or (
        state is not None and state.startswith(_NO_SERVICE)
    )
