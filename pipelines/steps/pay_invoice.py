"""Paying an invoice without a page: the saved card is charged now, or money that came in elsewhere is recorded.

A charge of ours is a numbered attempt. The number is part of the key and is written down before the call: while its
outcome is unknown the same attempt is repeated, and only a settled one is followed by the next (a declined call keeps
answering with its refusal under the same key). Where the provider collects by itself we never charge as well: two
owners of the same debt collect it twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from billing.errors import Conflict, InvalidInput
from billing.invoice import InvoiceStatus, PaymentStatus
from billing.money import format_decimal, round_amount
from billing.ports import CardDeclined, ProviderInvoice, ProviderInvoiceStatus, ProviderRejected, ProviderUnavailable
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import credit_grants, customers, invoices, mappings, payments
from ledger.store.credit_grants import NewGrant
from ledger.store.invoices import InvoiceRecord
from ledger.store.mappings import MappingRecord
from ledger.store.payments import PaymentRecord
from pipelines.steps import link_payment, paid_elsewhere, provider_mapping, sync_credit_notes, sync_customer
from pipelines.steps.connections import PROVIDER, Link
from pipelines.steps.follow_invoice import ENTITY, follow


@dataclass(frozen=True)
class OfflinePayment:
    """Money that came in by bank transfer, cash or cheque; `metadata` may hold its reference."""

    invoice_id: str
    amount: Decimal
    currency: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def pay_with_card(ledger: Ledger, scope: Scope, link: Link, invoice_id: str, now: datetime) -> PaymentRecord:
    """Charges the customer's default card for the invoice; the payment's status says how it went.

    Conflict `collected_by_stripe`, `invoice_not_synced`, `invoice_not_open`, `payment_method_missing`,
    `nothing_charged`, `credit_note_not_sent`; NotFound `invoice_not_found`; ProviderUnavailable: run it again, it is
    the same attempt.
    """
    if link.provider_collects:
        raise _collected_by_stripe()
    with ledger.read() as session:
        invoice = invoices.get_invoice(session, scope, invoice_id)
        mapping = mappings.get_mapping(session, scope, link.connection.id, ENTITY, invoice_id)
    if mapping is None or mapping.state != "done" or mapping.provider_id is None:
        raise Conflict("invoice_not_synced", "the invoice is not at Stripe", hint="Sync the invoice first.")
    credit_first(ledger, scope, link, invoice_id, now)
    seen = follow(ledger, scope, link, invoice_id, mapping.provider_id, now)
    if seen.auto_advance:
        # It was sent while Stripe collected; what the setting says now is for later invoices.
        raise _collected_by_stripe()
    if seen.status == ProviderInvoiceStatus.OPEN:
        _require_card(ledger, scope, link, invoice, now)
        seen = charge(ledger, scope, link, mapping, now)
    return _payment_of(ledger, scope, seen)


def record_offline(
    ledger: Ledger, scope: Scope, link: Link | None, request: OfflinePayment, now: datetime
) -> PaymentRecord:
    """Records money that came in outside the provider. `link` is None where nothing is connected.

    What is more than remains becomes credit of the customer. At the provider an invoice is paid offline as a whole or
    not at all. Conflict `invoice_not_finalized`,
    `invoice_paid`, `sync_in_progress`, `invoice_not_open`; InvalidInput `currency_mismatch`, `amount_over_remaining`,
    `amount_not_remaining`; ProviderUnavailable.
    """
    with ledger.begin() as session:
        _hold(session, scope, request.invoice_id)
        invoice = invoices.get_invoice(session, scope, request.invoice_id)
        _check_offline(invoice, request)
        mapping = None
        if link is not None:
            mapping = mappings.get_mapping(session, scope, link.connection.id, ENTITY, invoice.id)
        if mapping is None or "request" not in mapping.detail:
            paid = _create(session, scope, invoice, request, "succeeded", now)
            _keep_rest(session, scope, paid, invoice.amount_remaining, now)
            details = {"payment_method": "offline", "last4": None, "brand": None}
            link_payment.recount(session, scope, invoice.id, details, now)
            return paid
    if link is None or mapping.provider_id is None or mapping.state not in {"finalized", "done"}:
        raise Conflict(
            "sync_in_progress", "the invoice is on its way to Stripe", hint="Try again once it has been synced."
        )
    return _pay_out_of_band(ledger, scope, link, invoice, mapping.provider_id, request, now)


def credit_first(ledger: Ledger, scope: Scope, link: Link, invoice_id: str, now: datetime) -> None:
    """What was credited here is not asked for there: notes that still wait for the outbox go before the money.

    Conflict `credit_note_not_sent` where the provider refuses one; ProviderUnavailable.
    """
    refused = sync_credit_notes.push_notes(ledger, scope, link, invoice_id, now)
    if refused is not None:
        raise Conflict(
            "credit_note_not_sent",
            f"Stripe refused a credit note of this invoice: {refused}",
            hint="Look at the mapping of the credit note, then try again.",
        )


def charge(ledger: Ledger, scope: Scope, link: Link, mapping: MappingRecord, now: datetime) -> ProviderInvoice:
    """One numbered try with the customer's default card; what the invoice is afterwards, paid or not.

    ProviderUnavailable: run it again, it is the same try. ProviderRejected where it could not even be tried.
    """
    provider_id = mapping.provider_id or ""
    attempt = _begin_attempt(ledger, scope, mapping, now)
    try:
        link.gateway.pay_invoice(provider_id, f"inv:{mapping.entity_id}:pay:{attempt}")
    except ProviderUnavailable as error:
        if error.replayed:
            _settle_attempt(ledger, scope, mapping, attempt, now)
        raise
    except CardDeclined:
        pass
    except ProviderRejected:
        # "Already paid" is a refusal too. A failed call does not mean an unpaid invoice: what it is now counts.
        seen = follow(ledger, scope, link, mapping.entity_id, provider_id, now)
        _settle_attempt(ledger, scope, mapping, attempt, now)
        if seen.status != ProviderInvoiceStatus.PAID:
            raise
        return seen
    seen = follow(ledger, scope, link, mapping.entity_id, provider_id, now)
    _settle_attempt(ledger, scope, mapping, attempt, now)
    return seen


def _collected_by_stripe() -> Conflict:
    return Conflict(
        "collected_by_stripe",
        "Stripe collects this invoice by itself",
        hint="Send a payment link. The connection's collection says who charges what is sent from now on.",
    )


def _begin_attempt(ledger: Ledger, scope: Scope, mapping: MappingRecord, now: datetime) -> int:
    """The attempt that is still unsettled, or the next one."""
    with ledger.begin() as session:
        held = provider_mapping.held(session, scope, mapping)
        paying: dict[str, Any] = held.detail.get("paying", {})
        number = int(paying.get("attempt", 0))
        begun = paying.get("begun_at")
        if begun is not None and now - datetime.fromisoformat(begun) <= provider_mapping.KEY_LIFETIME:
            return number
        begun_now = {"attempt": number + 1, "begun_at": now.isoformat()}
        provider_mapping.note(session, scope, held, {"paying": begun_now}, now)
        return number + 1


def _settle_attempt(ledger: Ledger, scope: Scope, mapping: MappingRecord, attempt: int, now: datetime) -> None:
    with ledger.begin() as session:
        held = provider_mapping.held(session, scope, mapping)
        if held.detail.get("paying", {}).get("attempt") == attempt:
            provider_mapping.note(session, scope, held, {"paying": {"attempt": attempt, "begun_at": None}}, now)


def _require_card(ledger: Ledger, scope: Scope, link: Link, invoice: InvoiceRecord, now: datetime) -> None:
    customer_id = sync_customer.ensure_customer(ledger, scope, link, invoice.customer_id, now)
    if link.gateway.get_customer(customer_id).default_payment_method_id is None:
        raise Conflict(
            "payment_method_missing", "the customer has no saved card", hint="Have the customer save a card first."
        )


def _payment_of(ledger: Ledger, scope: Scope, seen: ProviderInvoice) -> PaymentRecord:
    with ledger.read() as session:
        known = None
        if seen.payment_id is not None:
            known = payments.by_gateway_id(session, scope, PROVIDER, seen.payment_id)
    if known is None:
        raise Conflict("nothing_charged", f"the invoice is {seen.status.value} at Stripe and no card was charged")
    return known


def _check_offline(invoice: InvoiceRecord, request: OfflinePayment) -> None:
    if invoice.status != InvoiceStatus.FINALIZED:
        raise Conflict("invoice_not_finalized", f"the invoice is {invoice.status.value}", hint="Finalize it first.")
    remaining = invoice.amount_remaining
    if invoice.payment_status in {PaymentStatus.PAID, PaymentStatus.REFUNDED} or remaining <= 0:
        raise Conflict("invoice_paid", "nothing remains to be paid on this invoice")
    if request.currency.upper() != invoice.currency.upper():
        raise InvalidInput("currency_mismatch", f"the invoice is in {invoice.currency}", field="currency")
    if request.amount != round_amount(request.amount, invoice.currency):
        raise InvalidInput("amount_too_precise", "has more decimals than the currency", field="amount")
    if request.amount <= 0:
        raise InvalidInput("out_of_range", "must be above 0", field="amount")


def _pay_out_of_band(
    ledger: Ledger,
    scope: Scope,
    link: Link,
    invoice: InvoiceRecord,
    provider_id: str,
    request: OfflinePayment,
    now: datetime,
) -> PaymentRecord:
    credit_first(ledger, scope, link, invoice.id, now)
    seen = follow(ledger, scope, link, invoice.id, provider_id, now)
    if seen.status != ProviderInvoiceStatus.OPEN:
        raise Conflict("invoice_not_open", f"the invoice is {seen.status.value} at Stripe")
    if request.amount < seen.amount_remaining:
        raise InvalidInput(
            "amount_not_remaining",
            f"the invoice is at Stripe, where {format_decimal(seen.amount_remaining)} are paid offline at once or not",
            field="amount",
        )
    with ledger.begin() as session:
        _hold(session, scope, invoice.id)
        found = paid_elsewhere.payments_of(session, scope, invoice.id)
        waiting = [payment for payment in found if payment.method == "offline" and payment.status == "pending"]
        paid = waiting[0] if waiting else _create(session, scope, invoice, request, "pending", now)
        # With the payment, not after the call: the money is here, whatever becomes of it.
        _keep_rest(session, scope, paid, seen.amount_remaining, now)
    try:
        paid_elsewhere.pay_out_of_band(link, invoice.id, provider_id)
    except ProviderRejected:
        seen = follow(ledger, scope, link, invoice.id, provider_id, now)
        if seen.amount_paid_elsewhere == 0:
            with ledger.begin() as session:
                payments.update_status(session, scope, paid.id, "canceled")
                rest = credit_grants.grant_of(session, scope, "overpayment", paid.id)
                if rest is not None:
                    credit_grants.void_grant(session, scope, rest.id, now)
            raise
    with ledger.begin() as session:
        paid = payments.update_status(session, scope, paid.id, "succeeded", succeeded_at=now)
    follow(ledger, scope, link, invoice.id, provider_id, now)
    return paid


def _hold(session: Session, scope: Scope, invoice_id: str) -> None:
    """The customer before the invoice, as whoever finalizes does."""
    customers.hold_customer(session, scope, invoices.customer_of(session, scope, invoice_id))
    provider_mapping.hold_invoice(session, scope, invoice_id)


def _keep_rest(session: Session, scope: Scope, paid: PaymentRecord, remaining: Decimal, now: datetime) -> None:
    """What was paid beyond what remained, as credit; once for a payment."""
    rest = paid.amount - remaining
    if rest > 0:
        kept = NewGrant(rest, paid.currency, "overpayment", paid.id)
        credit_grants.grant(session, scope, paid.customer_id, kept, now)


def _create(
    session: Session, scope: Scope, invoice: InvoiceRecord, request: OfflinePayment, status: str, now: datetime
) -> PaymentRecord:
    return payments.create_payment(
        session,
        scope,
        customer_id=invoice.customer_id,
        invoice_id=invoice.id,
        amount=request.amount,
        currency=invoice.currency,
        method="offline",
        status=status,
        succeeded_at=now if status == "succeeded" else None,
        metadata=request.metadata,
        now=now,
    )
