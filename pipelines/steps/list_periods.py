"""Use case: the billing periods of a subscription, each with what became of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Literal

from sqlalchemy.orm import Session

from billing.errors import InvalidInput
from billing.instant import format_instant, parse_instant
from billing.invoice import InvoiceStatus
from billing.period import Period
from billing.scope import Scope
from ledger.page import Page, cursor_invalid
from ledger.store import invoices
from ledger.store.invoices import PeriodInvoice
from ledger.store.subscriptions import SubscriptionRecord

__all__ = ["PeriodStatus", "SubscriptionPeriod", "list_periods"]

_TICK = timedelta(microseconds=1)


class PeriodStatus(StrEnum):
    """`closing`: it has ended, and its invoice is not final yet."""

    UPCOMING = "upcoming"
    RUNNING = "running"
    CLOSING = "closing"
    INVOICED = "invoiced"
    VOID = "void"


@dataclass(frozen=True)
class SubscriptionPeriod:
    """`invoice` is None until there is a draft."""

    period: Period
    status: PeriodStatus
    invoice: PeriodInvoice | None


def list_periods(
    session: Session,
    scope: Scope,
    subscription: SubscriptionRecord,
    now: datetime,
    *,
    order: Literal["newest", "oldest"] = "newest",
    cursor: str | None = None,
    limit: int,
) -> Page[SubscriptionPeriod]:
    """The periods from the first one to the one after the running one, if the subscription goes on that long.

    A page is worked out from its cursor, which is where the last period of the page before begins: however long the
    subscription, it costs as many steps as it has items. InvalidInput `cursor_invalid`.
    """
    last = _last(subscription, now)
    if last is None:
        return Page([], None)
    after = None if cursor is None else _read_cursor(subscription, last, cursor)
    periods = _back(subscription, last, after) if order == "newest" else _forth(subscription, last, after)
    found = list(islice(periods, limit + 1))
    known = invoices.invoices_of_periods(session, scope, subscription.id, [period.start for period in found[:limit]])
    items = [_with_status(period, known.get(period.start), now) for period in found[:limit]]
    return Page(items, format_instant(items[-1].period.start) if len(found) > limit else None)


def _back(subscription: SubscriptionRecord, last: Period, after: Period | None) -> Iterator[Period]:
    schedule = subscription.schedule()
    period: Period | None = last if after is None else schedule.previous(after)
    while period is not None:
        yield _served(subscription, period)
        period = schedule.previous(period)


def _forth(subscription: SubscriptionRecord, last: Period, after: Period | None) -> Iterator[Period]:
    schedule = subscription.schedule()
    at = schedule.start if after is None else after.end
    while at <= last.start:
        period = schedule.period_at(at)
        yield _served(subscription, period)
        at = period.end


def _last(subscription: SubscriptionRecord, now: datetime) -> Period | None:
    """The last period to show, whole: the one after the running one, or the one in which the subscription ends."""
    schedule, end = subscription.schedule(), subscription.end_date
    if end is not None and end <= schedule.start:
        return None
    last = schedule.period_at(max(now, schedule.start))
    if now >= schedule.start:
        last = schedule.period_at(last.end)
    return last if end is None or end > last.start else schedule.period_at(end - _TICK)


def _served(subscription: SubscriptionRecord, period: Period) -> Period:
    """The part of a period in which the subscription runs."""
    end = subscription.end_date
    return period if end is None else Period(period.start, min(period.end, end))


def _with_status(period: Period, invoice: PeriodInvoice | None, now: datetime) -> SubscriptionPeriod:
    if invoice is not None and invoice.status is not InvoiceStatus.DRAFT:
        settled = PeriodStatus.INVOICED if invoice.status is InvoiceStatus.FINALIZED else PeriodStatus.VOID
        return SubscriptionPeriod(period, settled, invoice)
    if now < period.start:
        return SubscriptionPeriod(period, PeriodStatus.UPCOMING, invoice)
    return SubscriptionPeriod(period, PeriodStatus.RUNNING if now < period.end else PeriodStatus.CLOSING, invoice)


def _read_cursor(subscription: SubscriptionRecord, last: Period, cursor: str) -> Period:
    """The whole period that the cursor names by its start."""
    try:
        start = parse_instant(cursor, "cursor")
        period = subscription.schedule().period_at(start)
    except InvalidInput as error:
        raise cursor_invalid() from error
    if period.start != start or start > last.start:
        raise cursor_invalid()
    return period
