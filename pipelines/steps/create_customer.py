"""Use case: a customer, and the wish that the payment provider knows them, in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from billing.money import currency_code
from billing.period import parse_timezone
from billing.scope import Scope
from ledger.store import connections, customers, outbox, tax_rates
from ledger.store.customers import CustomerRecord

__all__ = ["NewCustomer", "create_customer"]


@dataclass(frozen=True)
class NewCustomer:
    name: str
    email: str | None = None
    external_id: str | None = None
    currency: str | None = None
    timezone: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tax_exempt: bool = False
    tax_rate_ids: Sequence[str] = ()


def create_customer(session: Session, scope: Scope, customer: NewCustomer, now: datetime) -> CustomerRecord:
    """The customer as it is stored. With an active connection the outbox holds the work at the provider.

    Errors: Conflict `customer_exists`; InvalidInput `customer_id_reserved`, `unknown_currency`, `unknown_timezone`; and
    those of `check_rates`.
    """
    if customer.currency is not None:
        currency_code(customer.currency)
    if customer.timezone is not None:
        parse_timezone(customer.timezone)
    record = customers.create_customer(
        session,
        scope,
        name=customer.name,
        now=now,
        external_id=customer.external_id,
        email=customer.email,
        currency=customer.currency,
        timezone=customer.timezone,
        metadata=customer.metadata,
        tax_exempt=customer.tax_exempt,
        tax_rate_ids=tax_rates.check_rates(session, scope, customer.tax_rate_ids),
    )
    if connections.active(session, scope, "stripe") is not None:
        outbox.enqueue(session, scope, "customer.sync", record.id, now)
    return record
