"""The way in for concurrent requests: they share inserts, wait for nobody in vain, and lose nothing when one fails."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from billing.errors import TallyError, TooManyRequests, Unavailable
from billing.scope import Scope
from ingestion.intake import Bounds, Intake, Kept, Taken
from ingestion.journal import Journal

SCOPE = Scope("tenant_a", "env_a")


class Store:
    """A warehouse that holds the inserts it was given, and can be made to wait, to fail, or to refuse some rows."""

    def __init__(self) -> None:
        self.inserts: list[bytes] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)
        self.holds = b""
        self.is_holding = threading.Event()
        self.is_down = False
        self.refuses: bytes | None = None

    def insert(self, rows: bytes) -> None:
        self.entered.release()
        if self.holds in rows and not self.open.is_set():
            self.is_holding.set()
            assert self.open.wait(20)
        if self.is_down:
            raise Unavailable("warehouse_unavailable", "It is down.")
        if self.refuses is not None and self.refuses in rows:
            raise TallyError("warehouse_error", "It refused these rows.")
        self.inserts.append(rows)

    @property
    def stored(self) -> list[str]:
        """The ids in the order in which they were stored."""
        return [
            row.split(b'"event_id":"')[1].split(b'"')[0].decode() for rows in self.inserts for row in rows.splitlines()
        ]


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.open.set()


def _run(
    store: Store, home: Path, act: Callable[[Intake], Awaitable[None]], *, journal_bytes: int = 1 << 20, **bounds: float
) -> None:
    async def main() -> None:
        intake = Intake(store.insert, Journal(home, journal_bytes), Bounds(**bounds))  # type: ignore[arg-type]
        intake.start()
        try:
            await act(intake)
        finally:
            store.open.set()
            await intake.close()

    asyncio.run(main())


def _row(event_id: str, value: int = 1) -> bytes:
    return b'"event_id":"%s","value":%d}' % (event_id.encode(), value)


async def _take(intake: Intake, *ids: str) -> Taken:
    return await intake.take(SCOPE, ids, [_row(each) for each in ids])


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- what is waited for happens in other tasks and threads
            await asyncio.sleep(0.005)


def test_requests_that_wait_share_the_next_insert(store: Store, tmp_path: Path) -> None:
    async def act(intake: Intake) -> None:
        store.open.clear()
        first = asyncio.create_task(_take(intake, "a"))
        await asyncio.to_thread(store.entered.acquire)
        others = [asyncio.create_task(_take(intake, each)) for each in ("b", "c", "d")]
        await _until(lambda: intake.figures.waiting_requests == 4)
        store.open.set()
        answers = await asyncio.gather(first, *others)
        assert {answer.kept for answer in answers} == {Kept.STORED}
        assert [rows.count(b"\n") for rows in store.inserts] == [1, 3]
        assert store.stored == ["a", "b", "c", "d"]
        assert intake.figures.waiting_bytes == 0

    _run(store, tmp_path, act)


def test_a_lone_request_waits_for_nobody(store: Store, tmp_path: Path) -> None:
    async def act(intake: Intake) -> None:
        assert await _take(intake, "a") == Taken(1, 0, Kept.STORED)
        assert len(store.inserts) == 1

    _run(store, tmp_path, act)


def test_rows_that_are_refused_fail_their_own_request_only(store: Store, tmp_path: Path) -> None:
    async def act(intake: Intake) -> None:
        store.open.clear()
        store.refuses = b'"bad"'
        first = asyncio.create_task(_take(intake, "a"))
        await asyncio.to_thread(store.entered.acquire)
        others = [asyncio.create_task(_take(intake, each)) for each in ("b", "bad", "c")]
        await _until(lambda: intake.figures.waiting_requests == 4)
        store.open.set()
        answers = await asyncio.gather(first, *others, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Taken, Taken, TallyError, Taken]
        assert store.stored == ["a", "b", "c"]

    _run(store, tmp_path, act)


def test_E5_what_comes_while_the_warehouse_is_down_is_queued_and_stored_in_order_when_it_is_back(
    store: Store, tmp_path: Path
) -> None:
    async def act(intake: Intake) -> None:
        store.is_down = True
        assert (await _take(intake, "a")).kept is Kept.QUEUED
        assert (await _take(intake, "b", "c")).kept is Kept.QUEUED
        assert (intake.figures.journal_events, intake.figures.queued) == (3, 3)
        store.is_down = False
        await _until(lambda: intake.figures.journal_events == 0)
        assert (await _take(intake, "d")).kept is Kept.STORED
        assert store.stored == ["a", "b", "c", "d"]

    _run(store, tmp_path, act)


def test_E5_what_comes_behind_a_journal_that_is_not_empty_queues_behind_it(store: Store, tmp_path: Path) -> None:
    """So that the first one received of an identity is also the first one stored."""

    async def act(intake: Intake) -> None:
        store.is_down = True
        await _take(intake, "a")
        store.is_down = False
        store.open.clear()
        assert (await _take(intake, "b")).kept is Kept.QUEUED
        store.open.set()
        await _until(lambda: intake.figures.journal_events == 0)
        assert store.stored == ["a", "b"]

    _run(store, tmp_path, act)


def test_E5_the_journal_becomes_empty_under_a_load_that_never_pauses(store: Store, tmp_path: Path) -> None:
    async def act(intake: Intake) -> None:
        async def send(sender: int) -> None:
            for count in itertools.count():
                if (await _take(intake, f"{sender}-{count}")).kept is Kept.STORED:
                    return

        store.is_down = True
        await _take(intake, "a")
        senders = [asyncio.create_task(send(number)) for number in range(4)]
        await _until(lambda: intake.figures.queued >= 20)
        store.is_down = False
        async with asyncio.timeout(20):
            await asyncio.gather(*senders)
        assert intake.figures.journal_events == 0
        assert store.stored[0] == "a"
        assert sorted(store.stored) == sorted(set(store.stored))

    _run(store, tmp_path, act)


def test_E5_what_waits_for_the_rest_of_the_journal_is_queued_when_that_takes_too_long(
    store: Store, tmp_path: Path
) -> None:
    async def act(intake: Intake) -> None:
        store.is_down = True
        await _take(intake, "a")
        # Its own insert and a first try to drain it: from then on it is in a segment that is ended.
        for _ in range(2):
            await asyncio.to_thread(store.entered.acquire)
        await _take(intake, "b")
        store.holds = b'"b"'
        store.open.clear()
        store.is_down = False
        await asyncio.to_thread(store.is_holding.wait, 20)
        assert store.stored == ["a"]
        assert (await _take(intake, "c")).kept is Kept.QUEUED
        store.open.set()
        await _until(lambda: intake.figures.journal_events == 0)
        assert store.stored == ["a", "b", "c"]

    _run(store, tmp_path, act, slow_after=0.05)


def test_E2_what_is_repeated_while_the_journal_holds_it_is_not_said_to_be_stored(store: Store, tmp_path: Path) -> None:
    async def act(intake: Intake) -> None:
        store.is_down = True
        assert await _take(intake, "a") == Taken(1, 0, Kept.QUEUED)
        assert await _take(intake, "a") == Taken(0, 1, Kept.QUEUED)
        store.is_down = False
        await _until(lambda: intake.figures.journal_events == 0)
        assert await _take(intake, "a") == Taken(0, 1, Kept.STORED)

    _run(store, tmp_path, act)


def test_E5_an_insert_that_takes_too_long_is_answered_from_the_journal(store: Store, tmp_path: Path) -> None:
    async def act(intake: Intake) -> None:
        store.open.clear()
        assert (await _take(intake, "a")).kept is Kept.QUEUED
        store.open.set()
        await _until(lambda: intake.figures.journal_events == 0)
        # Stored by the slow insert and once more from the journal: the engine counts the identity once.
        assert store.stored == ["a", "a"]

    _run(store, tmp_path, act, slow_after=0.05)


def test_E5_the_journal_of_a_process_that_ended_is_drained_by_the_next(store: Store, tmp_path: Path) -> None:
    async def before(intake: Intake) -> None:
        store.is_down = True
        await _take(intake, "a", "b")

    async def after(intake: Intake) -> None:
        await _until(lambda: intake.figures.journal_events == 0)
        assert store.stored == ["a", "b"]

    _run(store, tmp_path, before)
    store.is_down = False
    _run(store, tmp_path, after)


def test_rows_of_the_journal_that_are_refused_are_set_aside_and_hold_up_nothing(store: Store, tmp_path: Path) -> None:
    async def act(intake: Intake) -> None:
        store.is_down = True
        await _take(intake, "a")
        await _take(intake, "bad")
        await _take(intake, "c")
        store.is_down, store.refuses = False, b'"bad"'
        await _until(lambda: intake.figures.journal_events == 0)
        assert store.stored == ["a", "c"]
        assert intake.figures.set_aside == 1

    _run(store, tmp_path, act)
    [kept] = tmp_path.glob("refused-*.ndjson")
    assert b'"bad"' in kept.read_bytes()


def test_E5_with_warehouse_down_and_journal_full_nothing_is_acknowledged(store: Store, tmp_path: Path) -> None:
    async def act(intake: Intake) -> None:
        store.is_down = True
        with pytest.raises(Unavailable, match="journal"):
            await _take(intake, "a")
        assert intake.figures.waiting_bytes == 0
        store.is_down = False
        assert (await _take(intake, "a")).kept is Kept.STORED

    _run(store, tmp_path, act, journal_bytes=10)


def test_more_than_fits_in_memory_is_turned_away_and_what_waits_is_kept(store: Store, tmp_path: Path) -> None:
    async def act(intake: Intake) -> None:
        store.open.clear()
        waiting = asyncio.create_task(_take(intake, "a"))
        await _until(lambda: intake.figures.waiting_requests == 1)
        with pytest.raises(TooManyRequests) as refused, intake.admitted(1000):
            pass
        assert (refused.value.code, refused.value.retry_after_seconds) == ("intake_full", 1)
        store.open.set()
        assert (await waiting).kept is Kept.STORED
        with intake.admitted(1000):
            pass
        assert intake.figures.turned_away == 1

    _run(store, tmp_path, act, waiting_bytes=500)


def test_what_was_announced_takes_no_room_before_it_arrives(store: Store, tmp_path: Path) -> None:
    async def act(intake: Intake) -> None:
        with intake.admitted(400) as first, intake.admitted(400) as second:
            first(300)
            assert intake.figures.waiting_bytes == 300
            with pytest.raises(TooManyRequests):
                second(300)
            first(300)  # Alone it may be larger than the bound.
        assert intake.figures.waiting_bytes == 0
        assert (await _take(intake, "a")).kept is Kept.STORED

    _run(store, tmp_path, act, waiting_bytes=500)


def test_a_sender_that_has_gone_away_keeps_nobody_waiting(store: Store, tmp_path: Path) -> None:
    async def act(intake: Intake) -> None:
        store.open.clear()
        first = asyncio.create_task(_take(intake, "a"))
        await asyncio.to_thread(store.entered.acquire)
        gone, stays = asyncio.create_task(_take(intake, "b")), asyncio.create_task(_take(intake, "c"))
        await _until(lambda: intake.figures.waiting_requests == 3)
        gone.cancel()
        store.open.set()
        assert (await first).kept is (await stays).kept is Kept.STORED
        assert intake.figures.waiting_bytes == 0

    _run(store, tmp_path, act)


def test_E3_a_repeated_request_is_known_and_a_contradiction_is_stored_after_what_it_contradicts(
    store: Store, tmp_path: Path
) -> None:
    async def act(intake: Intake) -> None:
        assert await _take(intake, "a", "b") == Taken(2, 0, Kept.STORED)
        assert await _take(intake, "a", "b") == Taken(0, 2, Kept.STORED)
        assert await _take(intake, "a", "b", "c") == Taken(1, 2, Kept.STORED)
        contradicting = await intake.take(SCOPE, ["a", "a"], [_row("a", 1), _row("a", 2)])
        assert contradicting == Taken(0, 2, Kept.STORED)
        assert store.inserts[-1].count(b"\n") == 1
        assert b'"value":2' in store.inserts[-1]
        assert intake.figures.stored == 3

    _run(store, tmp_path, act)


def test_what_is_remembered_is_bounded_and_kept_apart_by_environment(store: Store, tmp_path: Path) -> None:
    async def act(intake: Intake) -> None:
        other = Scope("tenant_a", "env_b")
        await _take(intake, "a", "b")
        assert (await intake.take(other, ["a"], [_row("a")])).accepted == 1
        await _take(intake, "c", "d", "e")
        # What was pushed out is stored again, which the engine counts once.
        assert (await _take(intake, "a", "b")).accepted == 2

    _run(store, tmp_path, act, recent_events=4)
