"""Lists of invoices: a caller's, and those that the pipelines have work on."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from billing.invoice import BillingReason, InvoiceStatus
from billing.period import Period
from billing.scope import Scope
from ledger.models import Connection, CreditNote, Invoice, Mapping, Payment
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.invoice_lines import period_of
from ledger.store.invoice_record import InvoiceRecord, with_lines, without_lines
from ledger.store.rows import among, in_chunks, in_scope, scope_of


@dataclass(frozen=True)
class PeriodInvoice:
    """The invoice of a period in short; `total` is None until it has been priced."""

    id: str
    number: str | None
    status: InvoiceStatus
    total: Decimal | None


def list_invoices(
    session: Session,
    scope: Scope,
    *,
    customer_id: str | None = None,
    subscription_id: str | None = None,
    status: str | None = None,
    payment_status: str | None = None,
    billed: tuple[datetime, datetime] | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[InvoiceRecord]:
    """Invoices with their lines, newest first; `customer_id` is our id, `billed` the billing days [from, to)."""
    wanted = {
        Invoice.customer_id: customer_id,
        Invoice.subscription_id: subscription_id,
        Invoice.status: status,
        Invoice.payment_status: payment_status,
    }
    rows = select(Invoice).where(in_scope(Invoice, scope))
    rows = rows.where(*(column == value for column, value in wanted.items() if value is not None))
    if billed is not None:
        rows = rows.where(billed_between(*billed))
    page = paginate(session, rows, Invoice.created_at, Invoice.id, lambda row: row, cursor, limit)
    return Page(with_lines(session, scope, page.items), page.next_cursor)


def of_customer(
    session: Session, scope: Scope, customer_id: str, subscription_id: str | None = None
) -> list[InvoiceRecord]:
    """A customer's invoices for subscriptions, or for this one, without their lines; by period; our ids."""
    rows = select(Invoice).where(in_scope(Invoice, scope), Invoice.customer_id == customer_id)
    if subscription_id is None:
        rows = rows.where(Invoice.subscription_id.is_not(None))
    else:
        rows = rows.where(Invoice.subscription_id == subscription_id)
    found = session.scalars(rows.order_by(Invoice.period_end, Invoice.period_start, Invoice.id))
    return [without_lines(row) for row in found]


def finalized_after(session: Session, scope: Scope, customer_id: str, moment: datetime) -> list[InvoiceRecord]:
    """A customer's finalized invoices whose period ends after `moment`, oldest period first; our id."""
    rows = select(Invoice).where(
        in_scope(Invoice, scope),
        Invoice.customer_id == customer_id,
        Invoice.status == InvoiceStatus.FINALIZED.value,
        Invoice.period_end > moment,
    )
    return with_lines(session, scope, list(session.scalars(rows.order_by(Invoice.period_start, Invoice.id))))


def last_closed_end(session: Session, scope: Scope, subscription_id: str) -> datetime | None:
    """Where the last period of a subscription ends whose invoice is final or void; None where there is none.

    What was billed in advance closes nothing: its period is settled on an invoice of its own.
    """
    closed = and_(Invoice.subscription_id == subscription_id, Invoice.status != InvoiceStatus.DRAFT.value)
    return session.scalar(select(func.max(Invoice.period_end)).where(in_scope(Invoice, scope), closed, _of_its_end()))


def of_periods(
    session: Session, scope: Scope, periods: Collection[tuple[str, datetime]]
) -> dict[tuple[str, datetime], InvoiceRecord]:
    """The invoices of periods, each named by its subscription and start; those that have one."""
    wanted = set(periods)
    subscription_ids = {subscription_id for subscription_id, _ in wanted}
    rows = select(Invoice).where(in_scope(Invoice, scope), Invoice.subscription_id.in_(subscription_ids), _of_its_end())
    starts = {start for _, start in wanted}
    found = with_lines(session, scope, list(session.scalars(rows.where(Invoice.period_start.in_(starts)))))
    return {
        (invoice.subscription_id, invoice.period.start): invoice
        for invoice in found
        if invoice.subscription_id is not None and (invoice.subscription_id, invoice.period.start) in wanted
    }


def invoices_of_periods(
    session: Session, scope: Scope, subscription_id: str, starts: Collection[datetime]
) -> dict[datetime, PeriodInvoice]:
    """A subscription's invoices by the start of their period; those of the periods that have one."""
    rows = select(
        Invoice.period_start, Invoice.id, Invoice.number, Invoice.status, Invoice.total, Invoice.inputs_hash
    ).where(
        in_scope(Invoice, scope),
        Invoice.subscription_id == subscription_id,
        Invoice.period_start.in_(starts),
        _of_its_end(),
    )
    return {
        row.period_start: PeriodInvoice(
            row.id, row.number, InvoiceStatus(row.status), None if row.inputs_hash is None else row.total
        )
        for row in session.execute(rows)
    }


def closed_periods(
    session: Session, subscriptions: Collection[tuple[Scope, str]]
) -> set[tuple[Scope, str | None, datetime]]:
    """The periods of these subscriptions whose invoice is final or void, each by its start."""
    rows = select(Invoice.tenant_id, Invoice.environment_id, Invoice.subscription_id, Invoice.period_start)
    rows = rows.where(_of_its_end(), Invoice.status != InvoiceStatus.DRAFT.value)
    by_scope: defaultdict[Scope, list[str]] = defaultdict(list)
    for scope, subscription_id in subscriptions:
        by_scope[scope].append(subscription_id)
    return {
        (scope, row.subscription_id, row.period_start)
        for scope, ids in by_scope.items()
        for some in in_chunks(ids)
        for row in session.execute(rows.where(in_scope(Invoice, scope), among(session, Invoice.subscription_id, some)))
    }


def of_period(
    session: Session, scope: Scope, subscription_id: str, period_start: datetime, reason: BillingReason
) -> InvoiceRecord | None:
    """The invoice that a subscription has of a period for that reason."""
    row = session.scalar(
        select(Invoice).where(
            in_scope(Invoice, scope),
            Invoice.subscription_id == subscription_id,
            Invoice.period_start == period_start,
            Invoice.billing_reason == reason.value,
        )
    )
    return None if row is None else with_lines(session, scope, [row])[0]


def of_subscriptions(
    session: Session, scope: Scope, subscription_ids: Collection[str], period_starts: Collection[datetime]
) -> list[InvoiceRecord]:
    """The subscriptions' invoices of all periods that begin at one of these moments, for whatever reason."""
    rows = select(*Invoice.__table__.columns).where(in_scope(Invoice, scope), Invoice.period_start.in_(period_starts))
    found = session.execute(rows.where(among(session, Invoice.subscription_id, subscription_ids))).all()
    return with_lines(session, scope, found)


def billed_between(start: datetime, end: datetime) -> ColumnElement[bool]:
    """Whether an invoice belongs to the billing days [start, end): see `InvoiceRecord.billed_at`."""
    first_advance = Invoice.billing_reason == BillingReason.SUBSCRIPTION_START.value
    return or_(
        and_(first_advance, Invoice.period_start >= start, Invoice.period_start < end),
        and_(~first_advance, Invoice.period_end >= start, Invoice.period_end < end),
    )


@dataclass(frozen=True, slots=True)
class DraftRecord:
    """What a run has to know of a draft to find it again and to put it in order."""

    id: str
    customer_id: str
    subscription_id: str | None
    billing_reason: BillingReason
    period: Period
    created_at: datetime

    @property
    def billed_at(self) -> datetime:
        """As `InvoiceRecord.billed_at`."""
        return self.period.start if self.billing_reason is BillingReason.SUBSCRIPTION_START else self.period.end


def drafts_of(session: Session, billed_from: datetime, billed_to: datetime) -> list[tuple[Scope, DraftRecord]]:
    """Drafts of all subscriptions that belong to the billing days [from, to), oldest first."""
    due = billed_between(billed_from, billed_to)
    # What was made by hand is priced already, and finalized when somebody says so.
    of_subscription = Invoice.subscription_id.is_not(None)
    rows = select(
        Invoice.tenant_id,
        Invoice.environment_id,
        Invoice.id,
        Invoice.customer_id,
        Invoice.subscription_id,
        Invoice.billing_reason,
        Invoice.period_start,
        Invoice.period_end,
        Invoice.created_at,
    ).where(due, of_subscription, Invoice.status == InvoiceStatus.DRAFT.value)
    return [
        (
            Scope(row.tenant_id, row.environment_id),
            DraftRecord(
                row.id,
                row.customer_id,
                row.subscription_id,
                BillingReason(row.billing_reason),
                period_of(row.period_start, row.period_end),
                row.created_at,
            ),
        )
        for row in session.execute(rows.order_by(Invoice.created_at, Invoice.id))
    ]


def not_at_provider() -> ColumnElement[bool]:
    """Whether an invoice's environment has an active connection that has not been told of it in full."""
    done = (
        select(Mapping.id)
        .where(
            Mapping.tenant_id == Connection.tenant_id,
            Mapping.environment_id == Connection.environment_id,
            Mapping.connection_id == Connection.id,
            Mapping.entity == "invoice",
            Mapping.entity_id == Invoice.id,
            Mapping.state == "done",
        )
        # By itself it would mean any invoice: SQLAlchemy looks for the tables one level up only.
        .correlate(Connection, Invoice)
        .exists()
    )
    return exists().where(
        Connection.tenant_id == Invoice.tenant_id,
        Connection.environment_id == Invoice.environment_id,
        Connection.status == "active",
        Connection.deleted_at.is_(None),
        ~done,
    )


@dataclass(frozen=True, slots=True)
class UnsentInvoice:
    """What a run has to know of an invoice to send it in order; the rest is read when it is its turn."""

    id: str
    customer_id: str
    subscription_id: str | None
    period: Period


def to_sync(session: Session, billed_from: datetime, billed_to: datetime) -> list[tuple[Scope, UnsentInvoice]]:
    """Finalized invoices of the billing days [from, to) that an active connection has not been told of in full, by
    environment, in the order in which they were finalized.

    Whether a connection wants invoices (`sync_config`) is for the caller to say.
    """
    due = billed_between(billed_from, billed_to)
    rows = _UNSENT.where(due, Invoice.status == InvoiceStatus.FINALIZED.value, not_at_provider())
    by_environment = rows.order_by(Invoice.tenant_id, Invoice.environment_id, Invoice.finalized_at, Invoice.id)
    return [(scope_of(row), _unsent(row)) for row in session.execute(by_environment)]


def unsent(session: Session, scope: Scope, invoice_ids: Collection[str]) -> list[UnsentInvoice]:
    """Those that exist, whatever their state, in the order in which they were finalized."""
    rows = _UNSENT.where(in_scope(Invoice, scope), among(session, Invoice.id, invoice_ids))
    return [_unsent(row) for row in session.execute(rows.order_by(Invoice.finalized_at, Invoice.id))]


_UNSENT = select(
    Invoice.tenant_id,
    Invoice.environment_id,
    Invoice.id,
    Invoice.customer_id,
    Invoice.subscription_id,
    Invoice.period_start,
    Invoice.period_end,
)


def _unsent(row: Row[*tuple[Any, ...]]) -> UnsentInvoice:
    return UnsentInvoice(row.id, row.customer_id, row.subscription_id, Period(row.period_start, row.period_end))


def untouched(session: Session, scope: Scope, invoice_ids: Collection[str]) -> set[str]:
    """Those of the invoices that have no payment and no credit note of any kind."""
    touched: set[str | None] = set()
    for model in (Payment, CreditNote):
        rows = select(model.invoice_id).where(in_scope(model, scope), among(session, model.invoice_id, invoice_ids))
        touched |= set(session.scalars(rows))
    return set(invoice_ids) - touched


def _of_its_end() -> ColumnElement[bool]:
    """Whether an invoice is the one of its period's end."""
    return Invoice.billing_reason == BillingReason.SUBSCRIPTION_CYCLE.value
