"""Small inserts that arrive together are stored together: one part on disk, one sync, for all of them.

The engine needs 10 to 40 ms of CPU for each insert of a thousand rows, nearly all of it per insert and not per row. A
clickhouse-server solves this with asynchronous inserts, which chDB lacks, so this is their equivalent with
`async_insert=1, wait_for_async_insert=1`: while an insert runs, those that arrive for the same table wait, and the next
one takes them all. Nothing waits for a timer, and a request is answered only when its rows are stored.

One bad row never fails a neighbour: when the rows of a group make it fail, none of them is stored, and each member is
inserted by itself. (A view that fails has stored a part of the group; then every member is told so.)
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path

from warehouse_sql.embedded.datafile import DataFile
from warehouse_sql.embedded.engine import Engine, Outcome, Surroundings
from warehouse_sql.embedded.failure import QueryFailed
from warehouse_sql.statements import InsertHead

# At three bytes for the shortest row this stays under the engine's block of 1,048,449 rows: a group is stored whole
# or not.
_GROUP_BYTES = 3_000_000
# What rows can do beside being unreadable, all of it before anything of their group is stored.
_BY_ROWS = frozenset(
    {"VIOLATED_CONSTRAINT", "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", "DECIMAL_OVERFLOW", "ARGUMENT_OUT_OF_BOUND"}
)
# With these settings the engine counts or compares whole inserts, so an insert must stay the one that was sent.
_OWN_INSERT = re.compile(r"input_format_allow_errors_\w+|insert_deduplication_token")


# Three megabytes are read faster by one thread than shared among several: a sixth less CPU, measured.
_FEW_THREADS = {"max_threads": "1", "input_format_parallel_parsing": "0"}


@dataclass(frozen=True)
class _Target:
    statement: str
    database: str | None
    settings: tuple[tuple[str, str], ...]
    parameters: tuple[tuple[str, str], ...]


@dataclass
class _Member:
    rows: bytes
    woken: threading.Event = field(default_factory=threading.Event)
    outcome: Outcome | None = None
    failure: BaseException | None = None

    def result(self) -> Outcome:
        if self.failure is not None:
            raise self.failure
        if self.outcome is None:
            raise RuntimeError("an insert was woken without a result")
        return self.outcome


@dataclass
class _Line:
    waiting: deque[_Member] = field(default_factory=deque)
    waiting_bytes: int = 0
    running: int = 0

    def first(self) -> _Member:
        member = self.waiting.popleft()
        self.waiting_bytes -= len(member.rows)
        return member

    def joining(self, room: int) -> Iterator[_Member]:
        while self.waiting and (room := room - len(self.waiting[0].rows) - 1) >= 0:
            yield self.first()


def groupable(head: InsertHead, around: Surroundings, rows: bytes) -> bool:
    """Whether these rows may share an insert: a small body of whole JSON objects, by its first and last byte."""
    if head.format.lower() not in {"jsoneachrow", "jsonlines", "ndjson"} or len(rows) > _GROUP_BYTES or around.tables:
        return False
    if head.settings or around.settings.get("async_insert", "1") != "1":
        return False
    if any(_OWN_INSERT.fullmatch(name) for name in around.settings):
        return False
    return rows[:64].lstrip()[:1] == b"{" and rows[-64:].rstrip()[-1:] == b"}"


class InsertGroups:
    """Runs inserts, at most `lanes` at once for one target, and joins those that wait."""

    def __init__(self, engine: Engine, lanes: int, spool: Path) -> None:
        self._engine = engine
        self._spool = spool
        self._lanes = lanes
        self._lock = threading.Lock()
        self._lines: dict[_Target, _Line] = {}

    def insert(self, head: InsertHead, around: Surroundings, rows: bytes) -> Outcome:
        """Stores `rows` (JSON objects, one after the other), perhaps with others; returns when they are stored.

        The outcome counts rows only where they were stored alone: the engine counts inserts, not their senders.
        """
        target = _Target(
            head.target,
            around.database,
            tuple(sorted(around.settings.items())),
            tuple(sorted(around.parameters.items())),
        )
        member = _Member(rows)
        with self._lock:
            line = self._lines.setdefault(target, _Line())
            # A further lane is opened for a large group only: two small inserts cost twice the CPU of one.
            enough = line.waiting_bytes + len(rows) >= _GROUP_BYTES // 2
            leads = line.running == 0 or (line.running < self._lanes and enough)
            if leads:
                line.running += 1
            else:
                line.waiting.append(member)
                line.waiting_bytes += len(rows)
        if not leads:
            member.woken.wait()
        # Woken without a result: it is this thread's turn to run an insert, for itself and for those who wait by now.
        if member.outcome is None and member.failure is None:
            self._lead(target, line, member, around)
        return member.result()

    def _lead(self, target: _Target, line: _Line, member: _Member, around: Surroundings) -> None:
        with self._lock:
            group = [member, *line.joining(_GROUP_BYTES - len(member.rows))]
        try:
            self._store(target.statement, group, around)
        finally:
            with self._lock:
                if line.waiting:
                    # The first in line leads next, so that this thread can answer its own request.
                    line.first().woken.set()
                else:
                    line.running -= 1
                    if not line.running:
                        self._lines.pop(target, None)

    def _store(self, statement: str, group: list[_Member], around: Surroundings) -> None:
        try:
            with closing(DataFile(self._spool, in_memory=True)) as file:
                file.write(chunk for member in group for chunk in (member.rows, b"\n"))
                head = InsertHead(statement, "", "JSONEachRow", 0)
                outcome = self._engine.insert(
                    head, file.path(), replace(around, settings={**_FEW_THREADS, **around.settings})
                )
        except QueryFailed as failed:
            if len(group) > 1 and _by_its_rows(failed):
                for member in group:
                    self._store(statement, [member], around)
            else:
                _finish(group, failure=failed)
        except BaseException as error:
            _finish(group, failure=error)
            raise
        else:
            _finish(group, outcome=outcome if len(group) == 1 else Outcome(b"", outcome.elapsed_seconds))


def _by_its_rows(failed: QueryFailed) -> bool:
    # A view runs after the table has its rows: what fails there has stored a part, and must not be sent again.
    return (failed.status == HTTPStatus.BAD_REQUEST or failed.name in _BY_ROWS) and "pushing to view" not in failed.text


def _finish(group: list[_Member], outcome: Outcome | None = None, failure: BaseException | None = None) -> None:
    for member in group:
        member.outcome, member.failure = outcome, failure
        member.woken.set()
