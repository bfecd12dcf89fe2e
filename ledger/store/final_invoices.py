"""Final invoices of subscriptions' periods by what late events need: whose, of which time, and seen up to when."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from billing.invoice import BillingReason, InvoiceStatus
from billing.period import Period
from billing.scope import Scope
from ledger.models import Customer, Invoice
from ledger.store.rows import in_chunks, in_scope

__all__ = [
    "FinalInvoice",
    "final_among",
    "final_between",
    "final_of_customers",
    "latest_ends",
    "watermarks_since",
]


@dataclass(frozen=True)
class FinalInvoice:
    """`customer_id` is the caller's own (external) id. Its lines have seen everything up to `watermark` at least."""

    id: str
    subscription_id: str
    customer_id: str
    period: Period
    watermark: datetime | None


def latest_ends(session: Session) -> dict[Scope, datetime]:
    """Where the last period ends that has a final invoice, of each environment that has any."""
    rows = select(Invoice.tenant_id, Invoice.environment_id, func.max(Invoice.period_end).label("end")).where(_final())
    grouped = rows.group_by(Invoice.tenant_id, Invoice.environment_id)
    return {Scope(row.tenant_id, row.environment_id): row.end for row in session.execute(grouped)}


def watermarks_since(session: Session, scope: Scope, finalized_from: datetime | None) -> datetime | None:
    """The earliest watermark of those that were finalized from then on, of all where it is None; None without any."""
    rows = select(func.min(Invoice.watermark)).where(in_scope(Invoice, scope), _final())
    if finalized_from is not None:
        rows = rows.where(Invoice.finalized_at >= finalized_from)
    return session.scalar(rows)


def final_of_customers(
    session: Session, scope: Scope, customer_ids: Collection[str], after: datetime
) -> list[FinalInvoice]:
    """The final invoices of these customers (external ids) whose periods end after a moment."""
    rows = _rows(scope).where(Invoice.period_end > after)
    return [
        _record(row)
        for some in in_chunks(customer_ids)
        for row in session.execute(rows.where(Customer.external_id.in_(some)))
    ]


def final_between(
    session: Session,
    scope: Scope,
    start: datetime,
    end: datetime,
    subscription_id: str | None = None,
    *,
    customer_id: str | None = None,
    after: tuple[datetime, str] | None = None,
    limit: int | None = None,
) -> list[FinalInvoice]:
    """The final invoices whose periods end in [start, end), of all subscriptions or of one (our ids); the oldest period
    first, those `after` the (period's end, id) of one, at most `limit`."""
    rows = _rows(scope).where(Invoice.period_end >= start, Invoice.period_end < end)
    if subscription_id is not None:
        rows = rows.where(Invoice.subscription_id == subscription_id)
    if customer_id is not None:
        rows = rows.where(Invoice.customer_id == customer_id)
    if after is not None:
        same_end = and_(Invoice.period_end == after[0], Invoice.id > after[1])
        rows = rows.where(or_(Invoice.period_end > after[0], same_end))
    ordered = rows.order_by(Invoice.period_end, Invoice.id).limit(limit)
    return [_record(row) for row in session.execute(ordered)]


def final_among(session: Session, scope: Scope, invoice_ids: Collection[str]) -> list[FinalInvoice]:
    """Those of these invoices that are final and of a subscription's period, the oldest period first."""
    found = [
        _record(row)
        for some in in_chunks(invoice_ids)
        for row in session.execute(_rows(scope).where(Invoice.id.in_(some)))
    ]
    return sorted(found, key=lambda one: (one.period.end, one.id))


def _rows(scope: Scope) -> Select[*tuple[Any, ...]]:
    same = and_(Customer.tenant_id == Invoice.tenant_id, Customer.environment_id == Invoice.environment_id)
    return (
        select(
            Invoice.id,
            Invoice.subscription_id,
            Customer.external_id,
            Invoice.period_start,
            Invoice.period_end,
            Invoice.watermark,
        )
        .join(Customer, and_(same, Customer.id == Invoice.customer_id))
        .where(in_scope(Invoice, scope), _final())
    )


def _final() -> ColumnElement[bool]:
    of_its_end = Invoice.billing_reason == BillingReason.SUBSCRIPTION_CYCLE.value
    return and_(of_its_end, Invoice.status == InvoiceStatus.FINALIZED.value)


def _record(row: Any) -> FinalInvoice:
    return FinalInvoice(
        row.id, row.subscription_id, row.external_id, Period(row.period_start, row.period_end), row.watermark
    )
