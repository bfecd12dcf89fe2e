"""Work on many items in few statements and transactions, where one item's failure stays its own.

Statements and a transaction per item cost a hundred times what the work does; one for all items would lose everything
to the first bad one. So items go in batches, and a batch that fails is halved until the bad item is alone.
"""

import gc
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from threading import Event
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from billing.errors import TallyError, Unavailable
from billing.scope import Scope
from ledger.db import Ledger

__all__ = ["Failure", "Turn", "Worked", "apart", "each_alone", "failure_of", "in_batches", "in_turns", "no_turn"]

# Bounds how long one transaction keeps other writers waiting on SQLite, and how much is in memory at once.
BATCH = 1000
# From so many items on, what a step writes changes how full the tables are. It does again at every tenfold.
_MANY = 500
# One that waits for the database and one that counts.
_AT_ONCE = 2
# A batch takes a second. One that waits longer than this for the one before gives up what it holds.
_TURN_SECONDS = 30
# New objects between two looks for garbage: a batch makes millions that go as soon as nobody names them.
_RARELY = 200_000
# So many of those that are worked on one by one share a transaction.
_FEW = 50

_log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
G = TypeVar("G")
# Results, and what could not be done.
Worked = tuple[list[R], list["Failure"]]
# Waits until it is one's turn.
Turn = Callable[[], None]


@dataclass(frozen=True)
class Failure:
    """What could not be done, for whom, and why. `subject` is a subscription's or an invoice's id."""

    scope: Scope
    subject: str
    period_start: datetime
    code: str
    detail: str


def failure_of(scope: Scope, subject: str, period_start: datetime, error: Exception) -> Failure:
    """The failure that an error means for one item.

    An error that is not ours is logged with its place but without its text, which may quote what a caller sent.
    """
    if isinstance(error, TallyError):
        return Failure(scope, subject, period_start, error.code, str(error))
    place = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
    _log.error("%s failed with %s\n%s", subject, type(error).__name__, place)
    return Failure(scope, subject, period_start, "unexpected_error", f"{type(error).__name__}; see the run's log")


def _nothing(batch: Sequence[object]) -> None:
    """What most steps have to do before a batch."""


def in_batches(
    ledger: Ledger,
    items: Sequence[T],
    scope_of: Callable[[T], Scope],
    work: Callable[[Session, Scope, Sequence[T]], Worked[R]],
    failed: Callable[[T, Exception], Failure],
    customer_of: Callable[[T], str] | None = None,
    prepare: Callable[[Sequence[T]], None] = _nothing,
) -> tuple[list[R], list[Failure]]:
    """`work` for all items, many of one environment at a time: results and failures, in the order of the items.

    `work` says which of its items failed, and writes the others. Where it raises, its items are worked on in two halves
    and so on, until the one that it raises for is alone; what failed has written nothing. `work` must have no effect
    but on the session, since it is also run again after it has lost to another transaction.

    With `customer_of`, two batches are worked on at once where the ledger takes it: while one waits for the database
    the other one counts. What belongs to one customer is never in both, and goes in the order of the items.
    `prepare` is called for each batch before its transaction begins.
    Raises Unavailable when the ledger is: then no item can do better than the next.
    """
    if customer_of is None or len(items) <= BATCH or not ledger.takes_several:
        return _in_batches(ledger, _batches(ledger, items, BATCH, prepare), scope_of, work, failed)

    def anytime(session: Session, scope: Scope, some: Sequence[T], _my_turn: Turn) -> Worked[R]:
        return work(session, scope, some)

    return _two_at_once(ledger, items, prepare, scope_of, anytime, failed, customer_of)


def in_turns(
    ledger: Ledger,
    items: Sequence[T],
    scope_of: Callable[[T], Scope],
    work: Callable[[Session, Scope, Sequence[T], Turn], Worked[R]],
    failed: Callable[[T, Exception], Failure],
    customer_of: Callable[[T], str],
) -> tuple[list[R], list[Failure]]:
    """As `in_batches`, for work of which a part has to be done in the order of the items: `work` is given what waits
    until all batches before are committed, or have failed.

    Two runs at once whose batches are cut at other places may each hold rows that the other one waits for, while a
    batch of theirs waits for its turn. The ledger's limit on waiting for a row ends that, and the batch is begun anew.
    """
    if len(items) > BATCH and ledger.takes_several:
        return _two_at_once(ledger, items, _nothing, scope_of, work, failed, customer_of)

    def at_once(session: Session, scope: Scope, some: Sequence[T]) -> Worked[R]:
        return work(session, scope, some, no_turn)

    return _in_batches(ledger, _batches(ledger, items, BATCH, _nothing), scope_of, at_once, failed)


def no_turn() -> None:
    """The turn of one that nobody goes before."""


def _in_batches(
    ledger: Ledger,
    batches: Iterable[Sequence[T]],
    group_of: Callable[[T], G],
    work: Callable[[Session, G, Sequence[T]], Worked[R]],
    failed: Callable[[T, Exception], Failure],
) -> Worked[R]:
    results: list[R] = []
    failures: list[Failure] = []
    with _collecting_rarely():
        for batch in batches:
            done, not_done = ledger.run(partial(_batch, items=batch, group_of=group_of, work=work, failed=failed))
            results += done
            failures += not_done
    return results, failures


def _two_at_once(
    ledger: Ledger,
    items: Sequence[T],
    prepare: Callable[[Sequence[T]], None],
    group_of: Callable[[T], G],
    work: Callable[[Session, G, Sequence[T], Turn], Worked[R]],
    failed: Callable[[T, Exception], Failure],
    customer_of: Callable[[T], str],
) -> Worked[R]:
    def run(batch: Sequence[T], before: Event, over: Event) -> Worked[R]:
        def in_turn(session: Session, group: G, some: Sequence[T]) -> Worked[R]:
            return work(session, group, some, partial(_await_turn, before))

        try:
            return ledger.run(partial(_batch, items=batch, group_of=group_of, work=in_turn, failed=failed))
        finally:
            over.set()

    running: list[tuple[set[tuple[G, str]], Future[Worked[R]]]] = []
    every: list[Future[Worked[R]]] = []
    last = Event()
    last.set()
    with _collecting_rarely(), ThreadPoolExecutor(_AT_ONCE, "batch") as pool:
        for batch in _batches(ledger, items, BATCH, prepare, lambda: wait(every)):
            whose = {(group_of(item), customer_of(item)) for item in batch}
            while len(running) == _AT_ONCE or any(not whose.isdisjoint(others) for others, _ in running):
                wait([one for _, one in running], return_when=FIRST_COMPLETED)
                # Where one cannot go on, none after it is begun.
                for _, one in running:
                    if one.done():
                        one.result()
                running = [pair for pair in running if not pair[1].done()]
            before, last = last, Event()
            begun = pool.submit(run, batch, before, last)
            running.append((whose, begun))
            every.append(begun)
    done = [one.result() for one in every]
    return [each for results, _ in done for each in results], [each for _, failures in done for each in failures]


def _await_turn(before: Event) -> None:
    if not before.wait(_TURN_SECONDS):
        # Given back are the rows that the batch holds meanwhile, and the batch is begun anew.
        raise Unavailable("ledger_busy", "a batch before this one takes long", hint="Try again.", retry_after_seconds=1)


def _batches(
    ledger: Ledger,
    items: Sequence[T],
    size: int,
    prepare: Callable[[Sequence[T]], None],
    finish: Callable[[], object] = lambda: None,
) -> Iterator[Sequence[T]]:
    """The items in order. As the tables fill, the database looks at them again, once it can see what was written:
    `finish` waits for that."""
    refresh_at = 0 if len(items) > _MANY else len(items)
    for start in range(0, len(items), size):
        if start >= refresh_at:
            finish()
            ledger.refresh_statistics()
            refresh_at = max(_MANY, 10 * start)
        batch = items[start : start + size]
        prepare(batch)
        yield batch


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Spares the records of a day to be looked through again and again for cycles, of which they have none."""
    before = gc.get_threshold()
    gc.set_threshold(_RARELY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def each_alone(
    ledger: Ledger,
    items: Sequence[T],
    work: Callable[[Session, T], R],
    failed: Callable[[T, Exception], Failure],
    at_once: int = _FEW,
) -> tuple[list[R], list[Failure]]:
    """The same for work on single items, `at_once` of them in a transaction: for what is rare, or needs locks of its
    own."""

    def one_by_one(session: Session, _scope: None, some: Sequence[T]) -> Worked[R]:
        return [work(session, item) for item in some], []

    return _in_batches(ledger, _batches(ledger, items, at_once, _nothing), lambda _: None, one_by_one, failed)


def apart(
    items: Iterable[T], look: Callable[[T], R], failed: Callable[[T, Exception], Failure]
) -> tuple[list[tuple[T, R]], list[Failure]]:
    """What `look` says of each item, which writes nothing: where it raises, that is this item's failure alone.

    What the database raises goes on: the transaction that it happened in is of no more use.
    """
    seen: list[tuple[T, R]] = []
    failures: list[Failure] = []
    for item in items:
        try:
            seen.append((item, look(item)))
        except (Unavailable, DBAPIError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this item's alone
            failures.append(failed(item, error))
    return seen, failures


def _batch(
    session: Session,
    items: Sequence[T],
    group_of: Callable[[T], G],
    work: Callable[[Session, G, Sequence[T]], Worked[R]],
    failed: Callable[[T, Exception], Failure],
) -> Worked[R]:
    results: list[R] = []
    failures: list[Failure] = []
    for group, some in groupby(items, group_of):
        done, not_done = _halved(session, group, list(some), work, failed)
        results += done
        failures += not_done
    return results, failures


def _halved(
    session: Session,
    group: G,
    items: Sequence[T],
    work: Callable[[Session, G, Sequence[T]], Worked[R]],
    failed: Callable[[T, Exception], Failure],
) -> Worked[R]:
    try:
        with session.begin_nested():
            return work(session, group, items)
    except (Unavailable, OperationalError, InterfaceError):
        raise
    except IntegrityError as error:
        # A rival may have written a row since we looked for it. It is there now, and a second look finds it.
        again = _once_more(session, group, items, work)
        if again is not None:
            return again
        raised: Exception = error
    except Exception as error:  # noqa: BLE001 - found again below, under the item that it belongs to
        raised = error
    if len(items) == 1:
        return [], [failed(items[0], raised)]
    middle = len(items) // 2
    first, last = (_halved(session, group, some, work, failed) for some in (items[:middle], items[middle:]))
    return [*first[0], *last[0]], [*first[1], *last[1]]


def _once_more(
    session: Session, group: G, items: Sequence[T], work: Callable[[Session, G, Sequence[T]], Worked[R]]
) -> Worked[R] | None:
    try:
        with session.begin_nested():
            return work(session, group, items)
    except IntegrityError:
        return None
