"""What a payment link has brought in: booked once, and counted on the invoice, here and at the provider."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from billing.invoice import InvoiceStatus, PaymentStatus
from billing.ports import (
    OUR_PAYMENT,
    ProviderInvoiceStatus,
    ProviderPayment,
    ProviderPaymentStatus,
    ProviderRejected,
    ProviderSession,
)
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, invoices, mappings, payments, sessions
from ledger.store.mappings import MappingRecord
from ledger.store.payments import PaymentRecord
from pipelines.steps import paid_elsewhere, provider_mapping, save_card
from pipelines.steps.connections import PROVIDER, Link
from pipelines.steps.follow_invoice import ENTITY, book_payment, follow, is_of

_AT_PROVIDER = frozenset({"finalized", "done"})


def follow_session(ledger: Ledger, scope: Scope, link: Link, seen: ProviderSession, now: datetime) -> bool:
    """Carries out what a session in payment mode has come to. False when it is none of ours."""
    checkout = save_card.our_checkout(ledger, scope, seen)
    if checkout is None or checkout.payment_id is None:
        return False
    if seen.status == "complete" and seen.payment_id is not None:
        paid = link.gateway.get_payment(seen.payment_id)
        settle(ledger, scope, link, checkout.payment_id, paid, now)
    elif seen.status == "expired":
        with ledger.begin() as session:
            sessions.close_checkout(session, scope, checkout.id, "expired")
            ours = payments.update_status(session, scope, checkout.payment_id, "canceled")
        release(ledger, scope, link, ours.invoice_id, now)
    return True


def follow_payment(ledger: Ledger, scope: Scope, link: Link, gateway_payment_id: str, now: datetime) -> bool:
    """Looks at one of the provider's payments again, whatever started it. False when it is none of ours."""
    seen = link.gateway.get_payment(gateway_payment_id)
    ours = seen.metadata.get(OUR_PAYMENT)
    if ours is not None:
        if not is_of(scope, seen.metadata):
            return False
        settle(ledger, scope, link, ours, seen, now)
        return True
    provider_invoice_id = link.gateway.invoice_of_payment(gateway_payment_id)
    if provider_invoice_id is None:
        return False
    return follow_invoice_of(ledger, scope, link, provider_invoice_id, now)


def follow_invoice_of(ledger: Ledger, scope: Scope, link: Link, provider_invoice_id: str, now: datetime) -> bool:
    """Looks at one of the provider's invoices again. False when it is none of ours."""
    with ledger.read() as session:
        mapping = mappings.by_provider_id(session, scope, link.connection.id, ENTITY, provider_invoice_id)
    if mapping is None:
        return False
    follow(ledger, scope, link, mapping.entity_id, provider_invoice_id, now)
    with ledger.read() as session:
        paid = [
            payment
            for payment in paid_elsewhere.payments_of(session, scope, mapping.entity_id)
            if payment.status == "succeeded" and payment.method == "payment_link"
        ]
    for payment in paid:
        _close(ledger, scope, link, payment, now)
    return True


def settle(
    ledger: Ledger,
    scope: Scope,
    link: Link,
    payment_id: str,
    seen: ProviderPayment,
    now: datetime,
) -> None:
    """Books a link's payment. An invoice open at the provider gets it attached, so that nothing collects again."""
    with ledger.begin() as session:
        ours = payments.get_payment(session, scope, payment_id)
        if ours.invoice_id is not None:
            provider_mapping.hold_invoice(session, scope, ours.invoice_id)
        booked = book_payment(session, scope, seen, ours.invoice_id, ours.customer_id, 0, now) or ours
        provider_invoice_id = None
        if ours.invoice_id is not None:
            mapping = mappings.get_mapping(session, scope, link.connection.id, ENTITY, ours.invoice_id)
            if mapping is not None and mapping.state in _AT_PROVIDER:
                provider_invoice_id = mapping.provider_id
            else:
                recount(session, scope, ours.invoice_id, _details(seen), seen.charged_at or now)
    if provider_invoice_id is not None and booked.invoice_id is not None:
        if seen.status == ProviderPaymentStatus.SUCCEEDED:
            _attach(ledger, scope, link, booked, provider_invoice_id, now)
        follow(ledger, scope, link, booked.invoice_id, provider_invoice_id, now)
    if booked.status == "succeeded":
        _close(ledger, scope, link, booked, now)
        release(ledger, scope, link, booked.invoice_id, now)


def recount(session: Session, scope: Scope, invoice_id: str, details: dict[str, Any] | None, paid_at: datetime) -> None:
    """Adds up what came in for an invoice that is not at the provider. Only a finalized invoice can be paid."""
    invoice = invoices.get_invoice(session, scope, invoice_id)
    if invoice.status != InvoiceStatus.FINALIZED:
        return
    found = paid_elsewhere.payments_of(session, scope, invoice_id)
    arrived = [payment for payment in found if payment.status in {"succeeded", "refunded"}]
    kept = sum((payment.amount for payment in arrived if payment.status == "succeeded"), Decimal(0))
    received = sum((payment.amount for payment in arrived), Decimal(0))
    if received == 0:
        return
    status = PaymentStatus.PAID if received >= invoice.amount_to_collect else PaymentStatus.PARTIALLY_PAID
    moves = (status, PaymentStatus.REFUNDED) if kept == 0 else (status,)
    # What came in beyond what was asked for is credit, not this invoice's money.
    counted = min(received, invoice.amount_to_collect)
    for move in moves:
        at = paid_at if status == PaymentStatus.PAID else None
        invoices.record_payment_state(session, scope, invoice_id, counted, move, at, details)


def note_hold(ledger: Ledger, scope: Scope, mapping: MappingRecord, checkout_id: str | None, now: datetime) -> None:
    """Remembers for which page of ours the provider's collecting of an invoice is held."""
    with ledger.begin() as session:
        held = provider_mapping.held(session, scope, mapping)
        provider_mapping.note(session, scope, held, {"held_for": checkout_id}, now)


def release(ledger: Ledger, scope: Scope, link: Link, invoice_id: str | None, now: datetime) -> None:
    """Lets the provider collect again, once the page that it was held for is closed, what is left to collect."""
    if invoice_id is None:
        return
    with ledger.read() as session:
        mapping = mappings.get_mapping(session, scope, link.connection.id, ENTITY, invoice_id)
        held_for = None if mapping is None else mapping.detail.get("held_for")
        if mapping is None or mapping.provider_id is None or held_for is None:
            return
        if sessions.get_checkout(session, scope, held_for).status == "open":
            return
    seen = link.gateway.get_invoice(mapping.provider_id)
    if link.provider_collects and seen.status == ProviderInvoiceStatus.OPEN:
        provider_mapping.guarded(
            lambda key: link.gateway.set_auto_advance(seen.id, True, key), f"ses:{held_for}:release"
        )
    note_hold(ledger, scope, mapping, None, now)


def _attach(
    ledger: Ledger, scope: Scope, link: Link, payment: PaymentRecord, provider_invoice_id: str, now: datetime
) -> None:
    gateway_payment_id = payment.gateway_payment_id or ""
    seen = link.gateway.get_invoice(provider_invoice_id)
    try:
        paid_elsewhere.attach(link, payment.invoice_id or "", seen, gateway_payment_id)
    except ProviderRejected:
        seen = link.gateway.get_invoice(provider_invoice_id)
    if link.gateway.invoice_of_payment(gateway_payment_id) is not None:
        return
    # The money is here and booked; that the invoice no longer takes it is for people to settle, as by a refund.
    with ledger.begin() as session:
        known = audit.list_entries(session, scope, entity="payment", entity_id=payment.id).items
        if not any(entry.action == "payment.not_attached" for entry in known):
            detail = {"stripe_invoice_id": seen.id, "status": seen.status.value}
            audit.write(session, scope, PROVIDER, "payment.not_attached", "payment", payment.id, detail, now)


def _close(ledger: Ledger, scope: Scope, link: Link, payment: PaymentRecord, now: datetime) -> None:
    """Ends the link of a payment that succeeded; the card that paid becomes the default where that was wished."""
    with ledger.read() as session:
        open_ones = [
            checkout
            for checkout in sessions.list_checkouts(session, scope, payment_id=payment.id, limit=100).items
            if checkout.status != "complete"
        ]
    for checkout in open_ones:
        if checkout.set_default and payment.gateway_payment_id is not None:
            seen = link.gateway.get_payment(payment.gateway_payment_id)
            if seen.payment_method_id is not None:
                save_card.make_default(ledger, scope, link, checkout, seen.payment_method_id, seen.charged_at, now)
        with ledger.begin() as session:
            sessions.close_checkout(session, scope, checkout.id, "complete")


def _details(seen: ProviderPayment) -> dict[str, Any] | None:
    if seen.card is None:
        return None
    return {"payment_method": seen.card.payment_method, "last4": seen.card.last4, "brand": seen.card.brand}
