"""Which billing days have periods to close: ended, past their environment's grace, and without a final invoice."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy.orm import Session

from billing.invoice import content_hash
from ledger.db import Ledger
from ledger.store import invoices, subscription_dues
from ledger.store.subscription_dues import Candidate, MovedOn
from pipelines.steps.billing_day import Due, due_of
from pipelines.steps.chosen import Chosen, cutoff
from pipelines.steps.invoice_parts import starts_among
from pipelines.steps.isolation import Failure, failure_of

__all__ = ["LOOKS_BACK", "Closing", "DayToClose", "days_to_close"]

# What has been open for longer is left to a person: it would be tried in vain for ever.
LOOKS_BACK = timedelta(days=35)
# A day whose periods were held is tried again each hour while it is fresh, and then once a day.
_FRESH = timedelta(days=2)
_TICK = timedelta(microseconds=1)
# The rows of so many are locked at once; who changes one of them waits for milliseconds.
_MOVED_AT_ONCE = 1000


@dataclass(frozen=True)
class DayToClose:
    """`attempt` names one try: it changes when other periods are open, and with the hour or day of the next try."""

    day: date
    periods: int
    attempt: str


@dataclass(frozen=True)
class Closing:
    """The days, oldest first. `failures` are subscriptions whose periods cannot be worked out."""

    days: tuple[DayToClose, ...]
    failures: tuple[Failure, ...]


def days_to_close(ledger: Ledger, now: datetime) -> Closing:
    """The billing days of the last five weeks that have something to close, and for five weeks after a subscription was
    entered all its days before that. Unavailable as the ledger is.

    However long nobody asked, each of these days is named once, so that a scheduler that was down catches up. Only the
    subscriptions are read that may have something to close; what is written is when to read each of them again.
    """
    first = datetime.combine((now - LOOKS_BACK).astimezone(UTC).date(), time.min, UTC)
    with ledger.read() as session:
        looked = _look(session, first, now)
    moved = sorted(looked.moved, key=_id_of)
    for start in range(0, len(moved), _MOVED_AT_ONCE):
        with ledger.begin() as session:
            subscription_dues.move_on(session, moved[start : start + _MOVED_AT_ONCE])
    by_day: defaultdict[date, list[Due]] = defaultdict(list)
    for due in looked.due:
        by_day[due.billed_at.astimezone(UTC).date()].append(due)
    return Closing(tuple(_to_close(day, by_day[day], now) for day in sorted(by_day)), tuple(looked.failures))


@dataclass
class _Looked:
    """What is due, of whom it cannot be told, and who has to be looked at again at another time than was known."""

    due: list[Due] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    moved: list[MovedOn] = field(default_factory=list)


def _look(session: Session, first: datetime, now: datetime) -> _Looked:
    candidates = subscription_dues.may_be_due(session, now)
    begun = [(one.scope, one.subscription) for one in candidates if first <= one.subscription.start_date]
    starts = starts_among(session, begun)
    cut_off = cutoff(session, Chosen(after_grace=True), now)
    closed = invoices.closed_periods(session, {(one.scope, one.subscription.id) for one in candidates})
    found = _Looked(due=list(starts.open), failures=list(starts.failures))
    advances = {due.subscription.id for due in starts.open}
    unclear = {failure.subject for failure in starts.failures}
    for one in candidates:
        subscription = one.subscription
        try:
            unbilled = [
                due for due in _ended(one, first, now) if (one.scope, subscription.id, due.period.start) not in closed
            ]
            moment = subscription.start_date if subscription.id in advances else _next_moment(one, unbilled, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this subscription's alone
            found.failures.append(failure_of(one.scope, subscription.id, first, error))
            continue
        found.due += [due for due in unbilled if due.period.end <= cut_off(one.scope)]
        if moment != one.due_from and subscription.id not in unclear:
            found.moved.append(MovedOn(one, moment))
    return found


def _ended(one: Candidate, first: datetime, now: datetime) -> Iterator[Due]:
    """Its periods that have ended by now and are not too old to be closed by themselves."""
    subscription = one.subscription
    entered_late = subscription.created_at >= first
    start = subscription.start_date if entered_late else max(first, subscription.start_date)
    for period in subscription.periods_ending_in(start, now + _TICK):
        yield due_of(one.scope, subscription, period)


def _next_moment(one: Candidate, unbilled: Sequence[Due], now: datetime) -> datetime | None:
    """When it is to be looked at again: from the first period on that is not billed, else from the end of the next."""
    if unbilled:
        return unbilled[0].period.end
    following = one.subscription.period_ending_after(now)
    return None if following is None else following.end


def _id_of(moved: MovedOn) -> str:
    return moved.candidate.subscription.id


def _to_close(day: date, open_periods: Sequence[Due], now: datetime) -> DayToClose:
    is_fresh = now - datetime.combine(day, time.min, UTC) < _FRESH
    turn = now.astimezone(UTC).strftime("%Y-%m-%dT%H" if is_fresh else "%Y-%m-%d")
    subjects = sorted(f"{due.scope.environment_id}:{due.subject}" for due in open_periods)
    return DayToClose(day, len(open_periods), f"{day}:{content_hash(subjects)[:16]}:{turn}")
