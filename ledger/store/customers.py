"""Customers, found by our id or by the caller's own."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import Row, or_, select, update
from sqlalchemy.orm import Session

from billing.errors import Conflict, InvalidInput, NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Customer
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.rows import among, in_scope, insert_new, scoped

_LOOKS_LIKE_OURS = re.compile(r"cus_[0-9A-Z]{26}", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class CustomerRecord:
    id: str
    external_id: str
    name: str
    email: str | None
    status: str
    currency: str | None
    timezone: str | None
    metadata: dict[str, str]
    created_at: datetime
    tax_exempt: bool = False
    tax_rate_ids: tuple[str, ...] = ()


class CustomerChanges(TypedDict, total=False):
    """What may change of a customer; a key that is absent stays as it is. `external_id` never changes."""

    name: str
    email: str | None
    status: str
    currency: str | None
    timezone: str | None
    metadata: dict[str, str]
    tax_exempt: bool
    tax_rate_ids: list[str]


def create_customer(
    session: Session,
    scope: Scope,
    *,
    name: str,
    now: datetime,
    external_id: str | None = None,
    email: str | None = None,
    currency: str | None = None,
    timezone: str | None = None,
    metadata: Mapping[str, str] | None = None,
    tax_exempt: bool = False,
    tax_rate_ids: Sequence[str] = (),
) -> CustomerRecord:
    """A new customer; without an `external_id` it is its own id. Conflict `customer_exists`.

    InvalidInput `customer_id_reserved` for an external id that looks like one of ours: it would hide a customer.
    """
    if external_id is not None and _LOOKS_LIKE_OURS.fullmatch(external_id):
        raise InvalidInput(
            "customer_id_reserved",
            "a customer_id of the form cus_… is given by us",
            field="customer_id",
            hint="Choose an id of another form, or leave it out.",
        )
    customer_id = new_id("cus", now)
    record = CustomerRecord(
        id=customer_id,
        external_id=external_id or customer_id,
        name=name,
        email=email,
        status="active",
        currency=currency,
        timezone=timezone,
        metadata=dict(metadata or {}),
        created_at=now,
        tax_exempt=tax_exempt,
        tax_rate_ids=tuple(tax_rate_ids),
    )
    values = scoped(
        scope,
        id=record.id,
        external_id=record.external_id,
        name=name,
        email=email,
        status=record.status,
        currency=currency,
        timezone=timezone,
        meta=record.metadata,
        created_at=now,
        tax_exempt=tax_exempt,
        tax_rate_ids=list(tax_rate_ids),
    )
    if not insert_new(session, Customer, values):
        raise Conflict("customer_exists", "a customer with this customer_id exists", field="customer_id")
    return record


def get_customer(session: Session, scope: Scope, customer_id: str) -> CustomerRecord:
    """By our id or the external one. NotFound `customer_not_found`."""
    named = or_(Customer.id == customer_id, Customer.external_id == customer_id)
    row = session.scalar(select(Customer).where(in_scope(Customer, scope), named))
    if row is None:
        raise NotFound("customer_not_found", "no such customer", field="customer_id")
    return _record(row)


def list_customers(
    session: Session, scope: Scope, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[CustomerRecord]:
    """Customers, newest first."""
    rows = select(Customer).where(in_scope(Customer, scope))
    return paginate(session, rows, Customer.created_at, Customer.id, _record, cursor, limit)


def external_ids(session: Session, scope: Scope, ids: Collection[str]) -> dict[str, str]:
    """Our id -> external id, for those of `ids` that exist."""
    rows = select(Customer.id, Customer.external_id).where(in_scope(Customer, scope))
    return {row.id: row.external_id for row in session.execute(rows.where(among(session, Customer.id, ids)))}


def customers_of(session: Session, scope: Scope, ids: Collection[str]) -> dict[str, CustomerRecord]:
    """Our id -> customer, of those that exist."""
    rows = select(*Customer.__table__.columns).where(in_scope(Customer, scope))
    return {row.id: _record(row) for row in session.execute(rows.where(among(session, Customer.id, ids)))}


def hold_customers(session: Session, scope: Scope, external_ids: Collection[str]) -> list[CustomerRecord]:
    """Those that exist, their rows locked until the transaction ends, always in the same order.

    Whoever finalizes an invoice and whoever corrects an event of a period holds the customer: one waits for the other.
    """
    rows = select(Customer).where(in_scope(Customer, scope), Customer.external_id.in_(external_ids))
    # Only against each other: a new invoice or subscription of the customer need not wait.
    held = session.scalars(rows.order_by(Customer.id).with_for_update(key_share=True))
    return [_record(row) for row in held]


def hold_customers_of(session: Session, scope: Scope, ids: Collection[str]) -> dict[str, CustomerRecord]:
    """The same by our ids: id -> those that exist."""
    rows = select(*Customer.__table__.columns).where(in_scope(Customer, scope)).order_by(Customer.id)
    held = rows.where(among(session, Customer.id, ids)).with_for_update(key_share=True)
    return {row.id: _record(row) for row in session.execute(held)}


def hold_customer(session: Session, scope: Scope, customer_id: str) -> None:
    """The same for one, by our id. NotFound `customer_not_found`."""
    rows = select(Customer.id).where(in_scope(Customer, scope), Customer.id == customer_id)
    if session.scalar(rows.with_for_update(key_share=True)) is None:
        raise NotFound("customer_not_found", "no such customer", field="customer_id")


def update_customer(session: Session, scope: Scope, customer_id: str, changes: CustomerChanges) -> CustomerRecord:
    """Changes the keys that are present. NotFound `customer_not_found`."""
    found = get_customer(session, scope, customer_id)
    allowed = CustomerChanges.__annotations__
    columns = {"meta" if key == "metadata" else key: value for key, value in changes.items() if key in allowed}
    if columns:
        session.execute(update(Customer).where(in_scope(Customer, scope), Customer.id == found.id).values(columns))
    return get_customer(session, scope, found.id)


def _record(row: Customer | Row[Any]) -> CustomerRecord:
    return CustomerRecord(
        id=row.id,
        external_id=row.external_id,
        name=row.name,
        email=row.email,
        status=row.status,
        currency=row.currency,
        timezone=row.timezone,
        metadata=row.meta,
        created_at=row.created_at,
        tax_exempt=row.tax_exempt,
        tax_rate_ids=tuple(row.tax_rate_ids),
    )
