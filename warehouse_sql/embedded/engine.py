"""The ClickHouse engine in this process: every statement runs on a connection of its own.

A connection of chDB runs one statement at a time, several connections run in parallel, and opening one costs 0.2 ms
(measured). So each request gets a fresh one: settings, parameters, the current database and temporary tables end with
the request and can never leak into another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import chdb.state

from warehouse_sql.embedded.datafile import DataFile
from warehouse_sql.embedded.failure import QueryFailed, from_engine
from warehouse_sql.statements import InsertHead, reads_client_files, split

# Where a request works that names no database. chDB's own `default` also looks for files named like its tables.
_HOME = "main"
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class ExternalTable:
    """A table that travels with a query: columns as in `a UInt8, b String`."""

    name: str
    structure: str
    format: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a statement runs in."""

    database: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[ExternalTable, ...] = ()
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The formatted result, and what the engine counted; `data` may be memory that `owner` frees."""

    data: memoryview | bytes
    elapsed_seconds: float
    result_rows: int = 0
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    owner: object = None


class Engine:
    """Opens the data directory for as long as it lives."""

    def __init__(self, directory: Path, concurrent_queries: int) -> None:
        if not re.fullmatch(r"[\w./ @+-]+", str(directory)):
            raise ValueError(f"a data directory may hold letters, digits, and ./ @+-_ in its name: {directory}")
        self._directory = str(directory)
        self._slots = BoundedSemaphore(concurrent_queries)
        with resources.as_file(resources.files(__package__).joinpath("engine")) as configuration:
            # The first connection starts the engine, with its settings; keeping it open keeps the engine alive.
            self._root = chdb.state.connect(f"{self._directory}?config-file={configuration / 'config.xml'}")
        self._run(self._root, f"CREATE DATABASE IF NOT EXISTS {quoted_name(_HOME)} ENGINE = Atomic", "Null")
        self.version, self.timezone, self.display_name = (
            bytes(self._run(self._root, "SELECT version(), timezone(), displayName()", "TSV").data)
            .decode()
            .strip()
            .split("\t")
        )

    def close(self) -> None:
        """Waits for running statements, then closes the data directory."""
        self._root.close()

    def query(self, sql: str, default_format: str, surroundings: Surroundings) -> Outcome:
        """Runs one statement that carries no rows of its own."""
        statements = split(sql)
        if not statements:
            raise QueryFailed(62, "SYNTAX_ERROR", "Empty query")
        if len(statements) > 1:
            raise QueryFailed(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
        if reads_client_files(statements[0]):
            # The engine would do what clickhouse-client does with these: open files of the machine it runs on.
            raise QueryFailed(48, "NOT_IMPLEMENTED", "INTO OUTFILE, FROM INFILE and input() are not offered here.")
        with self._connection(surroundings) as connection:
            return self._run(connection, statements[0], default_format, surroundings.parameters)

    def insert(self, head: InsertHead, path: str, surroundings: Surroundings) -> Outcome:
        """Runs an INSERT with the rows in the file at `path`; returns when they are stored and synced.

        The rows go through a file because of what the other ways in chDB 4.4 do with them: `send_insert` reports
        success where a view, an expression or the disk has failed, and inline rows after a blank line are run as
        statements.
        """
        with self._connection(surroundings) as connection:
            return self._run(connection, _from_file(head, path), "Null", surroundings.parameters)

    @contextmanager
    def _connection(self, around: Surroundings) -> Iterator[Any]:
        with self._slots:
            with _engine_errors():
                connection = chdb.state.connect(self._directory)
            try:
                self._run(connection, _preparation(around), "Null")
                for table in around.tables:
                    self._fill(connection, table)
                if around.readonly:
                    self._run(connection, "SET readonly = 2", "Null")
                yield connection
            finally:
                connection.close()

    def _fill(self, connection: Any, table: ExternalTable) -> None:
        if len(split(table.structure)) != 1:
            raise QueryFailed(
                36, "BAD_ARGUMENTS", f"The structure of the external table {table.name} is not a list of columns."
            )
        name = quoted_name(table.name)
        self._run(connection, f"CREATE TEMPORARY TABLE {name} ({table.structure})", "Null")
        head = InsertHead(f"INSERT INTO {name}", "", table.format, 0)
        with closing(DataFile(Path(self._directory), in_memory=True)) as file:
            file.write((table.data,))
            self._run(connection, _from_file(head, file.path()), "Null")

    def _run(self, connection: Any, sql: str, data_format: str, parameters: Mapping[str, str] | None = None) -> Outcome:
        with _engine_errors():
            result = connection.query(sql, data_format, params=dict(parameters or {}))
        # The view reads the engine's own buffer: a large result is never copied on its way to the socket.
        return Outcome(
            result.get_memview().view(),
            result.elapsed(),
            result_rows=result.rows_read(),
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            owner=result,
        )


@contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise from_engine(str(error)) from None


def quoted_name(name: str) -> str:
    """A name in backticks, so that no name is ever read as syntax."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def quoted_text(text: str) -> str:
    """A string literal, so that no value is ever read as syntax."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _from_file(head: InsertHead, path: str) -> str:
    if not _WORD.fullmatch(head.format):
        raise QueryFailed(73, "UNKNOWN_FORMAT", f"Unknown format {head.format!r}")
    return f"{head.target} FROM INFILE {quoted_text(path)} COMPRESSION 'none' {head.settings} FORMAT {head.format}"


def _preparation(around: Surroundings) -> str:
    database = around.database if around.database and around.database != "default" else _HOME
    for name in around.settings:
        if not _WORD.fullmatch(name):
            raise QueryFailed(115, "UNKNOWN_SETTING", f"Unknown setting {name!r}")
    values = ", ".join(f"{name} = {quoted_text(value)}" for name, value in around.settings.items())
    return f"USE {quoted_name(database)}" + (f"; SET {values}" if values else "")
