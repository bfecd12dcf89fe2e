"""Payments: what was asked for or happened, and where it stands. A status never moves backwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Payment
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.customers import get_customer
from ledger.store.invoices import get_invoice
from ledger.store.rows import in_scope, insert_new, scoped

# A failed attempt may still succeed: the provider retries the same payment. It does not become pending again by itself,
# since then a delayed "processing" would undo a "failed"; a higher attempt number does that (see update_status).
STATUS_MOVES: dict[str, frozenset[str]] = {
    "pending": frozenset({"processing", "requires_action", "succeeded", "failed", "canceled"}),
    "processing": frozenset({"requires_action", "succeeded", "failed", "canceled"}),
    "requires_action": frozenset({"processing", "succeeded", "failed", "canceled"}),
    "failed": frozenset({"succeeded", "canceled"}),
    "succeeded": frozenset({"refunded"}),
    "canceled": frozenset(),
    "refunded": frozenset(),
}


@dataclass(frozen=True)
class PaymentRecord:
    id: str
    invoice_id: str | None
    customer_id: str
    amount: Decimal
    currency: str
    method: str
    gateway: str | None
    status: str
    failure_code: str | None
    failure_message: str | None
    gateway_payment_id: str | None
    attempt: int
    succeeded_at: datetime | None
    checkout_url: str | None
    metadata: dict[str, str]
    created_at: datetime


def create_payment(
    session: Session,
    scope: Scope,
    *,
    customer_id: str,
    amount: Decimal,
    currency: str,
    method: str,
    now: datetime,
    invoice_id: str | None = None,
    gateway: str | None = None,
    status: str = "pending",
    gateway_payment_id: str | None = None,
    checkout_url: str | None = None,
    succeeded_at: datetime | None = None,
    metadata: Mapping[str, str] | None = None,
) -> PaymentRecord:
    """A new payment, `method` card, payment_link or offline; `customer_id` ours or external.

    Conflict `payment_exists` when the gateway's payment has one already; NotFound `customer_not_found`,
    `invoice_not_found`.
    """
    customer = get_customer(session, scope, customer_id)
    if invoice_id is not None:
        get_invoice(session, scope, invoice_id)
    values = scoped(
        scope,
        id=new_id("pay", now),
        invoice_id=invoice_id,
        customer_id=customer.id,
        amount=amount,
        currency=currency,
        method=method,
        gateway=gateway,
        status=status,
        gateway_payment_id=gateway_payment_id,
        attempt=1,
        succeeded_at=succeeded_at,
        checkout_url=checkout_url,
        meta=dict(metadata or {}),
        created_at=now,
    )
    if not insert_new(session, Payment, values):
        raise Conflict("payment_exists", "this payment of the gateway is recorded already", field="gateway_payment_id")
    return get_payment(session, scope, values["id"])


def upsert_gateway_payment(
    session: Session,
    scope: Scope,
    *,
    gateway: str,
    gateway_payment_id: str,
    customer_id: str,
    amount: Decimal,
    currency: str,
    status: str,
    now: datetime,
    invoice_id: str | None = None,
    method: str = "card",
    attempt: int = 1,
    succeeded_at: datetime | None = None,
    failure_code: str | None = None,
    failure_message: str | None = None,
) -> PaymentRecord:
    """The payment of the gateway's own id: recorded if it is new, else moved forward like `update_status`."""
    customer = get_customer(session, scope, customer_id)
    values = scoped(
        scope,
        id=new_id("pay", now),
        invoice_id=invoice_id,
        customer_id=customer.id,
        amount=amount,
        currency=currency,
        method=method,
        gateway=gateway,
        status=status,
        failure_code=failure_code,
        failure_message=failure_message,
        gateway_payment_id=gateway_payment_id,
        attempt=attempt,
        succeeded_at=succeeded_at,
        meta={},
        created_at=now,
    )
    if insert_new(session, Payment, values):
        return get_payment(session, scope, values["id"])
    theirs = select(Payment.id).where(
        in_scope(Payment, scope), Payment.gateway == gateway, Payment.gateway_payment_id == gateway_payment_id
    )
    return update_status(
        session,
        scope,
        session.scalars(theirs).one(),
        status,
        attempt=attempt,
        succeeded_at=succeeded_at,
        failure_code=failure_code,
        failure_message=failure_message,
    )


def update_status(
    session: Session,
    scope: Scope,
    payment_id: str,
    status: str,
    *,
    attempt: int | None = None,
    succeeded_at: datetime | None = None,
    failure_code: str | None = None,
    failure_message: str | None = None,
    gateway_payment_id: str | None = None,
    checkout_url: str | None = None,
) -> PaymentRecord:
    """Moves a payment forward; a report that STATUS_MOVES does not allow is old and changes nothing.

    A higher `attempt` reopens a failed payment. `gateway_payment_id` and `checkout_url` are set once. NotFound
    `payment_not_found`, Conflict `payment_exists` when another payment has that `gateway_payment_id`.
    """
    this_payment = in_scope(Payment, scope) & (Payment.id == payment_id)
    row = session.scalar(select(Payment).where(this_payment).with_for_update())
    if row is None:
        raise _missing()
    values: dict[str, Any] = {
        "gateway_payment_id": row.gateway_payment_id or gateway_payment_id,
        "checkout_url": row.checkout_url or checkout_url,
    }
    if row.gateway_payment_id is None and gateway_payment_id is not None:
        _require_unclaimed(session, scope, row.gateway, gateway_payment_id)
    newer_attempt = attempt is not None and attempt > row.attempt
    if status in STATUS_MOVES[row.status] or (row.status == "failed" and newer_attempt):
        failed = status == "failed"
        values |= {
            "status": status,
            "attempt": max(row.attempt, attempt or 1),
            "succeeded_at": row.succeeded_at or succeeded_at,
            "failure_code": failure_code if failed else None,
            "failure_message": failure_message if failed else None,
        }
    session.execute(update(Payment).where(this_payment).values(values))
    return get_payment(session, scope, payment_id)


def get_payment(session: Session, scope: Scope, payment_id: str) -> PaymentRecord:
    """NotFound `payment_not_found`."""
    row = session.scalar(select(Payment).where(in_scope(Payment, scope), Payment.id == payment_id))
    if row is None:
        raise _missing()
    return _record(row)


def hold_payment(session: Session, scope: Scope, payment_id: str) -> PaymentRecord:
    """A payment, its row locked until the transaction ends. NotFound `payment_not_found`."""
    this_payment = in_scope(Payment, scope) & (Payment.id == payment_id)
    session.execute(select(Payment.id).where(this_payment).with_for_update())
    return get_payment(session, scope, payment_id)


def undo_refund(session: Session, scope: Scope, payment_id: str) -> None:
    """The one way back: a refund that failed has left the money here. Anything but a refunded payment stays.

    NotFound `payment_not_found`.
    """
    get_payment(session, scope, payment_id)
    this_payment = in_scope(Payment, scope) & (Payment.id == payment_id) & (Payment.status == "refunded")
    session.execute(update(Payment).where(this_payment).values(status="succeeded"))


def by_gateway_id(session: Session, scope: Scope, gateway: str, gateway_payment_id: str) -> PaymentRecord | None:
    """The payment that the gateway knows by this id, if it is recorded."""
    theirs = in_scope(Payment, scope) & (Payment.gateway == gateway)
    row = session.scalar(select(Payment).where(theirs, Payment.gateway_payment_id == gateway_payment_id))
    return None if row is None else _record(row)


def list_payments(
    session: Session,
    scope: Scope,
    *,
    invoice_id: str | None = None,
    customer_id: str | None = None,
    status: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[PaymentRecord]:
    """Payments, newest first; `customer_id` is our id."""
    wanted = {Payment.invoice_id: invoice_id, Payment.customer_id: customer_id, Payment.status: status}
    rows = select(Payment).where(in_scope(Payment, scope))
    rows = rows.where(*(column == value for column, value in wanted.items() if value is not None))
    return paginate(session, rows, Payment.created_at, Payment.id, _record, cursor, limit)


def _require_unclaimed(session: Session, scope: Scope, gateway: str | None, gateway_payment_id: str) -> None:
    if gateway is not None and by_gateway_id(session, scope, gateway, gateway_payment_id) is not None:
        raise Conflict("payment_exists", "another payment has this gateway_payment_id", field="gateway_payment_id")


def _missing() -> NotFound:
    return NotFound("payment_not_found", "no such payment", field="payment_id")


def _record(row: Payment) -> PaymentRecord:
    return PaymentRecord(
        id=row.id,
        invoice_id=row.invoice_id,
        customer_id=row.customer_id,
        amount=row.amount,
        currency=row.currency,
        method=row.method,
        gateway=row.gateway,
        status=row.status,
        failure_code=row.failure_code,
        failure_message=row.failure_message,
        gateway_payment_id=row.gateway_payment_id,
        attempt=row.attempt,
        succeeded_at=row.succeeded_at,
        checkout_url=row.checkout_url,
        metadata=row.meta,
        created_at=row.created_at,
    )
