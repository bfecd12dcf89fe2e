"""What happened to a payment at the provider: its tries, refunds and disputes. A settled entry stays settled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from billing.ports import PaymentEntry
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import PaymentHistory
from ledger.store.payments import get_payment
from ledger.store.rows import in_scope, insert_new, scoped

# How far an entry has come; a look that was taken earlier and is written later changes nothing. A refund that
# succeeded may still fail, when the customer's bank sends it back.
_SETTLED = {
    "succeeded": 1,
    "under_review": 1,
    "warning_under_review": 1,
    "failed": 2,
    "canceled": 2,
    "won": 2,
    "lost": 2,
    "warning_closed": 2,
    "prevented": 2,
    "appeal_needs_response": 3,
    "appeal_under_review": 4,
}
# A lost dispute may be appealed, and is won or lost once more then.
_AFTER_AN_APPEAL = {("appeal_under_review", "won"), ("appeal_under_review", "lost")}


@dataclass(frozen=True)
class HistoryRecord:
    """`kind` is attempt, refund or dispute; `status` and `reason` are the provider's words; `number` counts from 1."""

    kind: str
    number: int
    gateway_id: str
    amount: Decimal
    status: str
    reason: str | None
    detail: dict[str, Any]
    at: datetime


def record(session: Session, scope: Scope, payment_id: str, kind: str, entries: Sequence[PaymentEntry]) -> None:
    """Writes all of a payment's entries of one kind, oldest first; running it again changes nothing.

    NotFound `payment_not_found`.
    """
    get_payment(session, scope, payment_id)
    for number, entry in enumerate(entries, 1):
        values = scoped(
            scope,
            id=new_id("pyh", entry.at),
            payment_id=payment_id,
            kind=kind,
            number=number,
            gateway_id=entry.id,
            amount=entry.amount,
            status=entry.status,
            reason=entry.reason,
            detail=dict(entry.detail),
            at=entry.at,
        )
        if insert_new(session, PaymentHistory, values):
            continue
        this_entry = and_(
            in_scope(PaymentHistory, scope),
            PaymentHistory.payment_id == payment_id,
            PaymentHistory.kind == kind,
            PaymentHistory.gateway_id == entry.id,
        )
        known = session.scalars(select(PaymentHistory).where(this_entry).with_for_update()).one()
        forwards = _SETTLED.get(entry.status, 0) >= _SETTLED.get(known.status, 0)
        if forwards or (known.status, entry.status) in _AFTER_AN_APPEAL:
            present = {name: values[name] for name in ("amount", "status", "reason", "detail")}
            session.execute(update(PaymentHistory).where(this_entry).values(present))


def list_history(session: Session, scope: Scope, payment_id: str) -> list[HistoryRecord]:
    """A payment's entries by kind and number."""
    rows = select(PaymentHistory).where(in_scope(PaymentHistory, scope), PaymentHistory.payment_id == payment_id)
    found = session.scalars(rows.order_by(PaymentHistory.kind, PaymentHistory.number))
    return [
        HistoryRecord(
            row.kind, row.number, row.gateway_id, row.amount, row.status, row.reason, dict(row.detail), row.at
        )
        for row in found
    ]


def refunded(history: Sequence[HistoryRecord]) -> Decimal:
    """What was given back, or is on its way."""
    live = (entry.amount for entry in history if entry.kind == "refund" and _is_live(entry))
    return sum(live, Decimal(0))


def _is_live(refund: HistoryRecord) -> bool:
    return refund.status not in {"failed", "canceled"}
