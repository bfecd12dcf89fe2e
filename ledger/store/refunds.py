"""Refunds that were asked for here. What succeeded may still fail, when the customer's bank sends it back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from billing.errors import NotFound
from billing.exact import EXACT
from billing.refund_port import OUR_REFUND
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Refund
from ledger.store.payment_history import HistoryRecord, refunded
from ledger.store.payments import PaymentRecord
from ledger.store.rows import in_scope, insert_new, scoped

__all__ = [
    "RefundRecord",
    "get_refund",
    "given_back",
    "insert_refund",
    "made_elsewhere",
    "made_since",
    "move",
    "of_note",
    "of_payment",
    "settle_note",
]

_MOVES: dict[str, frozenset[str]] = {
    "pending": frozenset({"succeeded", "failed", "canceled"}),
    "succeeded": frozenset({"failed"}),
    "failed": frozenset(),
    "canceled": frozenset(),
}


@dataclass(frozen=True)
class RefundRecord:
    """`gateway` is None where the money goes back outside a provider; `reason` is ours, `failure_reason` theirs."""

    id: str
    payment_id: str
    credit_note_id: str | None
    amount: Decimal
    currency: str
    reason: str | None
    status: str
    gateway: str | None
    gateway_refund_id: str | None
    failure_reason: str | None
    settled_at: datetime | None
    created_at: datetime

    @property
    def counts(self) -> bool:
        """Whether the money is given back, or on its way."""
        return self.status in {"pending", "succeeded"}


def insert_refund(
    session: Session,
    scope: Scope,
    payment: PaymentRecord,
    amount: Decimal,
    *,
    reason: str | None,
    now: datetime,
    gateway: str | None,
    credit_note_id: str | None = None,
) -> RefundRecord:
    """A refund of a payment, whose row the caller holds: pending at its `gateway`, done at once where there is none."""
    outside = gateway is None
    values = scoped(
        scope,
        id=new_id("ref", now),
        payment_id=payment.id,
        credit_note_id=credit_note_id,
        amount=amount,
        currency=payment.currency,
        reason=reason,
        status="succeeded" if outside else "pending",
        gateway=gateway,
        settled_at=now if outside else None,
        created_at=now,
    )
    insert_new(session, Refund, values)
    return get_refund(session, scope, values["id"])


def get_refund(session: Session, scope: Scope, refund_id: str) -> RefundRecord:
    """NotFound `refund_not_found`."""
    row = session.scalar(select(Refund).where(in_scope(Refund, scope), Refund.id == refund_id))
    if row is None:
        raise NotFound("refund_not_found", "no such refund", field="refund_id")
    return _record(row)


def of_payment(session: Session, scope: Scope, payment_id: str) -> list[RefundRecord]:
    """A payment's refunds, oldest first."""
    rows = select(Refund).where(in_scope(Refund, scope), Refund.payment_id == payment_id)
    return [_record(row) for row in session.scalars(rows.order_by(Refund.created_at, Refund.id))]


def made_since(session: Session, scope: Scope, gateway: str, since: datetime) -> list[RefundRecord]:
    """The refunds that a gateway carries out, asked for since then, oldest first."""
    rows = select(Refund).where(in_scope(Refund, scope), Refund.gateway == gateway, Refund.created_at >= since)
    return [_record(row) for row in session.scalars(rows.order_by(Refund.created_at, Refund.id))]


def of_note(session: Session, scope: Scope, credit_note_id: str) -> list[RefundRecord]:
    """The refunds that settle a credit note, oldest first."""
    rows = select(Refund).where(in_scope(Refund, scope), Refund.credit_note_id == credit_note_id)
    return [_record(row) for row in session.scalars(rows.order_by(Refund.created_at, Refund.id))]


def made_elsewhere(history: Sequence[HistoryRecord], asked_for: Sequence[RefundRecord]) -> list[HistoryRecord]:
    """The refunds in a payment's history that nobody asked for here: those made in the provider's Dashboard."""
    known = {each.gateway_refund_id for each in asked_for if each.gateway_refund_id} | {each.id for each in asked_for}
    return [
        entry
        for entry in history
        if entry.kind == "refund" and entry.gateway_id not in known and entry.detail.get(OUR_REFUND) not in known
    ]


def given_back(history: Sequence[HistoryRecord], asked_for: Sequence[RefundRecord]) -> Decimal:
    """What was given back of a payment, or is on its way, whoever asked for it."""
    ours = sum((each.amount for each in asked_for if each.counts), Decimal(0))
    return EXACT.add(ours, refunded(made_elsewhere(history, asked_for)))


def settle_note(session: Session, scope: Scope, refund_id: str, credit_note_id: str) -> None:
    """Counts a refund that was made before the note as the note's."""
    this = in_scope(Refund, scope) & (Refund.id == refund_id) & Refund.credit_note_id.is_(None)
    session.execute(update(Refund).where(this).values(credit_note_id=credit_note_id))


def move(
    session: Session,
    scope: Scope,
    refund_id: str,
    status: str,
    now: datetime,
    *,
    gateway_refund_id: str | None = None,
    failure_reason: str | None = None,
) -> RefundRecord:
    """What the provider says of it; an older report than what is known changes nothing but a missing id.

    NotFound `refund_not_found`.
    """
    this = in_scope(Refund, scope) & (Refund.id == refund_id)
    row = session.scalar(select(Refund).where(this).with_for_update())
    if row is None:
        raise NotFound("refund_not_found", "no such refund", field="refund_id")
    values: dict[str, object] = {"gateway_refund_id": row.gateway_refund_id or gateway_refund_id}
    if status in _MOVES[row.status]:
        values |= {"status": status, "settled_at": now, "failure_reason": failure_reason}
    session.execute(update(Refund).where(this).values(values))
    return get_refund(session, scope, refund_id)


def _record(row: Refund) -> RefundRecord:
    return RefundRecord(
        id=row.id,
        payment_id=row.payment_id,
        credit_note_id=row.credit_note_id,
        amount=row.amount,
        currency=row.currency,
        reason=row.reason,
        status=row.status,
        gateway=row.gateway,
        gateway_refund_id=row.gateway_refund_id,
        failure_reason=row.failure_reason,
        settled_at=row.settled_at,
        created_at=row.created_at,
    )
