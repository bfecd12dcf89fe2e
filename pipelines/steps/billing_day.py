"""What a billing day holds: every subscription's period that ends in the window, with the state of its invoice."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.instant import format_instant
from billing.invoice import BillingReason, InvoiceStatus
from billing.period import Period, Schedule
from billing.scope import Scope
from billing.subscription import Life, Segment
from ledger.models import Invoice
from ledger.store import subscriptions
from ledger.store.rows import among, in_scope, scope_of
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.chosen import EVERYTHING, Chosen, cutoff
from pipelines.steps.isolation import Failure, failure_of

__all__ = ["BillingDay", "Due", "billing_day", "due_of", "hold_open", "scope_of_due"]

_TICK = timedelta(microseconds=1)


_instant = lru_cache(maxsize=4096)(format_instant)


@dataclass(frozen=True, slots=True)
class Due:
    """One period of a subscription to bill.

    `period` is the time in which the subscription ran, `full` the whole period of its calendar. They differ where it
    began or ended in the middle: flat prices are due for the share. `segments` are the period, cut where the terms
    changed. By `reason` it is billed at its end, or it is the first one and its advance is, at its start. `invoice_id`
    and `status` are None until there is a draft.
    """

    scope: Scope
    subscription: SubscriptionRecord
    period: Period
    full: Period
    segments: tuple[Segment, ...]
    reason: BillingReason = BillingReason.SUBSCRIPTION_CYCLE
    invoice_id: str | None = None
    status: InvoiceStatus | None = None

    @property
    def is_open(self) -> bool:
        """Whether the invoice may still be changed. A finalized or void one is never touched by a rerun."""
        return self.status in {None, InvoiceStatus.DRAFT}

    @property
    def is_start(self) -> bool:
        """Whether it is the advance of the first period."""
        return self.reason is BillingReason.SUBSCRIPTION_START

    @property
    def billed_at(self) -> datetime:
        """When its invoice is due to be made."""
        return self.period.start if self.is_start else self.period.end

    @property
    def subject(self) -> str:
        """The name under which gates know the period, which they look at before its invoice exists."""
        start = f"{self.subscription.id}@{_instant(self.period.start)}"
        return f"{start}~advance" if self.is_start else start

    def failure(self, error: Exception) -> Failure:
        """What an error means for this period alone."""
        return failure_of(self.scope, self.subscription.id, self.period.start, error)


@dataclass(frozen=True)
class BillingDay:
    """All periods that end in a window and have ended by now, by environment, oldest subscription first."""

    due: tuple[Due, ...]
    failures: tuple[Failure, ...]

    @property
    def open(self) -> tuple[Due, ...]:
        """What is not finalized or void yet."""
        return tuple(due for due in self.due if due.is_open)

    def __add__(self, other: "BillingDay") -> "BillingDay":
        return BillingDay((*self.due, *other.due), (*self.failures, *other.failures))


def billing_day(
    session: Session, start: datetime, end: datetime, now: datetime, chosen: Chosen = EVERYTHING
) -> BillingDay:
    """The chosen periods of all environments whose end e satisfies start <= e < end and e <= now.

    A subscription whose periods cannot be worked out is a failure and keeps nobody else waiting. What waits for its
    grace is billed by itself: then those who have been billed are not read.
    """
    invoices = _invoices(session, start, end)
    due_by = cutoff(session, chosen, now)
    found: list[Due] = []
    failures: list[Failure] = []
    for scope, subscription in subscriptions.billable(session, start, end, unbilled=chosen.after_grace):
        if not chosen.takes_subscription(scope, subscription.id):
            continue
        try:
            for period in subscription.periods_ending_in(start, min(end, due_by(scope) + _TICK)):
                invoice_id, status = invoices.get((scope, subscription.id, period.start), (None, None))
                found.append(due_of(scope, subscription, period, invoice_id=invoice_id, status=status))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this subscription's alone
            failures.append(failure_of(scope, subscription.id, start, error))
    # By environment, as they are worked on; the oldest subscription of each comes first.
    return BillingDay(tuple(sorted(found, key=scope_of_due)), tuple(failures))


def due_of(
    scope: Scope,
    subscription: SubscriptionRecord,
    period: Period,
    reason: BillingReason = BillingReason.SUBSCRIPTION_CYCLE,
    *,
    invoice_id: str | None = None,
    status: InvoiceStatus | None = None,
) -> Due:
    """A period of the subscription as something to bill."""
    full, segments = _whole(subscription, period)
    return Due(scope, subscription, period, full, segments, reason, invoice_id, status)


def _whole(subscription: SubscriptionRecord, period: Period) -> tuple[Period, tuple[Segment, ...]]:
    """The full period and the segments. Subscriptions that nothing has happened to share them with many."""
    if subscription.history or subscription.trial_end is not None:
        return subscription.schedule().full_period(period), subscription.life().segments(period)
    return _shared(subscription.schedule(), subscription.end_date, subscription.plan_id, period)


@lru_cache(maxsize=4096)
def _shared(
    schedule: Schedule, end: datetime | None, plan_id: str, period: Period
) -> tuple[Period, tuple[Segment, ...]]:
    return schedule.full_period(period), Life(schedule.start, end, None, plan_id).segments(period)


def hold_open(session: Session, scope: Scope, dues: Sequence[Due]) -> list[Due]:
    """Those whose invoice is still open, or not there; its row is locked until the transaction ends.

    Between reading a day and writing about it another run may have finalized the invoice. The periods are of one
    environment and for one reason.
    """
    closed = set()
    starts = {due.period.start for due in dues}
    rows = select(Invoice.subscription_id, Invoice.period_start, Invoice.status).where(
        in_scope(Invoice, scope),
        Invoice.period_start.in_(starts),
        Invoice.billing_reason.in_({due.reason.value for due in dues}),
    )
    rows = rows.where(among(session, Invoice.subscription_id, {due.subscription.id for due in dues}))
    for row in session.execute(rows.order_by(Invoice.id).with_for_update()):
        if row.status != InvoiceStatus.DRAFT.value:
            closed.add((row.subscription_id, row.period_start))
    return [due for due in dues if (due.subscription.id, due.period.start) not in closed]


def scope_of_due(due: Due) -> Scope:
    """The environment of a period."""
    return due.scope


def _invoices(
    session: Session, start: datetime, end: datetime
) -> dict[tuple[Scope, str | None, datetime], tuple[str, InvoiceStatus]]:
    of_its_end = Invoice.billing_reason == BillingReason.SUBSCRIPTION_CYCLE.value
    rows = select(
        Invoice.tenant_id,
        Invoice.environment_id,
        Invoice.subscription_id,
        Invoice.period_start,
        Invoice.id,
        Invoice.status,
    ).where(Invoice.period_end >= start, Invoice.period_end < end, of_its_end)
    return {
        (scope_of(row), row.subscription_id, row.period_start): (row.id, InvoiceStatus(row.status))
        for row in session.execute(rows)
    }
