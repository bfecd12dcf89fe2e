"""Sends the credit notes of an invoice after it, in their order, and voids them where they are.

The provider lowers what its open invoice asks for first, and wants told how the rest is given back. When the customer
pays in the same moment, what our note took off has been paid as well: it is then given back as the note says, as credit
here or as a refund.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from billing.adjustments.split import added
from billing.errors import Conflict
from billing.exact import EXACT
from billing.ports import (
    IdempotencyMismatch,
    ProviderInvoice,
    ProviderInvoiceStatus,
    ProviderKeyRefused,
    ProviderRejected,
    TaxRate,
)
from billing.refund_port import (
    OUR_CREDIT_NOTE,
    LinkedRefund,
    ProviderCreditNote,
)
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, credit_grants, credit_notes, customers, invoices, mappings, refunds
from ledger.store.credit_grants import NewGrant
from ledger.store.credit_notes import CreditNoteRecord
from ledger.store.mappings import MappingRecord
from pipelines.steps import credit_invoice, payment_link, provider_mapping, refund_payment
from pipelines.steps.connections import PROVIDER, Gateways, Link
from pipelines.steps.credit_invoice import ENTITY
from pipelines.steps.follow_invoice import ENTITY as INVOICE
from pipelines.steps.follow_invoice import follow, is_of
from pipelines.steps.note_lines import new_note, note_lines
from pipelines.steps.take_over_note import take_over

__all__ = ["follow_note", "push_notes", "sent_amount", "void"]

_ROUNDS = 3
_TAKES_NOTES = frozenset({ProviderInvoiceStatus.OPEN, ProviderInvoiceStatus.PAID})


class _Refused(Exception):
    pass


def push_notes(ledger: Ledger, scope: Scope, link: Link, invoice_id: str, now: datetime) -> str | None:
    """Sends what is not there yet of a finalized invoice's notes. Why the first one was refused, or None: the reason
    stays in its mapping, and later ones wait.

    ProviderUnavailable, ProviderKeyRefused: run it again.
    """
    with ledger.read() as session:
        mapping = mappings.get_mapping(session, scope, link.connection.id, INVOICE, invoice_id)
        notes = credit_notes.of_invoice(session, scope, invoice_id)
    if mapping is None or mapping.provider_id is None or mapping.state not in {"finalized", "done"}:
        return None
    sent, problem = 0, None
    for note in notes:
        with ledger.read() as session:
            known = mappings.get_mapping(session, scope, link.connection.id, ENTITY, note.id)
        if (known is not None and known.state == "done") or sent_amount(note) <= 0:
            continue
        if note.pre_payment > 0:
            payment_link.close_links_of(ledger, scope, link, invoice_id, now)
        problem = _push(ledger, scope, link, note, mapping.provider_id, now)
        if problem is not None:
            break
        sent += 1
    if sent:
        follow(ledger, scope, link, invoice_id, mapping.provider_id, now)
    return problem


def void(
    ledger: Ledger, scope: Scope, gateways: Gateways, note_id: str, reason: str, actor: str, now: datetime
) -> CreditNoteRecord:
    """The note, void, first at the provider where it is there.

    Errors of `credit_invoice.void_note`; Conflict `sync_in_progress`, `connection_inactive`, `credit_note_settled`
    (also when the invoice was paid at the provider in the meantime); ProviderUnavailable.
    """

    def begin(session: Session) -> tuple[CreditNoteRecord, MappingRecord | None]:
        found = credit_invoice.check_voidable(session, scope, note_id)
        known = mappings.list_mappings(session, scope, entity=ENTITY, entity_id=note_id, limit=1).items
        sent = next((each for each in known if "request" in each.detail or each.provider_id is not None), None)
        if found.status == "void" or sent is not None:
            return found, sent
        return credit_invoice.void_note(session, scope, note_id, reason, actor, now), None

    found, sent = ledger.run(begin)
    if found.status == "void" or sent is None:
        return found
    if sent.provider_id is None:
        raise Conflict(
            "sync_in_progress", "The credit note is on its way to Stripe.", hint="Try again once it has been sent."
        )
    link = gateways.active(scope)
    if link is None:
        raise Conflict(
            "connection_inactive",
            "The credit note is at Stripe, whose connection is disabled.",
            hint="Enable the connection, so that the note is voided at Stripe as well.",
        )
    _void_at_provider(link, sent)
    voided = ledger.run(lambda session: credit_invoice.void_note(session, scope, note_id, reason, actor, now))
    _follow_its_invoice(ledger, scope, link, found.invoice_id, now)
    return voided


def follow_note(ledger: Ledger, scope: Scope, link: Link, provider_note_id: str, now: datetime) -> bool:
    """Looks at one of the provider's credit notes again: one that is void there is void here, one that was issued there
    alone is taken over. False when its invoice is none of ours.

    The Conflicts of `take_over`: it is for people, and looked at again.
    """
    seen = link.gateway.get_credit_note(provider_note_id)
    with ledger.read() as session:
        mapping = mappings.by_provider_id(session, scope, link.connection.id, ENTITY, provider_note_id)
        invoice = mappings.by_provider_id(session, scope, link.connection.id, INVOICE, seen.invoice_id)
    if mapping is not None and seen.status == "void":
        ledger.run(
            lambda session: credit_invoice.void_note(
                session, scope, mapping.entity_id, "voided at Stripe", PROVIDER, now
            )
        )
    if invoice is None:
        return False
    follow(ledger, scope, link, invoice.entity_id, seen.invoice_id, now)
    made_here = is_of(scope, seen.metadata) and OUR_CREDIT_NOTE in seen.metadata
    if mapping is None and not made_here and seen.status == "issued":
        take_over(ledger, scope, link, invoice.entity_id, seen, now)
    return True


def _push(
    ledger: Ledger, scope: Scope, link: Link, note: CreditNoteRecord, provider_id: str, now: datetime
) -> str | None:
    problem = ""
    for _ in range(_ROUNDS):
        # Booked as well: a payment that we have not heard of may be what is given back.
        seen = follow(ledger, scope, link, note.invoice_id, provider_id, now)
        if seen.status not in _TAKES_NOTES:
            problem = f"invoice_{seen.status.value}"
            break
        mapping = _intend(ledger, scope, link, note, seen, now)
        if mapping is None:
            return None
        try:
            mapping = _make(ledger, scope, link, mapping, now)
        except _Refused as error:
            # As when the invoice was paid after we looked: then other parts have to add up.
            problem = f"rejected: {error}"
            with ledger.begin() as session:
                provider_mapping.restart(session, scope, mapping, now)
            continue
        _settle(ledger, scope, note, mapping, now)
        return None
    with ledger.begin() as session:
        mappings.intend(session, scope, link.connection.id, ENTITY, note.id, now)
        mappings.record(
            session, scope, link.connection.id, ENTITY, note.id, state="failed", last_error=problem[:500], now=now
        )
        audit.write(session, scope, PROVIDER, "credit_note.sync_failed", ENTITY, note.id, {"reason": problem}, now)
    return problem


def _intend(
    ledger: Ledger, scope: Scope, link: Link, note: CreditNoteRecord, seen: ProviderInvoice, now: datetime
) -> MappingRecord | None:
    """The mapping with the request in it, None for a note that was voided before it was sent."""
    amount = sent_amount(note)
    before = min(amount, seen.amount_remaining) if seen.status == ProviderInvoiceStatus.OPEN else Decimal(0)
    after = EXACT.subtract(amount, max(before, Decimal(0)))
    linked = _refunds(ledger, scope, link, note, after, now) if note.settle_as == "refund" else []
    rates = _rates_at_provider(link, note, seen)
    with ledger.begin() as session:
        provider_mapping.hold_invoice(session, scope, note.invoice_id)
        current = credit_notes.get_note(session, scope, note.id)
        if current.status == "void":
            return None
        invoice = invoices.get_invoice(session, scope, note.invoice_id)
        request = {
            "invoice_id": seen.id,
            "currency": note.currency,
            "amount": f"{amount:f}",
            "lines": note_lines(invoice, note, rates),
            "refunds": [[refund_id, f"{part:f}"] for refund_id, part in linked],
            "outside": f"{EXACT.subtract(after, added((part for _, part in linked), note.currency)):f}",
            "memo": f"{note.number}: {note.reason}"[:500],
            "metadata": {
                OUR_CREDIT_NOTE: note.id,
                "tenant": scope.tenant_id,
                "environment": scope.environment_id,
                "number": note.number,
            },
        }
        return provider_mapping.intend(session, scope, link.connection, ENTITY, note.id, request, now)


def _make(ledger: Ledger, scope: Scope, link: Link, mapping: MappingRecord, now: datetime) -> MappingRecord:
    def create(intended: MappingRecord) -> ProviderCreditNote:
        asked = new_note(intended.detail["request"])
        try:
            return link.gateway.create_credit_note(asked, f"cn:{intended.entity_id}:create:{intended.key_version}")
        except (ProviderKeyRefused, IdempotencyMismatch):
            raise
        except ProviderRejected as error:
            there = find(intended)
            if there is None:
                raise _Refused(error.detail) from error
            return there

    def find(intended: MappingRecord) -> ProviderCreditNote | None:
        return link.gateway.find_credit_note(intended.detail["request"]["invoice_id"], intended.entity_id)

    return provider_mapping.make_once(
        ledger, scope, link.connection, mapping, create=create, find=find, state="created", now=now
    )


def _settle(ledger: Ledger, scope: Scope, note: CreditNoteRecord, mapping: MappingRecord, now: datetime) -> None:
    """What the customer paid of what the note took off becomes credit, in one transaction with the end of the work."""
    request = mapping.detail["request"]
    given_back = added((Decimal(request["outside"]), *(Decimal(part) for _, part in request["refunds"])), note.currency)
    raced = EXACT.subtract(given_back, note.paid_back)
    with ledger.begin() as session:
        customers.hold_customer(session, scope, note.customer_id)
        if raced > 0 and note.settle_as == "credit":
            kept = NewGrant(raced, note.currency, "overpayment", note.id, reason=note.number)
            credit_grants.grant(session, scope, note.customer_id, kept, now)
        mappings.record(
            session,
            scope,
            mapping.connection_id,
            ENTITY,
            note.id,
            state="done",
            detail={"status": "issued"},
            now=now,
        )
        detail = {"stripe_credit_note_id": mapping.provider_id}
        audit.write(session, scope, PROVIDER, "credit_note.synced", ENTITY, note.id, detail, now)


def _refunds(
    ledger: Ledger, scope: Scope, link: Link, note: CreditNoteRecord, needed: Decimal, now: datetime
) -> list[LinkedRefund]:
    """The refunds that give back `needed` of a note, made at the provider before the note names them."""
    with ledger.begin() as session:
        customers.hold_customer(session, scope, note.customer_id)
        invoices.hold(session, scope, note.invoice_id)
        known = refunds.of_note(session, scope, note.id)
        missing = EXACT.subtract(needed, sum((each.amount for each in known if each.counts), Decimal(0)))
        if missing > 0:
            refund_payment.settle_note(session, scope, note, missing, now)
            known = refunds.of_note(session, scope, note.id)
    linked, left = [], needed
    for each in known:
        made = refund_payment.carry_out(ledger, scope, link, each.id, now)
        part = min(made.amount, left)
        if made.counts and made.gateway_refund_id is not None and part > 0:
            linked.append(LinkedRefund(made.gateway_refund_id, part))
            left = EXACT.subtract(left, part)
    return linked


def _void_at_provider(link: Link, sent: MappingRecord) -> None:
    provider_id = sent.provider_id or ""
    try:
        provider_mapping.guarded(
            lambda key: link.gateway.void_credit_note(provider_id, key), f"cn:{sent.entity_id}:void:{sent.key_version}"
        )
    except ProviderKeyRefused:
        raise
    except ProviderRejected as error:
        if link.gateway.get_credit_note(provider_id).status != "void":
            raise Conflict(
                "credit_note_settled",
                "Stripe does not void this credit note: its invoice is paid, or it gave money back.",
                hint="Bill the amount again on a new invoice.",
            ) from error


def _follow_its_invoice(ledger: Ledger, scope: Scope, link: Link, invoice_id: str, now: datetime) -> None:
    with ledger.read() as session:
        mapping = mappings.get_mapping(session, scope, link.connection.id, INVOICE, invoice_id)
    if mapping is not None and mapping.provider_id is not None:
        follow(ledger, scope, link, invoice_id, mapping.provider_id, now)


def sent_amount(note: CreditNoteRecord) -> Decimal:
    """What the provider is told of: credit that goes back to grants was no part of its invoice."""
    return EXACT.subtract(note.total, note.credit_returned)


def _rates_at_provider(link: Link, note: CreditNoteRecord, seen: ProviderInvoice) -> Mapping[TaxRate, str]:
    """The rates that stand on the provider's invoice, and their ids there: a note names them by these."""
    if not any(tax.amount for line in note.lines for tax in line.taxes):
        return {}
    lines = link.gateway.get_invoice_lines(seen.id, note.currency)
    return {tax.rate: tax.rate_id for line in lines for tax in line.taxes if tax.rate is not None}
