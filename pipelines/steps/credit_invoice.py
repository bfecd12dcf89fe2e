"""Use cases: a finalized invoice is credited, whole or in part, and a credit note is voided while nothing used it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from billing.adjustments.split import added
from billing.advance import gives_back, is_true_up
from billing.credit_note import CreditableLine, CreditedLine, LineAmount, Settlement, credited, less, settle, without
from billing.errors import Conflict, InvalidInput
from billing.exact import EXACT
from billing.invoice import InvoiceStatus, PaymentStatus
from billing.money import from_minor
from billing.scope import Scope
from ledger.store import audit, connections, credit_grants, credit_notes, customers, invoices, mappings, outbox
from ledger.store.credit_grants import NewGrant
from ledger.store.credit_notes import CreditNoteRecord
from ledger.store.invoice_numbers import hold_note_numbers, take_note_number
from ledger.store.invoices import InvoiceRecord
from pipelines.steps import refund_payment
from pipelines.steps.connections import PROVIDER
from pipelines.steps.invoice_parts import advance_lines, settling_invoice

__all__ = [
    "ENTITY",
    "WORK",
    "CreditNotePreview",
    "NewCreditNote",
    "check_voidable",
    "issue_note",
    "preview_note",
    "void_note",
    "write_note",
]

ENTITY = "credit_note"
# The outbox's name for sending the credit notes of an invoice to the provider.
WORK = "credit_notes.sync"


@dataclass(frozen=True)
class NewCreditNote:
    """All that is left unless an `amount` or `items` are given. `settle_as` credit or refund: what is done with money
    that has been paid."""

    invoice_id: str
    reason: str
    amount: Decimal | None = None
    items: Sequence[LineAmount] | None = None
    settle_as: str = "credit"


@dataclass(frozen=True)
class CreditNotePreview:
    """What a note would say; nothing is written."""

    invoice: InvoiceRecord
    lines: tuple[CreditedLine, ...]
    settlement: Settlement
    total: Decimal


def preview_note(session: Session, scope: Scope, wanted: NewCreditNote) -> CreditNotePreview:
    """The note as it would be issued now. Errors as for `issue_note`."""
    return _worked_out(session, scope, invoices.get_invoice(session, scope, wanted.invoice_id), wanted)


def issue_note(session: Session, scope: Scope, wanted: NewCreditNote, actor: str, now: datetime) -> CreditNoteRecord:
    """The note. It lowers what is still due, then returns credit that paid the invoice, then gives back what was paid.

    Where the invoice is at the provider, or may be, the outbox holds the note for it. Of two notes at once the second
    sees what the first has left. NotFound `invoice_not_found`; Conflict `invoice_not_finalized`, `nothing_left`,
    `already_refunded`; and the errors of `credited`.
    """
    month = hold_note_numbers(session, scope, now)
    customers.hold_customer(session, scope, invoices.customer_of(session, scope, wanted.invoice_id))
    invoice = invoices.hold(session, scope, wanted.invoice_id)
    note = write_note(session, scope, wanted, _worked_out(session, scope, invoice, wanted), month, actor, now)
    if note.credit_returned > 0:
        credit_grants.give_back(session, scope, invoice.id, note.credit_returned, now, credit_note_id=note.id)
    if note.paid_back > 0 and note.settle_as == "refund":
        refund_payment.settle_note(session, scope, note, note.paid_back, now)
    if note.paid_back > 0 and note.settle_as == "credit":
        kept = NewGrant(note.paid_back, note.currency, "credit_note", note.id, reason=note.number)
        credit_grants.grant(session, scope, invoice.customer_id, kept, now)
    if connections.active(session, scope, PROVIDER) is not None or _is_at_provider(session, scope, invoice.id):
        outbox.enqueue(session, scope, WORK, invoice.id, now)
    return note


def write_note(
    session: Session,
    scope: Scope,
    wanted: NewCreditNote,
    made: CreditNotePreview,
    month: str,
    actor: str,
    now: datetime,
) -> CreditNoteRecord:
    """The note with its number, and what it took off the amount due. The caller holds numbers, customer and invoice,
    and gives back what `made` says."""
    note = credit_notes.insert_note(
        session,
        scope,
        made.invoice,
        number=take_note_number(session, scope, month),
        reason=wanted.reason,
        lines=made.lines,
        settlement=made.settlement,
        settle_as=wanted.settle_as,
        now=now,
    )
    credited_now = invoices.record_credited(session, scope, made.invoice.id, note.total, note.pre_payment)
    _note_nothing_due(session, scope, credited_now, now)
    detail = {"number": note.number, "total": f"{note.total:f}", "invoice_id": made.invoice.id, "reason": note.reason}
    audit.write(session, scope, actor, "credit_note.issued", ENTITY, note.id, detail, now)
    return note


def check_voidable(session: Session, scope: Scope, note_id: str) -> CreditNoteRecord:
    """The note, held with its customer and its invoice, if nothing has used it; one that is void already as it is.

    NotFound `credit_note_not_found`; Conflict `credit_note_settled`: it returned credit, is refunded, settled the
    invoice, or counted when an advance was settled.
    """
    found = credit_notes.get_note(session, scope, note_id)
    customers.hold_customer(session, scope, found.customer_id)
    invoice = invoices.hold(session, scope, found.invoice_id)
    found = credit_notes.get_note(session, scope, note_id)
    if found.status == "void":
        return found
    settled = invoice.payment_status in {PaymentStatus.PAID, PaymentStatus.REFUNDED} and found.pre_payment > 0
    kept = credit_grants.grant_of(session, scope, "credit_note", found.id)
    if found.credit_returned > 0 or (found.paid_back > 0 and kept is None) or settled:
        raise Conflict(
            "credit_note_settled",
            "What this credit note gave back has been settled.",
            hint="Bill the amount again on a new invoice.",
        )
    _require_not_settled(session, scope, invoice, found)
    return found


def void_note(session: Session, scope: Scope, note_id: str, reason: str, actor: str, now: datetime) -> CreditNoteRecord:
    """The note, void: what it took off is due again. One that is void stays so. At the provider it is void already, or
    was never sent: `sync_credit_notes.void`.

    NotFound and Conflict of `check_voidable`; Conflict `credit_used` (its credit is spent).
    """
    found = check_voidable(session, scope, note_id)
    if found.status == "void":
        return found
    kept = credit_grants.grant_of(session, scope, "credit_note", found.id)
    if kept is not None:
        credit_grants.void_grant(session, scope, kept.id, now, unused=True)
    invoices.record_credited(session, scope, found.invoice_id, -found.total, -found.pre_payment)
    audit.write(session, scope, actor, "credit_note.voided", ENTITY, found.id, {"reason": reason}, now)
    return credit_notes.mark_void(session, scope, found.id, reason, now)


def _worked_out(session: Session, scope: Scope, invoice: InvoiceRecord, wanted: NewCreditNote) -> CreditNotePreview:
    if invoice.status != InvoiceStatus.FINALIZED:
        raise Conflict(
            "invoice_not_finalized",
            f"The invoice is {invoice.status.value}.",
            hint="Only a finalized invoice is credited; void or change a draft.",
        )
    if wanted.amount is not None and wanted.items is not None:
        raise InvalidInput("amount_or_lines", "takes either amount or lines", field="amount", hint="Send one of them.")
    issued = credit_notes.of_invoice(session, scope, invoice.id)
    settling = _settled_by(session, scope, invoice)
    left = _left(invoice, issued, settling)
    lines = credited(left, invoice.currency, amount=wanted.amount, items=wanted.items)
    if settling is not None:
        in_advance = {line.id for line in advance_lines(invoice)}
        lines = tuple(replace(line, settled=line.line_id in in_advance) for line in lines)
    total = added((line.amount for line in lines), invoice.currency)
    most = EXACT.subtract(invoice.total, invoice.amount_credited)
    if total > most:
        raise Conflict("nothing_left", f"{most:f} {invoice.currency} are left to credit.", hint="Send at most that.")
    returned = added((note.credit_returned for note in issued), invoice.currency)
    credit_left = EXACT.subtract(invoice.credits_applied, returned)
    settlement = settle(total, invoice.amount_remaining, credit_left, invoice.currency)
    if wanted.settle_as == "credit" and settlement.paid_back > 0:
        _require_not_refunded(session, scope, invoice, settlement.paid_back)
    return CreditNotePreview(invoice, lines, settlement, total)


def _left(
    invoice: InvoiceRecord, issued: Sequence[CreditNoteRecord], settling: InvoiceRecord | None
) -> list[CreditableLine]:
    """What is left of each line after the notes, and after what was given back when a period was settled."""
    on_top = frozenset(tax.terms.id for tax in invoice.taxes if not tax.terms.inclusive)
    left = {
        line.id: CreditableLine(line.id, EXACT.subtract(line.amount, line.discount), line.taxes, on_top)
        for line in invoice.lines
    }
    parts = [part for note in issued for part in note.lines]
    # What the settlement gave back is spread as the lines were then: a later note leaves it as it is.
    for part in (part for part in parts if not part.settled):
        left[part.line_id] = less(left[part.line_id], part)
    for line in settling.lines if settling is not None else ():
        if gives_back(line.key, line.amount):
            of_price = [left[each.id] for each in advance_lines(invoice) if each.price_id == line.price_id]
            for rest in without(of_price, -line.amount, invoice.currency):
                left[rest.line_id] = rest
    for part in (part for part in parts if part.settled):
        left[part.line_id] = less(left[part.line_id], part)
    return list(left.values())


def _settled_by(session: Session, scope: Scope, invoice: InvoiceRecord) -> InvoiceRecord | None:
    """The final invoice that has settled what this one bills in advance."""
    found = settling_invoice(session, scope, invoice)
    return found if found is not None and found.status is InvoiceStatus.FINALIZED else None


def _require_not_settled(session: Session, scope: Scope, invoice: InvoiceRecord, note: CreditNoteRecord) -> None:
    """A settlement gives back less where a note did already, and never changes: the note stays as well."""
    settling = _settled_by(session, scope, invoice)
    if settling is None:
        return
    noted = {part.line_id for part in note.lines if not part.settled}
    prices = {line.price_id for line in advance_lines(invoice) if line.id in noted}
    if any(is_true_up(line.key) and line.price_id in prices for line in settling.lines):
        raise Conflict(
            "credit_note_settled",
            f"Invoice {settling.number} ({settling.id}) gave back less of the advance because of this credit note.",
            hint="Bill the amount again on a new invoice.",
        )


def _require_not_refunded(session: Session, scope: Scope, invoice: InvoiceRecord, paid_back: Decimal) -> None:
    """Money that was refunded is not the customer's credit as well."""
    refunded = refund_payment.refunded_without_note(session, scope, invoice.id)
    if refunded > 0 and EXACT.add(paid_back, refunded) > invoice.amount_paid:
        raise Conflict(
            "already_refunded",
            f"{refunded:f} {invoice.currency} of this invoice were refunded.",
            hint='Send settle_as "refund": the note then takes up the refund that was made.',
        )


def _is_at_provider(session: Session, scope: Scope, invoice_id: str) -> bool:
    known = mappings.list_mappings(session, scope, entity="invoice", entity_id=invoice_id, limit=100).items
    return any("request" in mapping.detail for mapping in known)


def _note_nothing_due(session: Session, scope: Scope, invoice: InvoiceRecord, now: datetime) -> None:
    """An invoice of which nothing remains to be paid is paid."""
    if invoice.amount_remaining == from_minor(0, invoice.currency) and invoice.payment_status not in {
        PaymentStatus.PAID,
        PaymentStatus.REFUNDED,
    }:
        invoices.record_payment_state(
            session, scope, invoice.id, invoice.amount_paid, PaymentStatus.PAID, now, invoice.payment_details
        )
