"""Gapless invoice numbers: a counter row per environment and month, moved in the transaction that uses the number."""

from datetime import UTC, datetime

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from billing.invoice import invoice_number
from billing.scope import Scope
from ledger.models import InvoiceCounter
from ledger.store.rows import in_scope, insert_new, scoped


def hold_numbers(session: Session, scope: Scope, now: datetime) -> str:
    """Locks the counter of the month of `now` (UTC) until the transaction ends; returns the month as YYYYMM."""
    month = now.astimezone(UTC).strftime("%Y%m")
    insert_new(session, InvoiceCounter, scoped(scope, month=month, last_number=0))
    this_month = and_(in_scope(InvoiceCounter, scope), InvoiceCounter.month == month)
    session.execute(select(InvoiceCounter.last_number).where(this_month).with_for_update())
    return month


def take_number(session: Session, scope: Scope, month: str) -> str:
    """The next number of a month that is held. A rollback gives it back."""
    this_month = and_(in_scope(InvoiceCounter, scope), InvoiceCounter.month == month)
    advanced = update(InvoiceCounter).where(this_month).values(last_number=InvoiceCounter.last_number + 1)
    sequence = session.execute(
        advanced.returning(InvoiceCounter.last_number).execution_options(synchronize_session=False)
    ).scalar_one()
    return invoice_number(month, sequence)
