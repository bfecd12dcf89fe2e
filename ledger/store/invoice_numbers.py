"""Gapless numbers of invoices and credit notes: a counter row per environment and month, moved in the transaction that
uses the number."""

from datetime import UTC, datetime

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from billing.credit_note import note_number
from billing.invoice import invoice_number
from billing.scope import Scope
from ledger.models import CreditNoteCounter, InvoiceCounter
from ledger.store.rows import in_scope, insert_new, scoped

Counter = type[InvoiceCounter] | type[CreditNoteCounter]


def hold_numbers(session: Session, scope: Scope, now: datetime) -> str:
    """Locks the counter of the month of `now` (UTC) until the transaction ends; returns the month as YYYYMM."""
    return _hold(session, scope, InvoiceCounter, now)


def take_numbers(session: Session, scope: Scope, month: str, count: int) -> list[str]:
    """The next numbers of a month that is held. A rollback gives them back."""
    last = _take(session, scope, InvoiceCounter, month, count)
    return [invoice_number(month, sequence) for sequence in range(last - count + 1, last + 1)]


def hold_note_numbers(session: Session, scope: Scope, now: datetime) -> str:
    """As `hold_numbers`, for credit notes."""
    return _hold(session, scope, CreditNoteCounter, now)


def take_note_number(session: Session, scope: Scope, month: str) -> str:
    """The next one of credit notes, as `take_numbers`."""
    return note_number(month, _take(session, scope, CreditNoteCounter, month))


def _hold(session: Session, scope: Scope, counter: Counter, now: datetime) -> str:
    month = now.astimezone(UTC).strftime("%Y%m")
    insert_new(session, counter, scoped(scope, month=month, last_number=0))
    this_month = and_(in_scope(counter, scope), counter.month == month)
    session.execute(select(counter.last_number).where(this_month).with_for_update())
    return month


def _take(session: Session, scope: Scope, counter: Counter, month: str, count: int = 1) -> int:
    """The last number once `count` more are given."""
    this_month = and_(in_scope(counter, scope), counter.month == month)
    advanced = update(counter).where(this_month).values(last_number=counter.last_number + count)
    return session.execute(
        advanced.returning(counter.last_number).execution_options(synchronize_session=False)
    ).scalar_one()
