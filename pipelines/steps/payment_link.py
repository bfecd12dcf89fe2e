"""A page on which the customer pays one invoice.

Which page depends on where the invoice is. Before it has gone to the provider it is a page for one payment of ours.
Once it is open at the provider, which may be collecting it, a second page could take the money twice: the link is then
the provider's own page of that invoice, which stops working when the invoice is paid. That page keeps no card, so where
the card is to be saved it is a page of ours again, and the provider's own collecting is held for as long as it is open.
Sending an invoice to the provider first closes the links that are open for it; what a link brought in is counted on the
provider's invoice before anything is collected. One link is open per invoice; asking again returns or replaces it.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from billing.errors import Conflict, InvalidInput
from billing.invoice import InvoiceStatus, PaymentStatus
from billing.money import format_decimal
from billing.ports import (
    OUR_INVOICE,
    OUR_PAYMENT,
    OUR_SESSION,
    IdempotencyMismatch,
    NewPaymentSession,
    ProviderInvoice,
    ProviderInvoiceStatus,
    ProviderRejected,
    ProviderSession,
    ProviderUnavailable,
)
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import invoices, mappings, payments, sessions
from ledger.store.invoices import InvoiceRecord
from ledger.store.mappings import MappingRecord
from ledger.store.payments import PaymentRecord
from ledger.store.sessions import CheckoutRecord
from pipelines.steps import link_payment, paid_elsewhere, provider_mapping, save_card, sync_customer
from pipelines.steps.connections import PROVIDER, Link
from pipelines.steps.follow_invoice import ENTITY, follow

_ROUNDS = 3


@dataclass(frozen=True)
class LinkRequest:
    """What to pay: without an amount, all that remains. `save_card_and_make_default` keeps the card for later."""

    invoice_id: str
    success_url: str
    cancel_url: str
    amount: Decimal | None = None
    currency: str | None = None
    save_card_and_make_default: bool = False


@dataclass(frozen=True)
class _Page:
    payment: PaymentRecord
    checkout: CheckoutRecord


def create(ledger: Ledger, scope: Scope, link: Link, request: LinkRequest, now: datetime) -> PaymentRecord:
    """A pending payment whose `checkout_url` is the page to send the customer to.

    NotFound `invoice_not_found`; Conflict `invoice_not_finalized`, `invoice_paid`, `sync_in_progress`,
    `invoice_not_open`; InvalidInput `currency_mismatch`, `amount_over_remaining`, `amount_not_remaining` and what
    makes an amount uncollectable (`below_minimum` …); ProviderUnavailable; ProviderRejected.
    """
    for _ in range(_ROUNDS):
        with ledger.begin() as session:
            provider_mapping.hold_invoice(session, scope, request.invoice_id)
            invoice = invoices.get_invoice(session, scope, request.invoice_id)
            amount = _amount(invoice, request, link)
            mapping = mappings.get_mapping(session, scope, link.connection.id, ENTITY, invoice.id)
            sent = mapping is not None and "request" in mapping.detail
            _require_settled(mapping)
            page = _open_page(session, scope, invoice.id)
            if page is None and (request.save_card_and_make_default or not sent):
                page = _new_page(session, scope, invoice, amount, request, now)
        if page is None and mapping is not None:
            return _provider_page(ledger, scope, link, invoice, mapping, request, now)
        if page is not None and _is_as_asked(page, amount, request, now):
            if sent and mapping is not None:
                _hold_collection(ledger, scope, link, mapping, page, now)
            made = _session_of(ledger, scope, link, page, now)
            if made is not None and made.status == "open":
                shown = _shown(ledger, scope, page, made)
                # Canceled when the invoice went to the provider meanwhile, which closes its pages.
                if shown.status != "canceled":
                    return shown
                continue
        if page is not None:
            _close(ledger, scope, link, page, now)
    raise ProviderUnavailable("provider_busy", "the payment link could not be made")


def close_links_of(ledger: Ledger, scope: Scope, link: Link, invoice_id: str, now: datetime) -> None:
    """Closes the pages that are open for an invoice; what was paid on one in the last moment is booked."""
    with ledger.read() as session:
        pages = _open_pages(session, scope, invoice_id)
    for page in pages:
        _close(ledger, scope, link, page, now)


def open_until(ledger: Ledger, scope: Scope, link: Link, invoice_id: str, now: datetime) -> datetime | None:
    """When the last page that is open for an invoice closes, None when none is: one that has run out is closed here."""
    with ledger.read() as session:
        pages = _open_pages(session, scope, invoice_id)
    still = [page.checkout.expires_at for page in pages if (page.checkout.expires_at or now) > now]
    if not still:
        close_links_of(ledger, scope, link, invoice_id, now)
    return max((at for at in still if at is not None), default=None)


def _amount(invoice: InvoiceRecord, request: LinkRequest, link: Link) -> Decimal:
    if invoice.status != InvoiceStatus.FINALIZED:
        raise Conflict("invoice_not_finalized", f"the invoice is {invoice.status.value}", hint="Finalize it first.")
    remaining = invoice.amount_remaining
    if invoice.payment_status in {PaymentStatus.PAID, PaymentStatus.REFUNDED} or remaining <= 0:
        raise Conflict("invoice_paid", "nothing remains to be paid on this invoice")
    if request.currency is not None and request.currency.upper() != invoice.currency.upper():
        raise InvalidInput("currency_mismatch", f"the invoice is in {invoice.currency}", field="currency")
    amount = remaining if request.amount is None else request.amount
    if not 0 < amount <= remaining:
        raise InvalidInput(
            "amount_over_remaining",
            f"{format_decimal(remaining)} {invoice.currency} remain to be paid",
            field="amount",
            hint="Leave the amount out to have all of it paid.",
        )
    reason = link.gateway.check_amount(amount, invoice.currency)
    if reason is not None:
        raise InvalidInput(reason, "Stripe does not collect this amount", field="amount")
    return amount


def _open_pages(session: Session, scope: Scope, invoice_id: str) -> list[_Page]:
    """Pages of ours; a checkout beside a provider's invoice page has a payment that knows its url from the start."""
    return [
        _Page(payment, checkout)
        for payment in paid_elsewhere.payments_of(session, scope, invoice_id)
        if payment.method == "payment_link"
        for checkout in sessions.list_checkouts(session, scope, payment_id=payment.id, limit=100).items
        if checkout.status == "open" and (checkout.gateway_session_id is not None or payment.checkout_url is None)
    ]


def _open_page(session: Session, scope: Scope, invoice_id: str) -> _Page | None:
    return next(iter(_open_pages(session, scope, invoice_id)), None)


def _new_page(
    session: Session, scope: Scope, invoice: InvoiceRecord, amount: Decimal, request: LinkRequest, now: datetime
) -> _Page:
    payment = payments.create_payment(
        session,
        scope,
        customer_id=invoice.customer_id,
        invoice_id=invoice.id,
        amount=amount,
        currency=invoice.currency,
        method="payment_link",
        gateway=PROVIDER,
        now=now,
    )
    checkout = sessions.create_checkout(
        session,
        scope,
        customer_id=invoice.customer_id,
        purpose="payment",
        payment_id=payment.id,
        success_url=request.success_url,
        cancel_url=request.cancel_url,
        set_default=request.save_card_and_make_default,
        now=now,
    )
    return _Page(payment, checkout)


def _is_as_asked(page: _Page, amount: Decimal, request: LinkRequest, now: datetime) -> bool:
    checkout = page.checkout
    return (
        page.payment.amount == amount
        and checkout.set_default == request.save_card_and_make_default
        and (checkout.success_url, checkout.cancel_url) == (request.success_url, request.cancel_url)
        and (checkout.expires_at is None or checkout.expires_at > now)
    )


def _session_of(ledger: Ledger, scope: Scope, link: Link, page: _Page, now: datetime) -> ProviderSession | None:
    """The provider's session of a page, made if need be. None when it was never made and its key is too old to try."""
    payment, checkout = page.payment, page.checkout
    if checkout.gateway_session_id is not None:
        return link.gateway.get_session(checkout.gateway_session_id)
    customer_id = sync_customer.ensure_customer(ledger, scope, link, checkout.customer_id, now)
    if now - checkout.created_at > provider_mapping.KEY_LIFETIME:
        return link.gateway.find_session(customer_id, checkout.id)
    with ledger.read() as session:
        invoice = invoices.get_invoice(session, scope, payment.invoice_id or "")
    asked = NewPaymentSession(
        customer_id=customer_id,
        currency=payment.currency,
        amount=payment.amount,
        description=f"Invoice {invoice.number}",
        save_card=checkout.set_default,
        success_url=checkout.success_url,
        cancel_url=checkout.cancel_url,
        metadata={
            OUR_SESSION: checkout.id,
            OUR_PAYMENT: payment.id,
            OUR_INVOICE: invoice.id,
            "tenant": scope.tenant_id,
            "environment": scope.environment_id,
        },
    )
    key = f"ses:{checkout.id}:create"
    try:
        return link.gateway.create_payment_session(asked, key)
    except IdempotencyMismatch:
        return link.gateway.find_session(customer_id, checkout.id)
    except ProviderUnavailable as error:
        if not error.replayed:
            raise
        found = link.gateway.find_session(customer_id, checkout.id)
        return found or link.gateway.create_payment_session(asked, f"{key}:again")


def _shown(ledger: Ledger, scope: Scope, page: _Page, made: ProviderSession) -> PaymentRecord:
    with ledger.begin() as session:
        save_card.attach(session, scope, page.checkout.id, made)
        return payments.update_status(session, scope, page.payment.id, page.payment.status, checkout_url=made.url)


def _close(ledger: Ledger, scope: Scope, link: Link, page: _Page, now: datetime) -> None:
    seen = _session_of(ledger, scope, link, page, now)
    if seen is None:
        with ledger.begin() as session:
            sessions.close_checkout(session, scope, page.checkout.id, "expired")
            payments.update_status(session, scope, page.payment.id, "canceled")
        return
    session_id = seen.id
    if seen.status == "open":
        try:
            seen = provider_mapping.guarded(
                lambda key: link.gateway.expire_session(session_id, key), f"ses:{page.checkout.id}:expire"
            )
        except ProviderRejected:
            # It was completed, or expired by itself, in between.
            seen = link.gateway.get_session(session_id)
    link_payment.follow_session(ledger, scope, link, seen, now)


def _provider_page(
    ledger: Ledger,
    scope: Scope,
    link: Link,
    invoice: InvoiceRecord,
    mapping: MappingRecord,
    request: LinkRequest,
    now: datetime,
) -> PaymentRecord:
    """The provider's own page of the invoice; there the whole rest is paid, or nothing."""
    seen = _open_invoice(ledger, scope, link, mapping, now)
    if seen.hosted_url is None or seen.payment_id is None:
        raise Conflict("invoice_not_open", "the invoice has no page at Stripe")
    if request.amount is not None and request.amount != seen.amount_remaining:
        raise InvalidInput(
            "amount_not_remaining",
            f"the invoice is at Stripe, where all of {format_decimal(seen.amount_remaining)} is paid at once",
            field="amount",
            hint="Leave the amount out.",
        )
    with ledger.begin() as session:
        known = payments.by_gateway_id(session, scope, PROVIDER, seen.payment_id)
        if known is None:
            known = payments.create_payment(
                session,
                scope,
                customer_id=invoice.customer_id,
                invoice_id=invoice.id,
                amount=seen.amount_remaining,
                currency=invoice.currency,
                method="payment_link",
                gateway=PROVIDER,
                gateway_payment_id=seen.payment_id,
                checkout_url=seen.hosted_url,
                now=now,
            )
        return payments.update_status(session, scope, known.id, known.status, checkout_url=seen.hosted_url)


def _require_settled(mapping: MappingRecord | None) -> None:
    """An invoice is either not sent or is at the provider; in between nobody may take money for it."""
    if mapping is not None and "request" in mapping.detail and mapping.state not in {"finalized", "done"}:
        raise Conflict(
            "sync_in_progress", "the invoice is on its way to Stripe", hint="Try again once it has been synced."
        )


def _open_invoice(ledger: Ledger, scope: Scope, link: Link, mapping: MappingRecord, now: datetime) -> ProviderInvoice:
    seen = follow(ledger, scope, link, mapping.entity_id, mapping.provider_id or "", now)
    if seen.status != ProviderInvoiceStatus.OPEN:
        raise Conflict("invoice_not_open", f"the invoice is {seen.status.value} at Stripe")
    return seen


def _hold_collection(
    ledger: Ledger, scope: Scope, link: Link, mapping: MappingRecord, page: _Page, now: datetime
) -> None:
    """Stops the provider from collecting while a page of ours is open; `link_payment` lets it go on afterwards."""
    seen = _open_invoice(ledger, scope, link, mapping, now)
    if page.payment.amount > seen.amount_remaining:
        raise InvalidInput("amount_over_remaining", "is more than remains to be paid at Stripe", field="amount")
    if not seen.auto_advance:
        return
    link_payment.note_hold(ledger, scope, mapping, page.checkout.id, now)
    provider_mapping.guarded(
        lambda key: link.gateway.set_auto_advance(seen.id, False, key), f"ses:{page.checkout.id}:hold"
    )
    _open_invoice(ledger, scope, link, mapping, now)
