"""Use case: money that came in is given back, at the provider where it came in there, on record elsewhere.

A refund is a row before it is a call. The outbox carries it out, once: under a key of its own, and looked up by our id
where the key may be forgotten. What the provider refuses is a failed refund; asking again makes another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from billing.errors import Conflict, InvalidInput
from billing.exact import EXACT
from billing.invoice import PaymentStatus
from billing.money import from_minor, to_minor
from billing.ports import IdempotencyMismatch, ProviderKeyRefused, ProviderRejected
from billing.refund_port import OUR_REFUND, NewRefund, ProviderRefund
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import (
    audit,
    connections,
    credit_grants,
    credit_notes,
    customers,
    invoices,
    mappings,
    outbox,
    payment_history,
    payments,
    refunds,
)
from ledger.store.credit_notes import CreditNoteRecord
from ledger.store.payments import PaymentRecord
from ledger.store.refunds import RefundRecord
from pipelines.steps import paid_elsewhere, provider_mapping
from pipelines.steps.connections import PROVIDER, Link
from pipelines.steps.payment_history import follow_refunds

__all__ = [
    "ENTITY",
    "WORK",
    "WantedRefund",
    "carry_out",
    "record_outside",
    "refundable",
    "refunded_without_note",
    "request_refund",
    "settle_note",
    "status_here",
    "take_over",
]

ENTITY = "refund"
WORK = "refund.sync"
# A refund that waits for the customer to name a bank account is on its way as well.
_AS_OURS = {"requires_action": "pending"}


@dataclass(frozen=True)
class WantedRefund:
    """All that is left unless an `amount` is given."""

    payment_id: str
    amount: Decimal | None = None
    reason: str | None = None


class _Refused(Exception):
    pass


def request_refund(session: Session, scope: Scope, wanted: WantedRefund, actor: str, now: datetime) -> RefundRecord:
    """The refund, for the outbox to carry out; one of money that came in elsewhere is on record at once.

    Of two at once the second sees what the first has left. NotFound `payment_not_found`; Conflict
    `payment_not_refundable`, `nothing_left`, `no_connection`; InvalidInput `amount_over_left`, `out_of_range`,
    `not_in_minor_units`.
    """
    payment = _held(session, scope, wanted.payment_id)
    if payment.status not in {"succeeded", "refunded"}:
        raise Conflict(
            "payment_not_refundable", f"The payment is {payment.status}.", hint="Only money that came in is given back."
        )
    left = refundable(session, scope, payment)
    if left <= 0:
        raise Conflict(
            "nothing_left",
            "Nothing of this payment is left to give back.",
            hint="Look at its refunds and at the credit notes of its invoice.",
        )
    amount = left if wanted.amount is None else _payable(wanted.amount, payment.currency)
    if amount > left:
        raise InvalidInput(
            "amount_over_left",
            f"{left:f} {payment.currency} are left to give back",
            field="amount",
            hint="Send at most that.",
        )
    if payment.gateway is not None and connections.active(session, scope, PROVIDER) is None:
        raise Conflict("no_connection", "There is no active Stripe connection.", hint="Enable the connection.")
    made = _insert(session, scope, payment, amount, wanted.reason, None, now)
    detail = {"payment_id": payment.id, "amount": f"{amount:f}", "reason": wanted.reason}
    audit.write(session, scope, actor, "payment.refund_requested", ENTITY, made.id, detail, now)
    return made


def refundable(session: Session, scope: Scope, payment: PaymentRecord) -> Decimal:
    """What may still be given back of a payment: not what was refunded already, here or at the provider, and of its
    invoice not what credit notes or too high a payment have turned into the customer's credit."""
    left = _left_of(session, scope, payment)
    if payment.invoice_id is None:
        return max(left, from_minor(0, payment.currency))
    arrived = _arrived(session, scope, payment.invoice_id)
    of_invoice = sum((each.amount for each in arrived), Decimal(0))
    for each in arrived:
        of_invoice = EXACT.subtract(of_invoice, _given_back(session, scope, each))
    for note in credit_notes.of_invoice(session, scope, payment.invoice_id):
        if note.settle_as == "credit":
            raced = credit_grants.grant_of(session, scope, "overpayment", note.id)
            of_invoice = EXACT.subtract(of_invoice, note.paid_back if raced is None else note.paid_back + raced.amount)
    return max(min(left, of_invoice), from_minor(0, payment.currency))


def refunded_without_note(session: Session, scope: Scope, invoice_id: str) -> Decimal:
    """What was given back of an invoice's payments and no credit note says so."""
    given = Decimal(0)
    for payment in _arrived(session, scope, invoice_id):
        noted = (each.amount for each in refunds.of_payment(session, scope, payment.id) if each.credit_note_id)
        given = EXACT.subtract(EXACT.add(given, _given_back(session, scope, payment)), sum(noted, Decimal(0)))
    return given


def settle_note(session: Session, scope: Scope, note: CreditNoteRecord, amount: Decimal, now: datetime) -> None:
    """Gives back, or counts as given back, up to `amount` for a credit note: first refunds that no note has yet, then
    new ones of what came in through a provider, the latest payment first. The caller holds customer and invoice.

    Money that came in elsewhere goes back by hand, and is recorded as a refund of its payment.
    """
    left = amount
    arrived = _arrived(session, scope, note.invoice_id)
    for payment in arrived:
        for known in refunds.of_payment(session, scope, payment.id):
            if known.counts and known.credit_note_id is None and known.amount <= left:
                refunds.settle_note(session, scope, known.id, note.id)
                left = EXACT.subtract(left, known.amount)
    for payment in arrived:
        if payment.gateway is None or payment.status != "succeeded":
            continue
        part = min(left, refundable(session, scope, payments.hold_payment(session, scope, payment.id)))
        if part > 0:
            _insert(session, scope, payment, part, note.reason, note.id, now)
            left = EXACT.subtract(left, part)


def take_over(session: Session, scope: Scope, note: CreditNoteRecord, seen: ProviderRefund, now: datetime) -> None:
    """Counts a refund of the provider's as the one that settles a credit note. The caller holds customer and invoice.

    Conflict `refund_of_unknown_payment`, `refund_settles_another_note`.
    """
    payment = payments.by_gateway_id(session, scope, PROVIDER, seen.payment_id or "")
    if payment is None or payment.invoice_id != note.invoice_id:
        raise Conflict("refund_of_unknown_payment", f"The refund {seen.id} is not of a payment of this invoice.")
    payment = payments.hold_payment(session, scope, payment.id)
    known = next(
        (each for each in refunds.of_payment(session, scope, payment.id) if each.gateway_refund_id == seen.id), None
    )
    if known is None:
        known = refunds.insert_refund(
            session, scope, payment, seen.amount, reason=note.reason, credit_note_id=note.id, gateway=PROVIDER, now=now
        )
        failed = seen.failure_reason
        refunds.move(session, scope, known.id, status_here(seen), now, gateway_refund_id=seen.id, failure_reason=failed)
    elif known.credit_note_id is None:
        refunds.settle_note(session, scope, known.id, note.id)
    else:
        raise Conflict("refund_settles_another_note", f"The refund {seen.id} settles {known.credit_note_id} here.")


def record_outside(session: Session, scope: Scope, note: CreditNoteRecord, amount: Decimal, now: datetime) -> Decimal:
    """Records that a part of a credit note was given back in other ways than by the provider's refunds, of payments
    that hold so much. What none holds is returned. The caller holds customer and invoice."""
    left = amount
    for arrived in _arrived(session, scope, note.invoice_id):
        payment = payments.hold_payment(session, scope, arrived.id)
        part = min(left, refundable(session, scope, payment))
        if part > 0:
            refunds.insert_refund(
                session,
                scope,
                payment,
                part,
                reason=note.reason,
                credit_note_id=note.id,
                gateway=None,
                now=now,
            )
            left = EXACT.subtract(left, part)
    return left


def status_here(seen: ProviderRefund) -> str:
    """The provider's word for the state of a refund as ours."""
    return _AS_OURS.get(seen.status, seen.status)


def carry_out(ledger: Ledger, scope: Scope, link: Link, refund_id: str, now: datetime) -> RefundRecord:
    """The refund as it stands at the provider, made there if it was not. What is refused is failed.

    NotFound `refund_not_found`; ProviderUnavailable, ProviderKeyRefused: run it again.
    """
    with ledger.read() as session:
        found = refunds.get_refund(session, scope, refund_id)
        payment = payments.get_payment(session, scope, found.payment_id)
    if found.gateway is None or found.gateway_refund_id is not None or not found.counts:
        return found
    gateway_payment_id = payment.gateway_payment_id or ""
    request = {
        "payment_id": gateway_payment_id,
        "currency": found.currency,
        "amount": f"{found.amount:f}",
        "reason": found.reason,
        "metadata": {OUR_REFUND: found.id, "tenant": scope.tenant_id, "environment": scope.environment_id},
    }
    with ledger.begin() as session:
        mapping = provider_mapping.intend(session, scope, link.connection, ENTITY, found.id, request, now)
    seen: list[ProviderRefund] = []

    def create(intended: mappings.MappingRecord) -> ProviderRefund:
        kept = intended.detail["request"]
        wanted = NewRefund(**{**kept, "amount": Decimal(kept["amount"])})
        try:
            made = link.gateway.create_refund(wanted, f"ref:{found.id}:create:{intended.key_version}")
        except (ProviderKeyRefused, IdempotencyMismatch):
            raise
        except ProviderRejected as error:
            raise _Refused(error.provider_code or error.detail) from error
        seen.append(made)
        return made

    def find(_intended: mappings.MappingRecord) -> ProviderRefund | None:
        there = link.gateway.find_refund(gateway_payment_id, found.id)
        seen.extend([] if there is None else [there])
        return there

    try:
        mapping = provider_mapping.make_once(
            ledger, scope, link.connection, mapping, create=create, find=find, state="created", now=now
        )
    except _Refused as refused:
        return _failed(ledger, scope, link, found, str(refused), now)
    if not seen:
        there = link.gateway.find_refund(gateway_payment_id, found.id)
        seen.extend([] if there is None else [there])
    with ledger.begin() as session:
        for each in seen[-1:]:
            refunds.move(
                session,
                scope,
                found.id,
                status_here(each),
                now,
                gateway_refund_id=each.id,
                failure_reason=each.failure_reason,
            )
        mappings.record(session, scope, link.connection.id, ENTITY, found.id, state="done", now=now)
    follow_refunds(ledger, scope, link, gateway_payment_id, now)
    with ledger.read() as session:
        return refunds.get_refund(session, scope, refund_id)


def _failed(ledger: Ledger, scope: Scope, link: Link, refund: RefundRecord, reason: str, now: datetime) -> RefundRecord:
    with ledger.begin() as session:
        mappings.record(
            session, scope, link.connection.id, ENTITY, refund.id, state="failed", last_error=reason, now=now
        )
        detail = {"payment_id": refund.payment_id, "reason": reason}
        audit.write(session, scope, PROVIDER, "payment.refund_refused", ENTITY, refund.id, detail, now)
        return refunds.move(session, scope, refund.id, "failed", now, failure_reason=reason)


def _insert(
    session: Session,
    scope: Scope,
    payment: PaymentRecord,
    amount: Decimal,
    reason: str | None,
    credit_note_id: str | None,
    now: datetime,
) -> RefundRecord:
    made = refunds.insert_refund(
        session, scope, payment, amount, reason=reason, credit_note_id=credit_note_id, gateway=payment.gateway, now=now
    )
    if made.gateway is not None:
        outbox.enqueue(session, scope, WORK, made.id, now)
    elif _left_of(session, scope, payment) <= 0:
        payments.update_status(session, scope, payment.id, "refunded")
        _book_on_invoice(session, scope, payment.invoice_id, now)
    return made


def _book_on_invoice(session: Session, scope: Scope, invoice_id: str | None, now: datetime) -> None:
    """An invoice all of whose payments were given back is refunded."""
    if invoice_id is None:
        return
    invoice = invoices.get_invoice(session, scope, invoice_id)
    if all(each.status == "refunded" for each in _arrived(session, scope, invoice_id)):
        invoices.record_payment_state(
            session, scope, invoice_id, invoice.amount_paid, PaymentStatus.REFUNDED, now, invoice.payment_details
        )


def _held(session: Session, scope: Scope, payment_id: str) -> PaymentRecord:
    """The payment, held after its customer and its invoice, as whoever credits does."""
    payment = payments.get_payment(session, scope, payment_id)
    customers.hold_customer(session, scope, payment.customer_id)
    if payment.invoice_id is not None:
        invoices.hold(session, scope, payment.invoice_id)
    return payments.hold_payment(session, scope, payment_id)


def _arrived(session: Session, scope: Scope, invoice_id: str) -> Sequence[PaymentRecord]:
    """The payments of an invoice that came in, the latest first."""
    found = paid_elsewhere.payments_of(session, scope, invoice_id)
    return [payment for payment in found if payment.status in {"succeeded", "refunded"}]


def _left_of(session: Session, scope: Scope, payment: PaymentRecord) -> Decimal:
    """What a payment still holds: less what was given back, and what beyond its invoice has become credit."""
    left = EXACT.subtract(payment.amount, _given_back(session, scope, payment))
    kept = credit_grants.grant_of(session, scope, "overpayment", payment.id)
    return left if kept is None or kept.voided_at is not None else EXACT.subtract(left, kept.amount)


def _given_back(session: Session, scope: Scope, payment: PaymentRecord) -> Decimal:
    """What was refunded of a payment, or is on its way: asked for here, or by somebody at the provider."""
    history = payment_history.list_history(session, scope, payment.id)
    return refunds.given_back(history, refunds.of_payment(session, scope, payment.id))


def _payable(amount: Decimal, currency: str) -> Decimal:
    minor = to_minor(amount, currency, "amount")
    if minor <= 0:
        raise InvalidInput("out_of_range", "must be above 0", field="amount")
    return from_minor(minor, currency)
