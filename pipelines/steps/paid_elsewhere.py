"""Money that came in for an invoice before it went to the provider, so that it is not collected there again."""

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy.orm import Session

from billing.ports import ProviderInvoice, ProviderInvoiceStatus
from billing.scope import Scope
from ledger.store import payments
from ledger.store.invoices import InvoiceRecord
from ledger.store.payments import PaymentRecord
from pipelines.steps.connections import Link
from pipelines.steps.provider_mapping import guarded

_ARRIVED = frozenset({"succeeded", "processing"})


def payments_of(session: Session, scope: Scope, invoice_id: str) -> list[PaymentRecord]:
    """All payments of an invoice, newest first."""
    page = payments.list_payments(session, scope, invoice_id=invoice_id, limit=100)
    found = page.items
    while page.next_cursor is not None:
        page = payments.list_payments(session, scope, invoice_id=invoice_id, limit=100, cursor=page.next_cursor)
        found += page.items
    return found


def of_invoice(session: Session, scope: Scope, invoice_id: str) -> list[PaymentRecord]:
    """Payments through a link of ours or offline that arrived or are on their way."""
    return [
        payment
        for payment in payments_of(session, scope, invoice_id)
        if payment.status in _ARRIVED and payment.method in {"payment_link", "offline"}
    ]


def fits(session: Session, scope: Scope, invoice: InvoiceRecord) -> bool:
    """Whether the provider can be told: its own payments can be attached, offline money only if it is all of it."""
    found = of_invoice(session, scope, invoice.id)
    offline = any(payment.method == "offline" for payment in found)
    return not offline or sum((payment.amount for payment in found), Decimal(0)) >= invoice.amount_to_collect


def attach_links(
    link: Link, invoice: InvoiceRecord, seen: ProviderInvoice, elsewhere: Sequence[PaymentRecord]
) -> ProviderInvoice:
    """Counts the provider's own among those payments on its open invoice, each once. ProviderRejected when it refuses
    one."""
    for payment in elsewhere:
        if payment.method == "payment_link" and payment.gateway_payment_id is not None:
            seen = attach(link, invoice.id, seen, payment.gateway_payment_id)
    return seen


def settle_offline(
    link: Link, invoice: InvoiceRecord, seen: ProviderInvoice, elsewhere: Sequence[PaymentRecord]
) -> ProviderInvoice:
    """Tells the provider that what its open invoice still asks for was paid offline, if it was."""
    if seen.status == ProviderInvoiceStatus.OPEN and any(payment.method == "offline" for payment in elsewhere):
        seen = pay_out_of_band(link, invoice.id, seen.id)
    return seen


def attach(link: Link, invoice_id: str, seen: ProviderInvoice, gateway_payment_id: str) -> ProviderInvoice:
    """Counts one of the provider's own payments on its open invoice, unless it is counted already."""
    if seen.status != ProviderInvoiceStatus.OPEN:
        return seen
    if link.gateway.invoice_of_payment(gateway_payment_id) is not None:
        return link.gateway.get_invoice(seen.id)
    return guarded(
        lambda key: link.gateway.attach_payment(seen.id, gateway_payment_id, key),
        f"inv:{invoice_id}:attach:{gateway_payment_id}",
    )


def pay_out_of_band(link: Link, invoice_id: str, provider_invoice_id: str) -> ProviderInvoice:
    """Tells the provider that the rest of its invoice was paid offline."""
    return guarded(
        lambda key: link.gateway.pay_out_of_band(provider_invoice_id, key), f"inv:{invoice_id}:paid_elsewhere"
    )
