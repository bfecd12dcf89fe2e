"""Which billing days have periods to close: ended, past their environment's grace, and without a final invoice."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy.orm import Session

from billing.invoice import content_hash
from ledger.db import Ledger
from ledger.store import invoices, subscriptions
from pipelines.steps.billing_day import Due, billing_day, due_of
from pipelines.steps.chosen import Chosen
from pipelines.steps.invoice_parts import starts_of
from pipelines.steps.isolation import Failure, failure_of

__all__ = ["Closing", "DayToClose", "days_to_close"]

# What has been open for longer is left to a person: it would be tried in vain for ever.
_LOOKS_BACK = timedelta(days=35)
# A day whose periods were held is tried again each hour while it is fresh, and then once a day.
_FRESH = timedelta(days=2)


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
    entered all its days before that. Reads only; Unavailable as the ledger is.

    However long nobody asked, each of these days is named once, so that a scheduler that was down catches up.
    """
    first = datetime.combine((now - _LOOKS_BACK).astimezone(UTC).date(), time.min, UTC)
    with ledger.read() as session:
        last, ended = now + timedelta(microseconds=1), Chosen(after_grace=True)
        found = billing_day(session, first, last, now, ended) + starts_of(session, first, last, now, ended)
        past, failures = _entered_late(session, first)
    by_day: defaultdict[date, list[Due]] = defaultdict(list)
    for due in (*found.open, *past):
        by_day[due.billed_at.astimezone(UTC).date()].append(due)
    return Closing(tuple(_to_close(day, by_day[day], now) for day in sorted(by_day)), (*found.failures, *failures))


def _entered_late(session: Session, before: datetime) -> tuple[list[Due], list[Failure]]:
    """The periods without a final invoice that ended before `before`, of subscriptions that were entered since."""
    late = subscriptions.entered_late(session, before)
    ids = {(scope, subscription.id) for scope, subscription in late}
    closed = invoices.closed_periods(session, ids) if ids else set()
    found: list[Due] = []
    failures: list[Failure] = []
    for scope, subscription in late:
        try:
            found += [
                due_of(scope, subscription, period)
                for period in subscription.periods_ending_in(subscription.start_date, before)
                if (scope, subscription.id, period.start) not in closed
            ]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this subscription's alone
            failures.append(failure_of(scope, subscription.id, before, error))
    return found, failures


def _to_close(day: date, open_periods: Sequence[Due], now: datetime) -> DayToClose:
    is_fresh = now - datetime.combine(day, time.min, UTC) < _FRESH
    turn = now.astimezone(UTC).strftime("%Y-%m-%dT%H" if is_fresh else "%Y-%m-%d")
    subjects = sorted(f"{due.scope.environment_id}:{due.subject}" for due in open_periods)
    return DayToClose(day, len(open_periods), f"{day}:{content_hash(subjects)[:16]}:{turn}")
