"""Charges the saved card for invoices that we collect, and charges it again on a schedule while it is declined.

Which invoices these are is settled when they are sent: where the connection's `collection` is then "tallyhouse", the
provider is told to leave the invoice alone, and the schedule is written into its mapping. A later change of the
setting is for later invoices, so that nobody else ever collects the same one. Time is passed in: the outbox brings an
invoice here when its next try is due.

A try without a saved card, or with one that the bank will never accept, counts and charges nothing. While the customer
has a page of ours open the try waits, as paying there and being charged here would take the money twice.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from billing.invoice import PaymentStatus
from billing.ports import ProviderInvoice, ProviderInvoiceStatus
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, mappings, outbox, payments
from ledger.store.invoice_queries import list_invoices
from ledger.store.invoices import InvoiceRecord
from ledger.store.mappings import MappingRecord
from pipelines.steps import payment_link, provider_mapping
from pipelines.steps.connections import PROVIDER, Gateways, Link
from pipelines.steps.follow_invoice import ENTITY, follow
from pipelines.steps.pay_invoice import charge, credit_first

__all__ = ["begin", "beginning", "collect", "collect_again"]

# Reasons that stay as they are however often the same card is tried. https://docs.stripe.com/declines/codes
_FOR_GOOD = frozenset(
    {"lost_card", "stolen_card", "pickup_card", "fraudulent", "expired_card", "invalid_account", "do_not_try_again"}
)
_LOOK_AGAIN = timedelta(days=1)
_PAGE_CLOSES = timedelta(hours=1)


@dataclass(frozen=True)
class _Tried:
    """`card` is what would be charged; `reason` why nothing was paid, None where it may have been."""

    card: str | None
    reason: str | None


def begin(session: Session, scope: Scope, link: Link, invoice: InvoiceRecord, now: datetime) -> None:
    """Writes down who collects an invoice that is at the provider now; the first try, if it is ours, is due at once."""
    mapping = mappings.get_mapping(session, scope, link.connection.id, ENTITY, invoice.id)
    if mapping is None or "collected_by" in mapping.detail:
        return
    known = beginning(link, invoice, now)
    if "retry" in known:
        outbox.enqueue(session, scope, "invoice.collect", invoice.id, now)
    provider_mapping.note(session, scope, mapping, known, now)


def beginning(link: Link, invoice: InvoiceRecord, now: datetime) -> dict[str, Any]:
    """What `begin` writes into the mapping. With a "retry" in it the outbox has to bring the invoice to `collect`."""
    known: dict[str, Any] = {"collected_by": link.collected_by}
    if link.we_collect and invoice.collection_method == "charge_automatically":
        plan = {"days": list(link.retry_days), "afterwards": link.after_last_try}
        known["retry"] = {**plan, "tries": 0, "counted": 0, "next_at": now.isoformat()}
    return known


def collect(ledger: Ledger, scope: Scope, gateways: Gateways, invoice_id: str, now: datetime) -> datetime | None:
    """Makes the try that is due, if one is. Returns when to come again, None when collecting is over.

    NotFound `invoice_not_found`; ProviderUnavailable: run it again, it is the same try; ProviderRejected.
    """
    link = gateways.active(scope)
    if link is None:
        return now + _LOOK_AGAIN
    return _collect(ledger, scope, link, invoice_id, now, at_once=False)


def collect_again(ledger: Ledger, scope: Scope, gateways: Gateways, customer_id: str, now: datetime) -> None:
    """A customer has another card: what they owe and we collect is tried at once, outside of the schedule."""
    link = gateways.active(scope)
    if link is None:
        return
    with ledger.read() as session:
        unpaid = [
            invoice.id
            for status in (PaymentStatus.FAILED, PaymentStatus.PENDING, PaymentStatus.PARTIALLY_PAID)
            for invoice in list_invoices(
                session, scope, customer_id=customer_id, status="finalized", payment_status=status.value, limit=100
            ).items
        ]
    for invoice_id in unpaid:
        _collect(ledger, scope, link, invoice_id, now, at_once=True)


def _collect(
    ledger: Ledger, scope: Scope, link: Link, invoice_id: str, now: datetime, *, at_once: bool
) -> datetime | None:
    with ledger.read() as session:
        mapping = mappings.get_mapping(session, scope, link.connection.id, ENTITY, invoice_id)
    if mapping is None or mapping.provider_id is None or "retry" not in mapping.detail:
        return None
    credit_first(ledger, scope, link, invoice_id, now)
    seen = follow(ledger, scope, link, invoice_id, mapping.provider_id, now)
    # Somebody who told Stripe to collect after all, in its Dashboard, has taken it over.
    if seen.status != ProviderInvoiceStatus.OPEN or seen.auto_advance:
        return None
    next_at = _next_at(mapping)
    if next_at is None and not at_once:
        _give_up(ledger, scope, link, mapping, now)
        return None
    if next_at is not None and now < next_at and not at_once:
        return next_at
    open_until = payment_link.open_until(ledger, scope, link, invoice_id, now)
    if open_until is not None:
        return open_until + _PAGE_CLOSES
    tried = _try(ledger, scope, link, mapping, now)
    return _count(ledger, scope, link, mapping, tried, now)


def _try(ledger: Ledger, scope: Scope, link: Link, mapping: MappingRecord, now: datetime) -> _Tried:
    retry, paying = mapping.detail["retry"], mapping.detail.get("paying", {})
    card = link.gateway.get_customer(mapping.detail["request"]["customer_id"]).default_payment_method_id
    if paying.get("attempt", 0) > retry["counted"] and paying.get("begun_at") is None:
        # It came to its end before we could count it, or somebody has tried by hand.
        return _Tried(card, _reason(ledger, scope, link, mapping))
    if card is None:
        return _Tried(None, "payment_method_missing")
    if card == retry.get("refused_card"):
        return _Tried(card, "card_refused_for_good")
    seen = charge(ledger, scope, link, mapping, now)
    if seen.status != ProviderInvoiceStatus.OPEN:
        payment_link.close_links_of(ledger, scope, link, mapping.entity_id, now)
        return _Tried(card, None)
    return _Tried(card, _reason(ledger, scope, link, mapping, seen))


def _count(
    ledger: Ledger, scope: Scope, link: Link, mapping: MappingRecord, tried: _Tried, now: datetime
) -> datetime | None:
    """Writes the try down, and when the next one is."""
    with ledger.begin() as session:
        held = provider_mapping.held(session, scope, mapping)
        retry = dict(held.detail["retry"])
        days: list[int] = retry["days"]
        tries = retry["tries"] + 1
        over = tried.reason is None or tries > len(days)
        next_at = None if over else now + timedelta(days=days[tries - 1])
        retry |= {
            "tries": tries,
            "counted": held.detail.get("paying", {}).get("attempt", 0),
            "last_reason": tried.reason,
            "next_at": next_at and next_at.isoformat(),
        }
        if tried.reason in _FOR_GOOD:
            retry["refused_card"] = tried.card
        provider_mapping.note(session, scope, held, {"retry": retry}, now)
        if tried.reason is not None and over:
            detail = {"tries": tries, "reason": tried.reason, "afterwards": retry["afterwards"]}
            audit.write(session, scope, "tallyhouse", "invoice.given_up", ENTITY, held.entity_id, detail, now)
    if tried.reason is not None and over:
        _give_up(ledger, scope, link, held, now)
    return next_at


def _give_up(ledger: Ledger, scope: Scope, link: Link, mapping: MappingRecord, now: datetime) -> None:
    """The last try was declined: the invoice stays open and past due, or is written off at the provider as well."""
    if mapping.detail["retry"]["afterwards"] == "uncollectible" and mapping.provider_id is not None:
        provider_id = mapping.provider_id
        if link.gateway.get_invoice(provider_id).status == ProviderInvoiceStatus.OPEN:
            provider_mapping.guarded(
                lambda key: link.gateway.mark_uncollectible(provider_id, key), f"inv:{mapping.entity_id}:uncollectible"
            )
        follow(ledger, scope, link, mapping.entity_id, provider_id, now)


def _next_at(mapping: MappingRecord) -> datetime | None:
    text = mapping.detail["retry"]["next_at"]
    return None if text is None else datetime.fromisoformat(text)


def _reason(
    ledger: Ledger, scope: Scope, link: Link, mapping: MappingRecord, seen: ProviderInvoice | None = None
) -> str:
    """Why the last charge was declined, in the bank's word."""
    seen = seen or link.gateway.get_invoice(mapping.provider_id or "")
    with ledger.read() as session:
        known = None if seen.payment_id is None else payments.by_gateway_id(session, scope, PROVIDER, seen.payment_id)
    return (known and known.failure_code) or "declined"
