"""Looks at an invoice at the provider and writes what it says into the ledger. The one place that books its payments.

Every webhook about an invoice ends here, and so do our own calls. What is written is what the provider says now, never
what an event said then, so order and repetition do not matter; the stores refuse to move a state backwards when an
older look is written after a newer one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from billing.invoice import InvoiceStatus, PaymentStatus
from billing.money import format_decimal
from billing.ports import (
    OUR_PAYMENT,
    InvoicePayment,
    ProviderInvoice,
    ProviderInvoiceStatus,
    ProviderPayment,
    ProviderPaymentStatus,
)
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, customers, invoices, mappings, payments
from ledger.store.invoices import InvoiceRecord
from ledger.store.mappings import MappingRecord
from ledger.store.payments import PaymentRecord
from pipelines.steps.connections import PROVIDER, Link

ENTITY = "invoice"
_RANK = {"draft": 0, "open": 1, "uncollectible": 2, "paid": 3, "void": 3}


@dataclass(frozen=True)
class Books:
    """What a look at the provider's invoice means for ours."""

    payment_status: PaymentStatus
    amount_paid: Decimal
    paid_at: datetime | None
    payment_details: dict[str, Any] | None


def follow(
    ledger: Ledger, scope: Scope, link: Link, invoice_id: str, provider_invoice_id: str, now: datetime
) -> ProviderInvoice:
    """Reads the provider's invoice and its payments, and books them on ours. Returns what was seen."""
    seen = link.gateway.get_invoice(provider_invoice_id)
    parts = link.gateway.invoice_payments(provider_invoice_id)
    with ledger.begin() as session:
        book(session, scope, link, invoice_id, seen, parts, now)
    return seen


def book(
    session: Session,
    scope: Scope,
    link: Link,
    invoice_id: str,
    seen: ProviderInvoice,
    parts: Sequence[InvoicePayment],
    now: datetime,
) -> None:
    """Writes down what a look at the provider's invoice and its payments has shown."""
    if seen.status == ProviderInvoiceStatus.VOID:
        # Voiding gives credit back, and a customer is held before their invoice.
        customers.hold_customer(session, scope, invoices.customer_of(session, scope, invoice_id))
    ours = invoices.get_invoice(session, scope, invoice_id)
    mapping = mappings.get_mapping(session, scope, link.connection.id, ENTITY, invoice_id)
    attempts = _attempts(seen, mapping)
    for part in parts:
        if part.payment is not None:
            # After a part payment the default one asks for the rest, which nobody has tried yet.
            untried = part.status == "open" and seen.amount_paid > 0
            tried = attempts if part.is_default and not untried else 0
            book_payment(session, scope, part.payment, invoice_id, ours.customer_id, tried, now)
    if ours.status == InvoiceStatus.FINALIZED:
        _book(session, scope, ours, seen, parts, now)
    if mapping is not None:
        _note(session, scope, mapping, seen, now)


def says_all(seen: ProviderInvoice) -> bool:
    """Whether an answer is as good as a look: it holds the payments, and no charge has been made that it would leave
    out."""
    return seen.payments is not None and seen.attempts == 0 and received(seen) == 0


def books(seen: ProviderInvoice, parts: Sequence[InvoicePayment]) -> Books | None:
    """The state of our invoice, or None when there is nothing to book yet.

    What is left to pay under the minimum charge the provider carries on the customer's balance, and calls the invoice
    paid. That is not cash, so ours stays as it was.
    """
    paid = [part.payment for part in parts if part.payment is not None and part.amount_paid]
    money = received(seen)
    if seen.status == ProviderInvoiceStatus.PAID:
        if _is_carried(seen):
            return None
        refunded = bool(paid) and all(payment.amount_refunded >= payment.amount for payment in paid)
        status = PaymentStatus.REFUNDED if refunded else PaymentStatus.PAID
        return Books(status, money, seen.paid_at, _details(seen, paid))
    if seen.status == ProviderInvoiceStatus.VOID:
        return None
    if money > 0:
        return Books(PaymentStatus.PARTIALLY_PAID, money, None, _details(seen, paid))
    open_payments = [part.payment for part in parts if part.payment is not None and part.status != "canceled"]
    if any(payment.status == ProviderPaymentStatus.PROCESSING for payment in open_payments):
        return Books(PaymentStatus.PROCESSING, money, None, None)
    failed = seen.status == ProviderInvoiceStatus.UNCOLLECTIBLE or any(
        payment_status(payment, seen.attempts) == "failed" for payment in open_payments
    )
    return Books(PaymentStatus.FAILED, money, None, None) if failed else None


def book_payment(
    session: Session,
    scope: Scope,
    seen: ProviderPayment,
    invoice_id: str | None,
    customer_id: str,
    attempts: int,
    now: datetime,
) -> PaymentRecord | None:
    """The payment row of an attempt at the provider. None while nothing has been attempted.

    A payment that one of our links started carries the id of its row; every other gets a row of its own. `attempts` is
    how often it was tried: one that was tried and still waits for a card without a refusal had no card to charge.
    """
    status = payment_status(seen, attempts)
    missing = status == "failed" and seen.failure_code is None
    known = payments.by_gateway_id(session, scope, PROVIDER, seen.id)
    ours = seen.metadata.get(OUR_PAYMENT) if is_of(scope, seen.metadata) else None
    if known is None and ours is not None:
        known = payments.update_status(session, scope, ours, status, gateway_payment_id=seen.id)
    if known is None and status in {"pending", "canceled"}:
        return None
    # What was paid back had come in first, and the row has to pass through both.
    moves = ("succeeded", "refunded") if status == "refunded" else (status,)
    for move in moves:
        known = payments.upsert_gateway_payment(
            session,
            scope,
            gateway=PROVIDER,
            gateway_payment_id=seen.id,
            customer_id=customer_id,
            invoice_id=invoice_id,
            amount=seen.amount,
            currency=seen.currency,
            status=move,
            attempt=max(1, attempts),
            succeeded_at=seen.charged_at,
            failure_code="payment_method_missing" if missing else seen.failure_code,
            failure_message="the customer has no saved card" if missing else seen.failure_message,
            now=now,
        )
    return known


def is_of(scope: Scope, metadata: Mapping[str, str]) -> bool:
    """Whether an object was made for this environment: several may share one account at the provider."""
    return metadata.get("tenant") == scope.tenant_id and metadata.get("environment") == scope.environment_id


def payment_status(seen: ProviderPayment, attempts: int) -> str:
    """The provider's word for an attempt as ours. One that waits for a card has failed if it was tried before."""
    if seen.status == ProviderPaymentStatus.SUCCEEDED:
        return "refunded" if seen.amount_refunded >= seen.amount > 0 else "succeeded"
    if seen.status == ProviderPaymentStatus.REQUIRES_METHOD:
        return "failed" if seen.failure_code or attempts else "pending"
    if seen.status in {ProviderPaymentStatus.REQUIRES_CONFIRMATION, ProviderPaymentStatus.REQUIRES_CAPTURE}:
        return "pending"
    return seen.status.value


def _book(
    session: Session,
    scope: Scope,
    ours: InvoiceRecord,
    seen: ProviderInvoice,
    parts: Sequence[InvoicePayment],
    now: datetime,
) -> None:
    invoices.set_links(session, scope, ours.id, seen.hosted_url, seen.pdf_url)
    if seen.status == ProviderInvoiceStatus.VOID:
        invoices.void(session, scope, ours.id, now)
        audit.write(session, scope, PROVIDER, "invoice.voided", ENTITY, ours.id, {"stripe_invoice_id": seen.id}, now)
        return
    found = books(seen, parts)
    if found is None:
        return
    moves = (
        (PaymentStatus.PAID, PaymentStatus.REFUNDED)
        if found.payment_status == PaymentStatus.REFUNDED
        else (found.payment_status,)
    )
    # A balance that was owed from before is collected along with the invoice, and is not this invoice's money.
    amount_paid = min(found.amount_paid, ours.amount_to_collect)
    for move in moves:
        invoices.record_payment_state(session, scope, ours.id, amount_paid, move, found.paid_at, found.payment_details)


def _attempts(seen: ProviderInvoice, mapping: MappingRecord | None) -> int:
    """How often the invoice was tried. The provider counts its own attempts, and of ours only the first."""
    if seen.attempts == 0 or mapping is None:
        return seen.attempts
    return max(seen.attempts, int(mapping.detail.get("paying", {}).get("attempt", 0)))


def _note(session: Session, scope: Scope, mapping: MappingRecord, seen: ProviderInvoice, now: datetime) -> None:
    """Keeps what was seen in the mapping, which answers for it without asking again; an older look does not count."""
    if not is_news(mapping, seen):
        return
    mappings.record(
        session,
        scope,
        mapping.connection_id,
        ENTITY,
        mapping.entity_id,
        state=mapping.state,
        detail=seen_detail(seen),
        last_error=mapping.last_error,
        now=now,
    )


def is_news(mapping: MappingRecord, seen: ProviderInvoice) -> bool:
    """Whether a look is not older than the one that the mapping keeps."""
    known = (_RANK[mapping.detail.get("status", "draft")], mapping.detail.get("attempts", 0))
    return (_RANK[seen.status], seen.attempts) >= known


def seen_detail(seen: ProviderInvoice) -> dict[str, Any]:
    """The part of a provider's invoice that answers keep returning."""
    known = {
        "status": seen.status.value,
        "hosted_invoice_url": seen.hosted_url,
        "invoice_pdf": seen.pdf_url,
        "payment_intent_id": seen.payment_id,
        "auto_advance": seen.auto_advance,
        "due_at": seen.due_at and seen.due_at.isoformat(),
        "attempts": seen.attempts,
        "carried": _is_carried(seen),
        "starting_balance": format_decimal(seen.starting_balance),
    }
    # None is kept as well where there may have been one before.
    next_attempt = seen.next_attempt_at and seen.next_attempt_at.isoformat()
    return {name: value for name, value in known.items() if value is not None} | {"next_payment_attempt": next_attempt}


def _is_carried(seen: ProviderInvoice) -> bool:
    """Paid without money although something was left to ask for after credit notes and the customer's balance."""
    asked = seen.total + seen.starting_balance - seen.credited
    return seen.status == ProviderInvoiceStatus.PAID and received(seen) == 0 and asked > 0


def received(seen: ProviderInvoice) -> Decimal:
    """The money that came in. Stripe does not say whether `amount_paid` includes what was paid elsewhere, so the sum
    of both counts up to what was due."""
    together = seen.amount_paid + seen.amount_paid_elsewhere
    return min(together, max(seen.amount_due, seen.amount_paid))


def _details(seen: ProviderInvoice, paid: Sequence[ProviderPayment]) -> dict[str, Any] | None:
    """The card that was charged last, which need not be the customer's present default."""
    if seen.total <= 0:
        return None
    charged = [payment for payment in paid if payment.card is not None and payment.charged_at is not None]
    if charged:
        card = max(charged, key=lambda payment: (payment.charged_at, payment.id)).card
        if card is not None:
            return {"payment_method": card.payment_method, "last4": card.last4, "brand": card.brand}
    kind = "offline" if seen.amount_paid_elsewhere > 0 else "customer_balance"
    return {"payment_method": kind, "last4": None, "brand": None}
