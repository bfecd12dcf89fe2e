"""Reads what happened to a payment at the provider: each try as a record of its own, refunds, disputes.

Beside the state of the payment, which `link_payment` books. A refund that failed after all is undone in our books, as
the money is back with us.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from billing.ports import PaymentEntry, PaymentGateway
from billing.refund_port import OUR_REFUND
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, invoices, payment_history, payments, refunds
from ledger.store.payment_history import HistoryRecord
from ledger.store.payments import PaymentRecord
from pipelines.steps import link_payment
from pipelines.steps.connections import PROVIDER, Link

__all__ = ["follow_attempts", "follow_disputes", "follow_refunds", "read_history"]

_READ: dict[str, Callable[[PaymentGateway, str], Sequence[PaymentEntry]]] = {
    "attempt": lambda gateway, payment_id: gateway.payment_attempts(payment_id),
    "refund": lambda gateway, payment_id: gateway.payment_refunds(payment_id),
    "dispute": lambda gateway, payment_id: gateway.payment_disputes(payment_id),
}


def follow_attempts(ledger: Ledger, scope: Scope, link: Link, gateway_payment_id: str, now: datetime) -> bool:
    """The payment as it is now, and its tries. False when it is none of ours."""
    return _follow(ledger, scope, link, gateway_payment_id, "attempt", now)


def follow_refunds(ledger: Ledger, scope: Scope, link: Link, gateway_payment_id: str, now: datetime) -> bool:
    """The payment as it is now, and what was given back of it. False when it is none of ours."""
    return _follow(ledger, scope, link, gateway_payment_id, "refund", now)


def follow_disputes(ledger: Ledger, scope: Scope, link: Link, gateway_payment_id: str, now: datetime) -> bool:
    """The payment as it is now, and what its cardholder's bank takes back. False when it is none of ours."""
    return _follow(ledger, scope, link, gateway_payment_id, "dispute", now)


def read_history(ledger: Ledger, scope: Scope, link: Link, payment: PaymentRecord, now: datetime) -> None:
    """All of it, for a payment that is recorded here."""
    for kind in _READ:
        _read(ledger, scope, link, payment, kind, now)


def _follow(ledger: Ledger, scope: Scope, link: Link, gateway_payment_id: str, kind: str, now: datetime) -> bool:
    if not link_payment.follow_payment(ledger, scope, link, gateway_payment_id, now):
        return False
    with ledger.read() as session:
        payment = payments.by_gateway_id(session, scope, PROVIDER, gateway_payment_id)
    # Not recorded yet: nothing has been tried.
    if payment is not None:
        _read(ledger, scope, link, payment, kind, now)
    return True


def _read(ledger: Ledger, scope: Scope, link: Link, payment: PaymentRecord, kind: str, now: datetime) -> None:
    if payment.gateway_payment_id is None:
        return
    entries = _READ[kind](link.gateway, payment.gateway_payment_id)
    with ledger.begin() as session:
        payment = payments.hold_payment(session, scope, payment.id)
        before = payment_history.list_history(session, scope, payment.id)
        payment_history.record(session, scope, payment.id, kind, entries)
        after = payment_history.list_history(session, scope, payment.id)
        known = {entry.gateway_id: entry.status for entry in before}
        for entry in after:
            if entry.kind == "dispute" and known.get(entry.gateway_id) != entry.status:
                detail = {"stripe_dispute_id": entry.gateway_id, "status": entry.status, "reason": entry.reason}
                audit.write(session, scope, PROVIDER, "payment.disputed", "payment", payment.id, detail, now)
        if kind == "refund":
            _note_refunds(session, scope, payment, after, now)
        if kind == "refund" and payment.status == "refunded" and payment_history.refunded(after) < payment.amount:
            payments.undo_refund(session, scope, payment.id)
            if payment.invoice_id is not None:
                invoices.undo_refund(session, scope, payment.invoice_id)
            audit.write(session, scope, PROVIDER, "payment.refund_failed", "payment", payment.id, {}, now)


def _note_refunds(
    session: Session, scope: Scope, payment: PaymentRecord, history: Sequence[HistoryRecord], now: datetime
) -> None:
    """What became of the refunds that were asked for here, or that a credit note has taken over."""
    ours = refunds.of_payment(session, scope, payment.id)
    known = {name: each.id for each in ours for name in (each.id, each.gateway_refund_id) if name is not None}
    for entry in history:
        refund_id = known.get(entry.detail.get(OUR_REFUND) or entry.gateway_id)
        if entry.kind == "refund" and refund_id is not None:
            status = "pending" if entry.status == "requires_action" else entry.status
            failed = entry.reason if entry.status == "failed" else None
            refunds.move(
                session, scope, refund_id, status, now, gateway_refund_id=entry.gateway_id, failure_reason=failed
            )
