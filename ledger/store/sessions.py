"""Checkout sessions of ours: recorded before the provider is asked for a page, completed by its webhook."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from billing.errors import NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Checkout
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.customers import get_customer
from ledger.store.payments import get_payment
from ledger.store.rows import in_scope, insert_new, scoped


@dataclass(frozen=True)
class CheckoutRecord:
    id: str
    customer_id: str
    purpose: str
    payment_id: str | None
    gateway_session_id: str | None
    setup_intent_id: str | None
    url: str | None
    set_default: bool
    success_url: str
    cancel_url: str
    status: str
    expires_at: datetime | None
    created_at: datetime


def create_checkout(
    session: Session,
    scope: Scope,
    *,
    customer_id: str,
    purpose: str,
    success_url: str,
    cancel_url: str,
    set_default: bool,
    now: datetime,
    payment_id: str | None = None,
) -> CheckoutRecord:
    """A new open session, `purpose` setup or payment. NotFound `customer_not_found`, `payment_not_found`."""
    customer = get_customer(session, scope, customer_id)
    if payment_id is not None:
        get_payment(session, scope, payment_id)
    values = scoped(
        scope,
        id=new_id("ses", now),
        customer_id=customer.id,
        purpose=purpose,
        payment_id=payment_id,
        set_default=set_default,
        success_url=success_url,
        cancel_url=cancel_url,
        status="open",
        created_at=now,
    )
    insert_new(session, Checkout, values)
    return get_checkout(session, scope, values["id"])


def attach_gateway_session(
    session: Session,
    scope: Scope,
    checkout_id: str,
    *,
    gateway_session_id: str,
    url: str | None,
    setup_intent_id: str | None = None,
    expires_at: datetime | None = None,
) -> CheckoutRecord:
    """Records the provider's session behind ours. NotFound `checkout_not_found`."""
    known = {"gateway_session_id": gateway_session_id, "url": url, "expires_at": expires_at}
    if setup_intent_id is not None:
        known["setup_intent_id"] = setup_intent_id
    return _set(session, scope, checkout_id, known)


def close_checkout(
    session: Session, scope: Scope, checkout_id: str, status: str, setup_intent_id: str | None = None
) -> CheckoutRecord:
    """Ends a session as "complete", which stays whatever comes later, or "expired". NotFound `checkout_not_found`."""
    found = get_checkout(session, scope, checkout_id)
    known: dict[str, Any] = {} if setup_intent_id is None else {"setup_intent_id": setup_intent_id}
    if found.status != "complete":
        known["status"] = status
    return _set(session, scope, checkout_id, known)


def get_checkout(session: Session, scope: Scope, checkout_id: str) -> CheckoutRecord:
    """NotFound `checkout_not_found`."""
    row = session.scalar(select(Checkout).where(in_scope(Checkout, scope), Checkout.id == checkout_id))
    if row is None:
        raise NotFound("checkout_not_found", "no such checkout session", field="checkout_id")
    return _record(row)


def by_gateway_session(session: Session, scope: Scope, gateway_session_id: str) -> CheckoutRecord | None:
    """Our session behind the provider's, if it is one of ours."""
    theirs = Checkout.gateway_session_id == gateway_session_id
    row = session.scalar(select(Checkout).where(in_scope(Checkout, scope), theirs))
    return None if row is None else _record(row)


def open_checkouts(session: Session, scope: Scope) -> list[CheckoutRecord]:
    """Every session that is open as far as we know, oldest first."""
    rows = select(Checkout).where(in_scope(Checkout, scope), Checkout.status == "open")
    return [_record(row) for row in session.scalars(rows.order_by(Checkout.created_at, Checkout.id))]


def list_checkouts(
    session: Session,
    scope: Scope,
    *,
    customer_id: str | None = None,
    payment_id: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[CheckoutRecord]:
    """Sessions, newest first; `customer_id` is our id."""
    rows = select(Checkout).where(in_scope(Checkout, scope))
    if customer_id is not None:
        rows = rows.where(Checkout.customer_id == customer_id)
    if payment_id is not None:
        rows = rows.where(Checkout.payment_id == payment_id)
    return paginate(session, rows, Checkout.created_at, Checkout.id, _record, cursor, limit)


def _set(session: Session, scope: Scope, checkout_id: str, values: dict[str, Any]) -> CheckoutRecord:
    if values:
        session.execute(update(Checkout).where(in_scope(Checkout, scope), Checkout.id == checkout_id).values(values))
    return get_checkout(session, scope, checkout_id)


def _record(row: Checkout) -> CheckoutRecord:
    return CheckoutRecord(
        id=row.id,
        customer_id=row.customer_id,
        purpose=row.purpose,
        payment_id=row.payment_id,
        gateway_session_id=row.gateway_session_id,
        setup_intent_id=row.setup_intent_id,
        url=row.url,
        set_default=row.set_default,
        success_url=row.success_url,
        cancel_url=row.cancel_url,
        status=row.status,
        expires_at=row.expires_at,
        created_at=row.created_at,
    )
