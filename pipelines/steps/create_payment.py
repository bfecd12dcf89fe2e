"""Use case: an invoice gets paid, by a page for the customer, by the saved card, or by money that came in elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from billing.errors import InvalidInput, NotFound
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import invoices
from ledger.store.payments import PaymentRecord
from pipelines.steps import pay_invoice, payment_link
from pipelines.steps.connections import Gateways

__all__ = ["NewPayment", "create_payment"]


@dataclass(frozen=True)
class NewPayment:
    """`method` is payment_link, card or offline; a link needs both addresses."""

    invoice_id: str
    method: str
    amount: Decimal
    currency: str
    success_url: str | None = None
    cancel_url: str | None = None
    save_card_and_make_default: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)


def create_payment(
    ledger: Ledger, scope: Scope, gateways: Gateways, wanted: NewPayment, now: datetime
) -> PaymentRecord:
    """The payment as it stands after the first attempt.

    Errors: NotFound `invoice_not_found`; InvalidInput `missing_field`, `metadata_not_kept`, `amount_not_remaining`,
    `currency_mismatch`; Conflict `no_connection` and those of the three ways; ProviderUnavailable; ProviderRejected.
    """
    try:
        match wanted.method:
            case "payment_link":
                return _by_link(ledger, scope, gateways, wanted, now)
            case "card":
                return _by_card(ledger, scope, gateways, wanted, now)
            case _:
                offline = pay_invoice.OfflinePayment(wanted.invoice_id, wanted.amount, wanted.currency, wanted.metadata)
                return pay_invoice.record_offline(ledger, scope, gateways.active(scope), offline, now)
    except NotFound as error:
        if error.code == "invoice_not_found":
            error.field = "destination_id"
        raise


def _by_link(ledger: Ledger, scope: Scope, gateways: Gateways, wanted: NewPayment, now: datetime) -> PaymentRecord:
    _refuse_metadata(wanted)
    for name in ("success_url", "cancel_url"):
        if getattr(wanted, name) is None:
            raise InvalidInput(
                "missing_field",
                f"A payment link needs {name}.",
                field=name,
                hint="Send the address to which the customer returns from Stripe's page.",
            )
    request = payment_link.LinkRequest(
        invoice_id=wanted.invoice_id,
        success_url=wanted.success_url or "",
        cancel_url=wanted.cancel_url or "",
        amount=wanted.amount,
        currency=wanted.currency,
        save_card_and_make_default=wanted.save_card_and_make_default,
    )
    return payment_link.create(ledger, scope, gateways.require(scope), request, now)


def _by_card(ledger: Ledger, scope: Scope, gateways: Gateways, wanted: NewPayment, now: datetime) -> PaymentRecord:
    _refuse_metadata(wanted)
    with ledger.read() as session:
        invoice = invoices.get_invoice(session, scope, wanted.invoice_id)
    if invoice.currency != wanted.currency:
        raise InvalidInput("currency_mismatch", f"The invoice is in {invoice.currency}.", field="currency")
    remaining = invoice.amount_remaining
    if wanted.amount != remaining:
        raise InvalidInput(
            "amount_not_remaining",
            f"A card is charged for all that remains: {remaining:f} {invoice.currency}.",
            field="amount",
            hint="Send that amount, or use a payment link.",
        )
    return pay_invoice.pay_with_card(ledger, scope, gateways.require(scope), wanted.invoice_id, now)


def _refuse_metadata(wanted: NewPayment) -> None:
    if wanted.metadata:
        raise InvalidInput(
            "metadata_not_kept",
            "Only offline payments keep metadata.",
            field="metadata",
            hint="Leave it out, or keep it on the subscription.",
        )
