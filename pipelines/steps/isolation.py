"""Work on many items in few transactions, where one item's failure stays its own.

A transaction per item costs an fsync each; one for all of them would lose everything to the first bad one. So items go
in batches, and where a batch fails, each of its items has a savepoint of its own.
"""

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from billing.errors import TallyError, Unavailable
from billing.scope import Scope
from ledger.db import Ledger

__all__ = ["Failure", "each_alone", "failure_of"]

# Bounds how long one transaction keeps other writers waiting on SQLite: about 0.2 s of statements.
BATCH = 50
# From so many items on, what a step writes changes how full the tables are. It does again at every tenfold.
_MANY = 10 * BATCH

_log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


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


def each_alone(
    ledger: Ledger,
    items: Sequence[T],
    work: Callable[[Session, T], R],
    failed: Callable[[T, Exception], Failure],
) -> tuple[list[R], list[Failure]]:
    """`work` for every item: results and failures in the order of the items; what failed has written nothing.

    `work` must have no effect but on the session, since a batch in which an item failed, or that lost to another
    transaction, is run again.
    Raises Unavailable when the ledger is: then no item can do better than the next.
    """
    results: list[R] = []
    failures: list[Failure] = []
    refresh_at = 0 if len(items) > _MANY else len(items)
    for start in range(0, len(items), BATCH):
        if start >= refresh_at:
            ledger.refresh_statistics()
            refresh_at = max(_MANY, 10 * start)
        batch = items[start : start + BATCH]
        done, not_done = ledger.run(partial(_batch, items=batch, work=work, failed=failed))
        results += done
        failures += not_done
    return results, failures


def _batch(
    session: Session,
    items: Sequence[T],
    work: Callable[[Session, T], R],
    failed: Callable[[T, Exception], Failure],
) -> tuple[list[R], list[Failure]]:
    # Most batches have no failure: one savepoint for all of them saves two statements an item.
    try:
        with session.begin_nested():
            return [work(session, item) for item in items], []
    except (Unavailable, OperationalError, InterfaceError):
        raise
    except Exception:  # noqa: BLE001 - found again below, under the item that it belongs to
        return _one_by_one(session, items, work, failed)


def _one_by_one(
    session: Session,
    items: Sequence[T],
    work: Callable[[Session, T], R],
    failed: Callable[[T, Exception], Failure],
) -> tuple[list[R], list[Failure]]:
    results: list[R] = []
    failures: list[Failure] = []
    for item in items:
        try:
            with session.begin_nested():
                results.append(work(session, item))
        except (Unavailable, OperationalError, InterfaceError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this item's alone
            failures.append(failed(item, error))
    return results, failures
