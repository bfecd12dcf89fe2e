"""The only client of the warehouse: named statements out, typed values back, over ClickHouse's HTTP interface.

Statements are asked for by name (`queries/usage_by_day`) and their values travel apart from the text, as server-side
parameters `{name:Type}`; there is no way to hand in SQL that was put together from values.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.httputil import get_pool_manager
from urllib3.exceptions import HTTPError

from billing.errors import Unavailable
from warehouse_sql.errors import translated
from warehouse_sql.load import parameters, sql
from warehouse_sql.memory import Memory
from warehouse_sql.retry import READS, Retry

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_REMEMBERED = 256


class Warehouse:
    """A connection pool for one database. Safe to share between threads; opens nothing until it is first used.

    Statements are asked for by their names in `package`. Reads are repeated a few times when the engine cannot be
    reached; inserts and commands never are, their caller knows whether a second try is safe. Raises Unavailable when
    the engine is down, overloaded or too slow, and WarehouseError when it refused. Unavailable from an insert or a
    command says nothing about whether it was carried out.
    """

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        database: str = "tallyhouse",
        *,
        connect_timeout_seconds: int = 5,
        read_timeout_seconds: int = 120,
        pool_size: int = 16,
        retry: Retry = READS,
        package: str = "warehouse_sql",
    ) -> None:
        self.url = url
        self.user = user
        self.database = database
        self.memory = Memory(_MOST_REMEMBERED)
        self._password = password
        self._connect_timeout_seconds = connect_timeout_seconds
        self._read_timeout_seconds = read_timeout_seconds
        self._pool_size = pool_size
        self._retry = retry
        self._package = package
        self._pool = get_pool_manager(maxsize=pool_size, block=False)
        self._beside = ThreadPoolExecutor(pool_size, "warehouse")
        self._opening = threading.Lock()
        self._client: Client | None = None
        # Told of every statement and insert: its name, and the seconds that it took. For measurements.
        self.observe: Callable[[str, float], None] | None = None

    def __repr__(self) -> str:
        return f"Warehouse({self.url!r}, user={self.user!r}, database={self.database!r})"

    def at(self, database: str) -> Warehouse:
        """The same server and account, another database."""
        return Warehouse(
            self.url,
            self.user,
            self._password,
            database,
            connect_timeout_seconds=self._connect_timeout_seconds,
            read_timeout_seconds=self._read_timeout_seconds,
            pool_size=self._pool_size,
            retry=self._retry,
            package=self._package,
        )

    def ping(self) -> bool:
        """Whether the server answers a statement, asked once. Raises WarehouseError where it refuses our account."""
        try:
            self._once("ping", lambda client: client.raw_query("SELECT 1", fmt="TabSeparated", use_database=False))
        except Unavailable:
            return False
        return True

    def rows(
        self, name: str, params: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The result as dicts by column. Decimals stay Decimal; times with a zone are tz-aware, in that zone."""
        text, bound, options = *self._bound(name, params), self._read_settings(name, settings)
        result = self._read(name, lambda client: client.query(text, parameters=bound, settings=options))
        return list(result.named_results())

    def columns(
        self, name: str, params: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> dict[str, Sequence[Any]]:
        """The result as `rows` has it, by column: for many rows, of which a dict each would cost the most.

        Without rows there are no columns either: the engine then sends nothing at all.
        """
        text, bound, options = *self._bound(name, params), self._read_settings(name, settings)
        result = self._read(name, lambda client: client.query(text, parameters=bound, settings=options))
        return dict(zip(result.column_names, result.result_columns, strict=False))

    def columns_beside(
        self, name: str, params: Mapping[str, Any] | None = None
    ) -> Callable[[], dict[str, Sequence[Any]]]:
        """Asks as `columns` does, in a thread of its own. What is returned waits for the answer."""
        return self._beside.submit(self.columns, name, params).result

    def table(
        self, name: str, params: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> pa.Table:
        """The result as an Arrow table. Cast Decimal256, UUID, Enum and DateTime in the SQL."""
        text, bound, options = *self._bound(name, params), self._read_settings(name, settings)
        return self._read(
            name, lambda client: client.query_arrow(text, parameters=bound, settings=options, use_strings=True)
        )

    def frame(
        self, name: str, params: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> pl.DataFrame:
        """The result as a Polars frame, by way of `table`."""
        import polars as pl  # noqa: PLC0415 -- a tenth of the start of an API, which asks for no frame

        frame = pl.from_arrow(self.table(name, params, settings))
        if not isinstance(frame, pl.DataFrame):
            raise TypeError(f"{name} did not return a table")
        return frame

    def command(
        self, name: str, params: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Runs a statement that returns no rows, once."""
        text, bound, options = *self._bound(name, params), _settings(name, settings)
        self._once(name, lambda client: client.command(text, parameters=bound, settings=options))

    def statement(self, text: str, label: str) -> None:
        """Runs one statement of a migration file, once. For `migrate` only: all else is asked for by name."""
        self._once(label, lambda client: client.command(text, settings=_settings(label, None)))

    def insert_raw(
        self,
        table: str,
        columns: Sequence[str] | None,
        body: bytes,
        fmt: str,
        settings: Mapping[str, Any] | None = None,
        compression: str | None = None,
    ) -> None:
        """Inserts rows that are already written in `fmt` (JSONEachRow, RowBinary, …); returns once they are stored.

        `compression` names how `body` is compressed: lz4, zstd, gzip, or None.
        """
        label = _insert_label(table)
        options = _settings(label, settings)
        self._once(
            label,
            lambda client: client.raw_insert(
                table, column_names=columns, insert_block=body, settings=options, fmt=fmt, compression=compression
            ),
        )

    def insert_arrow(self, table: str, rows: pa.Table, settings: Mapping[str, Any] | None = None) -> None:
        """Inserts an Arrow table, columns matched by name; returns once its rows are stored."""
        label = _insert_label(table)
        options = _settings(label, settings)
        self._once(label, lambda client: client.insert_arrow(table, rows, database=self.database, settings=options))

    def insert_frame(self, table: str, rows: pl.DataFrame, settings: Mapping[str, Any] | None = None) -> None:
        """Inserts a Polars frame, columns matched by name; returns once its rows are stored."""
        self.insert_arrow(table, rows.to_arrow(), settings)

    def close(self) -> None:
        """Closes all connections; the next use opens new ones."""
        with self._opening:
            self._client = None
            self._pool.clear()

    def _bound(self, name: str, params: Mapping[str, Any] | None) -> tuple[str, dict[str, Any] | None]:
        """The statement and those of the parameters that it names: binding one costs more than looking."""
        text = sql(name, self._package)
        named = parameters(text)
        return text, _params({key: value for key, value in (params or {}).items() if key in named})

    def _read(self, label: str, ask: Callable[[Client], T]) -> T:
        return self._retry.run(lambda: self._once(label, ask))

    def _once(self, label: str, ask: Callable[[Client], T]) -> T:
        began = time.perf_counter()
        try:
            return ask(self._connected())
        except (ClickHouseError, HTTPError, OSError) as error:
            raise translated(error, label) from error
        finally:
            if self.observe is not None:
                self.observe(label, time.perf_counter() - began)

    def _read_settings(self, label: str, settings: Mapping[str, Any] | None) -> dict[str, Any]:
        # The engine stops a read that we have stopped to wait for.
        return {"max_execution_time": self._read_timeout_seconds, **_settings(label, settings)}

    def _connected(self) -> Client:
        client = self._client
        if client is None:
            with self._opening:
                client = self._client = self._client or self._open()
        return client

    def _open(self) -> Client:
        return clickhouse_connect.get_client(
            dsn=self.url,
            username=self.user,
            password=self._password,
            database=self.database,
            connect_timeout=self._connect_timeout_seconds,
            send_receive_timeout=self._read_timeout_seconds,
            client_name="tallyhouse",
            # A session would make its queries wait for each other; we keep nothing in one.
            autogenerate_session_id=False,
            query_retries=0,
            compress=False,
            tz_mode="schema",
            pool_mgr=self._pool,
        )


def _insert_label(table: str) -> str:
    if not _TABLE.fullmatch(table):
        raise ValueError(f"{table!r} is not the plain name of a table")
    return f"insert/{table}"


def _params(params: Mapping[str, Any] | None) -> dict[str, Any] | None:
    for name, value in (params or {}).items():
        if isinstance(value, (float, Mapping)):
            # A double is never exact, and clickhouse-connect writes a dict as JSON, which is no Map literal.
            raise TypeError(
                f"the parameter {name} is a {type(value).__name__}; send a Decimal, or two arrays for a Map"
            )
    return dict(params) if params else None


def _settings(label: str, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"log_comment": label, **(settings or {})}
