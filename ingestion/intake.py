"""The way in for concurrent requests: those that wait share one insert, and each is answered when its rows are stored.

Nothing waits for a timer: while an insert runs the next group collects, and when it returns that group goes. Where the
warehouse is down, or slower than `slow_after`, rows go to the journal and are answered as queued (promise E5); as long
as the journal holds anything what comes in queues behind it, so that the first one received stays the first. Once the
rest of the journal is small and on its way, what comes in waits for it in memory: else a journal would never become
empty under a steady load. What waits in memory is bounded: beyond that a request is turned away before its body is
read.

Everything here runs in one event loop; the two things that block have threads of their own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Literal, TypeVar, TypeVarTuple, Unpack

from billing.errors import TallyError, TooManyRequests, Unavailable
from billing.scope import Scope
from ingestion.journal import Journal, Segment, journal_full
from ingestion.recent import RecentRequests
from ingestion.rows import rows_of

__all__ = ["Bounds", "Figures", "Intake", "Kept", "Taken"]

T = TypeVar("T")
Args = TypeVarTuple("Args")
log = logging.getLogger(__name__)

# The shortest and the longest pause between two looks at a warehouse that is down, in seconds.
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0


class Kept(IntEnum):
    """Where rows are when their request is answered; the larger one is the less good news."""

    STORED = 0
    QUEUED = 1


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a request's events. `duplicates` had come before with the same content, as far as is known."""

    accepted: int
    duplicates: int
    kept: Kept


@dataclass(frozen=True, slots=True)
class Bounds:
    """`group_bytes` of rows at most share an insert, `lanes` inserts run at once; `slow_after` is in seconds."""

    group_bytes: int = 16 * 1024 * 1024
    lanes: int = 2
    waiting_bytes: int = 64 * 1024 * 1024
    slow_after: float = 10.0
    recent_events: int = 50_000


@dataclass(slots=True)
class Figures:
    """What has happened since the start, and what is the case now. Times are in seconds."""

    stored: int = 0
    queued: int = 0
    duplicates: int = 0
    refused: int = 0
    turned_away: int = 0
    set_aside: int = 0
    inserts: int = 0
    insert_seconds: float = 0.0
    waiting_bytes: int = 0
    waiting_requests: int = 0
    journal_bytes: int = 0
    journal_events: int = 0
    journal_oldest_at: float | None = None


@dataclass(slots=True, eq=False)
class _Member:
    rows: bytes
    events: int
    answer: asyncio.Future[Kept]


class Intake:
    """Made and used in one event loop. `insert` blocks until rows are stored; it raises Unavailable when that is not
    known, and any other TallyError when the warehouse refused them.
    """

    def __init__(self, insert: Callable[[bytes], None], journal: Journal, bounds: Bounds, source: str = "api") -> None:
        self.figures = Figures()
        self._insert = insert
        self._journal = journal
        self._bounds = bounds
        self._source = source
        self._recent = RecentRequests(bounds.recent_events)
        self._waiting: deque[_Member] = deque()
        self._waiting_rows_bytes = 0
        self._running = 0
        # More threads than lanes: an insert that hangs keeps its thread while the drain goes on trying.
        self._inserting = ThreadPoolExecutor(bounds.lanes + 1, "insert")
        self._journaling = ThreadPoolExecutor(1, "journal")
        self._tasks: set[asyncio.Task[None]] = set()
        self._drain: asyncio.Task[None] | None = None
        self._spilling = 0
        self._queueing = False
        self._catching_up: asyncio.TimerHandle | None = None
        self._closing = False
        self._look_at_journal()

    def start(self) -> None:
        """Begins to drain what an earlier process has left."""
        self._drain_if_needed()

    @property
    def journal_state(self) -> Literal["empty", "draining", "full"]:
        """Whether events wait on this disk, and whether more of them could."""
        if self._journal.oldest is None:
            return "empty"
        return "full" if self._journal.is_full else "draining"

    async def close(self) -> None:
        """Waits for what has been taken in; the journal keeps what the warehouse does not have."""
        self._closing = True
        if self._drain is not None:
            self._drain.cancel()
            with suppress(asyncio.CancelledError):
                await self._drain
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        self._inserting.shutdown(wait=False)
        self._journaling.shutdown()
        self._journal.close()

    @contextmanager
    def admitted(self, size: int) -> Iterator[Callable[[int], None]]:
        """Lets in a request of about `size` bytes to be read and decoded, before any of it is read.

        What is yielded is told the size of each part that arrives: a sender that has announced much and sends nothing
        takes no room from the others. TooManyRequests `intake_full`, also while it is read; Unavailable `journal_full`.
        """
        self._check_room(size)
        if self._is_behind() and self._journal.is_full:
            self.figures.turned_away += 1
            raise journal_full()
        held = 0

        def arrived(part: int) -> None:
            nonlocal held
            self._check_room(part, held)
            held += part
            self.figures.waiting_bytes += part

        try:
            yield arrived
        finally:
            self.figures.waiting_bytes -= held

    async def take(self, scope: Scope, identities: Sequence[str], rows: Sequence[bytes]) -> Taken:
        """Keeps the events of these identities, `rows` being theirs (`open_rows`); returns when they are on disk.

        Of events with one identity the first counts. TooManyRequests `intake_full`; Unavailable `journal_full`,
        `journal_failed`: nothing is acknowledged, sending the same again is safe.
        """
        sifted = self._recent.sift(scope, identities, rows)
        kept = await self._keep(scope, sifted.fresh)
        if sifted.conflicting:
            # After the first ones and not beside them: of rows that arrive together none is the earlier one.
            kept = max(kept, await self._keep(scope, sifted.conflicting))
        self._recent.remember(scope, sifted)
        accepted, duplicates = len(sifted.fresh), len(identities) - len(sifted.fresh)
        self.figures.duplicates += duplicates
        if kept is Kept.QUEUED:
            self.figures.queued += accepted
        else:
            self.figures.stored += accepted
        return Taken(accepted, duplicates, kept)

    async def _keep(self, scope: Scope, rows: Sequence[bytes]) -> Kept:
        if not rows:
            # All of it came before: what the journal still holds is in no usage answer yet.
            return Kept.QUEUED if self._is_behind() else Kept.STORED
        lines = rows_of(scope, self._source, rows)
        self._check_room(len(lines))
        member = _Member(lines, len(rows), asyncio.get_running_loop().create_future())
        self._waiting.append(member)
        self._waiting_rows_bytes += len(lines)
        self.figures.waiting_bytes += len(lines)
        self.figures.waiting_requests += 1
        self._go_on()
        return await member.answer

    def _check_room(self, size: int, own: int = 0) -> None:
        # One request alone may be larger than the bound; `own` is what it holds already.
        if self.figures.waiting_bytes > own and self.figures.waiting_bytes + size > self._bounds.waiting_bytes:
            self.figures.turned_away += 1
            raise TooManyRequests(
                "intake_full",
                "More events wait to be stored than this server holds in memory.",
                hint="Send the request again after the seconds that Retry-After names, and fewer at once.",
                retry_after_seconds=1,
            )

    def _go_on(self) -> None:
        """Starts what can be started: waiting rows to the journal while it holds anything, else to the warehouse."""
        if self._waiting and self._is_behind():
            if not self._queueing and self._catching_up is None:
                self._queueing = True
                self._do(self._queue_waiting())
            return
        while self._waiting and self._running < self._bounds.lanes:
            # Two small inserts cost twice the CPU of one: a further lane is for what would fill half of one.
            if self._running and self._waiting_rows_bytes < self._bounds.group_bytes // 2:
                return
            self._running += 1
            self._do(self._store(self._next_group()))

    def _is_behind(self) -> bool:
        return self._spilling > 0 or self._journal.oldest is not None

    def _next_group(self) -> list[_Member]:
        group = [self._waiting.popleft()]
        size = len(group[0].rows)
        while self._waiting and size + len(self._waiting[0].rows) <= self._bounds.group_bytes:
            group.append(self._waiting.popleft())
            size += len(group[-1].rows)
        self._waiting_rows_bytes -= size
        return group

    async def _store(self, group: list[_Member]) -> None:
        began = time.monotonic()
        inserting = self._in_thread(self._inserting, self._insert, b"".join([member.rows for member in group]))
        # The lane is free when the insert is over, also where nobody waits for it any more.
        inserting.add_done_callback(self._free_lane)
        try:
            await asyncio.wait_for(asyncio.shield(inserting), self._bounds.slow_after)
        except TimeoutError:
            # Whether it will be stored is not known; a copy in the journal counts nothing twice.
            log.warning("an insert takes longer than %s s: its rows go to the journal", self._bounds.slow_after)
            await self._queue(group)
        except Unavailable as down:
            log.warning("the warehouse is not available (%s): rows go to the journal", down.code)
            await self._queue(group)
        except TallyError as refused:
            await self._each_alone(group, refused)
        except Exception as error:  # noqa: BLE001 -- a request that waits has to be answered, whatever it was
            self._answer(group, failure=error)
        else:
            self.figures.inserts += 1
            self.figures.insert_seconds += time.monotonic() - began
            self._answer(group, Kept.STORED)

    def _free_lane(self, inserting: asyncio.Future[None]) -> None:
        if not inserting.cancelled():
            inserting.exception()
        self._running -= 1
        self._go_on()

    async def _each_alone(self, group: list[_Member], refused: TallyError) -> None:
        """One request's rows are not another's fault: each is tried by itself."""
        if len(group) == 1:
            self._answer(group, failure=refused)
            return
        for member in group:
            try:
                await self._in_thread(self._inserting, self._insert, member.rows)
            except Unavailable:
                await self._queue([member])
            except TallyError as error:
                self._answer([member], failure=error)
            else:
                self._answer([member], Kept.STORED)

    async def _queue_waiting(self) -> None:
        try:
            await self._queue(self._next_group())
        finally:
            self._queueing = False
            self._go_on()

    async def _queue(self, group: list[_Member]) -> None:
        batches = [(member.rows, member.events) for member in group]
        self._spilling += 1
        try:
            await self._in_thread(self._journaling, self._journal.append, batches)
        except Exception as error:  # noqa: BLE001 -- as above
            self._answer(group, failure=error)
        else:
            self._answer(group, Kept.QUEUED)
        finally:
            self._spilling -= 1
            self._look_at_journal()
            self._drain_if_needed()
            self._go_on()

    def _drain_if_needed(self) -> None:
        if self._drain is None and not self._closing and self._journal.oldest is not None:
            self._drain = asyncio.get_running_loop().create_task(self._drain_journal())

    async def _drain_journal(self) -> None:
        """Moves the journal into the warehouse, oldest first, until it is empty."""
        pause = _FIRST_PAUSE
        is_taking = False
        try:
            while (segment := self._journal.oldest) is not None:
                try:
                    # What is appended from now on goes to another segment.
                    await self._in_thread(self._journaling, self._journal.seal)
                    segment = self._journal.oldest or segment
                    if is_taking and self._journal.size <= self._bounds.group_bytes:
                        self._catch_up()
                    for records in self._in_groups(segment):
                        await self._drain_records(records)
                    await self._in_thread(self._journaling, self._journal.remove, segment)
                    pause, is_taking = _FIRST_PAUSE, True
                except (Unavailable, OSError) as error:
                    is_taking = False
                    self._give_up_catching_up()
                    log.info("the journal cannot be drained yet: %s", type(error).__name__)
                    await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 -- spreads tries, guards nothing
                    pause = min(pause * 2, _LONGEST_PAUSE)
                self._look_at_journal()
        finally:
            self._drain = None
            self._give_up_catching_up()

    def _catch_up(self) -> None:
        """What comes in waits for the rest of the journal, unless that takes longer than an insert may."""
        if self._catching_up is None and not self._closing:
            loop = asyncio.get_running_loop()
            self._catching_up = loop.call_later(self._bounds.slow_after, self._give_up_catching_up)

    def _give_up_catching_up(self) -> None:
        if self._catching_up is not None:
            self._catching_up.cancel()
            self._catching_up = None
        self._go_on()

    def _in_groups(self, segment: Segment) -> Iterator[list[bytes]]:
        group: list[bytes] = []
        size = 0
        for record in segment.records():
            if group and size + len(record) > self._bounds.group_bytes:
                yield group
                group, size = [], 0
            group.append(record)
            size += len(record)
        if group:
            yield group

    async def _drain_records(self, records: list[bytes]) -> None:
        try:
            await self._in_thread(self._inserting, self._insert, b"".join(records))
        except Unavailable:
            raise
        except TallyError as refused:
            if len(records) > 1:
                for record in records:
                    await self._drain_records([record])
                return
            place = await self._in_thread(self._journaling, self._journal.set_aside, records[0])
            self.figures.set_aside += records[0].count(b"\n")
            log.error("the warehouse refuses rows of the journal (%s); they are kept in %s", refused.code, place.name)  # noqa: TRY400

    def _answer(self, group: list[_Member], kept: Kept | None = None, failure: Exception | None = None) -> None:
        for member in group:
            self.figures.waiting_bytes -= len(member.rows)
            self.figures.waiting_requests -= 1
            if member.answer.done():
                continue  # Its request has gone away.
            if kept is not None:
                member.answer.set_result(kept)
            elif failure is not None:
                member.answer.set_exception(failure)

    def _look_at_journal(self) -> None:
        oldest = self._journal.oldest
        self.figures.journal_bytes, self.figures.journal_events = self._journal.size, self._journal.events
        with suppress(OSError):
            self.figures.journal_oldest_at = None if oldest is None else oldest.written_at

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    def _in_thread(threads: ThreadPoolExecutor, work: Callable[[Unpack[Args]], T], *args: *Args) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(threads, work, *args)
