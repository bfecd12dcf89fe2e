"""Voids an invoice: first where it could still be collected, then here."""

from datetime import datetime

from sqlalchemy.orm import Session

from billing.errors import Conflict
from billing.invoice import InvoiceStatus
from billing.ports import ProviderInvoiceStatus, ProviderRejected
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, connections, customers, invoices, mappings, subscriptions
from ledger.store.invoices import InvoiceRecord
from pipelines.steps import payment_link, provider_mapping
from pipelines.steps.connections import Link
from pipelines.steps.follow_invoice import ENTITY, follow
from pipelines.steps.invoice_parts import settling_invoice

_AT_PROVIDER = frozenset({"finalized", "done"})


def void_invoice(
    ledger: Ledger, scope: Scope, link: Link | None, invoice_id: str, actor: str, reason: str, now: datetime
) -> InvoiceRecord:
    """The void invoice; one that is void already stays as it is. `link` is the active connection, None where there is
    none; `actor` is who asked and `reason` why, for the audit.

    NotFound `invoice_not_found`; Conflict `advance_settled` (what it billed in advance is settled on a final invoice),
    `sync_in_progress`, `connection_inactive` (it could not be voided where it
    is collected), `invoice_paid` (money came in); ProviderUnavailable.
    """
    with ledger.read() as session:
        found = invoices.get_invoice(session, scope, invoice_id)
        if found.status == InvoiceStatus.VOID:
            return found
        _require_not_settled(session, scope, found)
    if found.amount_paid > 0:
        raise _paid("Money came in for this invoice.")
    if found.amount_credited > 0:
        raise _credited()
    if link is None:
        _require_not_collected(ledger, scope, invoice_id)
    else:
        payment_link.close_links_of(ledger, scope, link, invoice_id, now)
        _void_at_provider(ledger, scope, link, invoice_id, now)
    with ledger.begin() as session:
        if found.subscription_id is not None and link is None:
            # Whoever finalizes an invoice of the subscription holds it too, and settles what this one has billed. What
            # is void at the provider is void here as well.
            subscriptions.hold_subscription(session, scope, found.subscription_id)
            _require_not_settled(session, scope, found)
        # Before the invoice, as whoever finalizes does: its credit goes back.
        customers.hold_customer(session, scope, found.customer_id)
        provider_mapping.hold_invoice(session, scope, invoice_id)
        current = invoices.get_invoice(session, scope, invoice_id)
        if current.amount_paid > 0:
            raise _paid("Money came in for this invoice.")
        if current.amount_credited > 0:
            raise _credited()
        voided = invoices.void(session, scope, invoice_id, now, reason)
        # The provider may have told of it in between: then the reason is what is new.
        detail = {"reason": reason, "number": voided.number, "was": found.status.value}
        audit.write(session, scope, actor, "invoice.voided", ENTITY, invoice_id, detail, now)
        return voided


def _require_not_settled(session: Session, scope: Scope, invoice: InvoiceRecord) -> None:
    """Conflict `advance_settled`: a void invoice bills nothing, and the one that has settled it never changes."""
    known = settling_invoice(session, scope, invoice)
    if known is not None and known.status is InvoiceStatus.FINALIZED:
        raise Conflict(
            "advance_settled",
            f"Invoice {known.number} ({known.id}) has settled what this one billed in advance.",
            hint="Correct the amount with a credit note.",
        )


def _require_not_collected(ledger: Ledger, scope: Scope, invoice_id: str) -> None:
    """Conflict `connection_inactive` where a connection that is switched off may still be collecting the invoice."""
    with ledger.read() as session:
        for connection in connections.list_connections(session, scope):
            mapping = mappings.get_mapping(session, scope, connection.id, ENTITY, invoice_id)
            if mapping is not None and mapping.provider_id is not None:
                raise Conflict(
                    "connection_inactive",
                    "The invoice is at Stripe, whose connection is disabled.",
                    hint="Enable the connection, so that the invoice is voided at Stripe as well.",
                )


def _void_at_provider(ledger: Ledger, scope: Scope, link: Link, invoice_id: str, now: datetime) -> None:
    with ledger.read() as session:
        mapping = mappings.get_mapping(session, scope, link.connection.id, ENTITY, invoice_id)
    if mapping is None or "request" not in mapping.detail:
        return
    if mapping.provider_id is None or mapping.state not in _AT_PROVIDER:
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
            raise _paid(f"The invoice is {seen.status.value} at Stripe.") from error


def _credited() -> Conflict:
    return Conflict(
        "invoice_credited",
        "There are credit notes on this invoice.",
        hint="Credit what is left of it, or void its credit notes first.",
    )


def _paid(detail: str) -> Conflict:
    return Conflict(
        "invoice_paid",
        detail,
        hint="Refund the payment at Stripe, or where it came in; correct the amount on a later invoice.",
    )
