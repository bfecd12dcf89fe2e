"""Writes down the credit that has expired, customer by customer. Balances are right without it."""

from datetime import datetime

from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import credit_grants, customers

__all__ = ["expire_credits"]


def expire_credits(ledger: Ledger, now: datetime) -> int:
    """How many grants had something left to expire. Raises Unavailable when the ledger is."""
    with ledger.read() as session:
        waiting = credit_grants.expiring(session, now)

    def expire(session: Session, scope: Scope, customer_id: str) -> int:
        customers.hold_customer(session, scope, customer_id)
        return credit_grants.expire(session, scope, customer_id, now)

    return sum(ledger.run(lambda session, it=it: expire(session, *it)) for it in waiting)  # type: ignore[misc]
