"""Voids a finalized invoice: first where it could still be collected, then here."""

from datetime import datetime

from billing.errors import Conflict
from billing.ports import ProviderInvoiceStatus, ProviderRejected
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, invoices, mappings
from ledger.store.invoices import InvoiceRecord
from pipelines.steps import payment_link, provider_mapping
from pipelines.steps.connections import Link
from pipelines.steps.follow_invoice import ENTITY, follow


def void_invoice(
    ledger: Ledger, scope: Scope, link: Link | None, invoice_id: str, actor: str, now: datetime
) -> InvoiceRecord:
    """The void invoice. `link` is None where nothing is connected; `actor` is who asked, for the audit.

    NotFound `invoice_not_found`; Conflict `sync_in_progress`, `invoice_paid` (money came in: refund it instead),
    `move_not_allowed`; ProviderUnavailable.
    """
    if link is not None:
        payment_link.close_links_of(ledger, scope, link, invoice_id, now)
        _void_at_provider(ledger, scope, link, invoice_id, now)
    with ledger.begin() as session:
        provider_mapping.hold_invoice(session, scope, invoice_id)
        if invoices.get_invoice(session, scope, invoice_id).amount_paid > 0:
            raise Conflict("invoice_paid", "money came in for this invoice", hint="Refund it instead.")
        voided = invoices.void(session, scope, invoice_id, now)
        audit.write(session, scope, actor, "invoice.voided", ENTITY, invoice_id, {}, now)
        return voided


def _void_at_provider(ledger: Ledger, scope: Scope, link: Link, invoice_id: str, now: datetime) -> None:
    with ledger.read() as session:
        mapping = mappings.get_mapping(session, scope, link.connection.id, ENTITY, invoice_id)
    if mapping is None or "request" not in mapping.detail:
        return
    if mapping.provider_id is None or mapping.state not in {"finalized", "done"}:
        raise Conflict(
            "sync_in_progress", "the invoice is on its way to Stripe", hint="Try again once it has been synced."
        )
    provider_id = mapping.provider_id
    try:
        provider_mapping.guarded(
            lambda key: link.gateway.void_invoice(provider_id, key), f"inv:{invoice_id}:void:{mapping.key_version}"
        )
    except ProviderRejected as error:
        seen = follow(ledger, scope, link, invoice_id, provider_id, now)
        if seen.status != ProviderInvoiceStatus.VOID:
            raise Conflict("invoice_paid", f"the invoice is {seen.status.value} at Stripe") from error
