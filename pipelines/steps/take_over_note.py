"""Use case: a credit note that was issued at the provider alone becomes one of ours.

The provider's invoice asks for less since then, or money was given back, so the books have to say it too. The note here
says what the provider's says: its total to the last unit, what it took off the amount due, what it gave back. It has a
number of ours and moves no money: the refunds that the provider's note names are recorded, and what went to the
customer's balance there, or was given back elsewhere, is recorded as given back outside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from billing.credit_note import LineAmount, Settlement
from billing.errors import Conflict, InvalidInput
from billing.exact import EXACT
from billing.money import from_minor
from billing.ports import ProviderInvoiceLine
from billing.refund_port import LinkedRefund, ProviderCreditNote, ProviderNoteLine, ProviderRefund
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import customers, invoices, mappings
from ledger.store.credit_notes import CreditNoteRecord
from ledger.store.invoice_numbers import hold_note_numbers
from pipelines.steps import credit_invoice, provider_mapping, refund_payment
from pipelines.steps.connections import PROVIDER, Link
from pipelines.steps.credit_invoice import ENTITY, CreditNotePreview, NewCreditNote

__all__ = ["take_over"]

_LONGEST_REASON = 255


@dataclass(frozen=True)
class _Seen:
    """A note of the provider's with all that it names: `items` are its lines as lines of ours, None where some are
    none."""

    note: ProviderCreditNote
    refunds: Sequence[tuple[LinkedRefund, ProviderRefund]]
    items: Sequence[LineAmount] | None


def take_over(
    ledger: Ledger, scope: Scope, link: Link, invoice_id: str, note: ProviderCreditNote, now: datetime
) -> None:
    """Issues our note for the provider's and maps the two, in one transaction; one that is mapped stays.

    The invoice's payments are booked already. Conflict `credit_note_not_in_step` where the books cannot say the same,
    as when a note of ours is on its way; and the errors of `issue_note`: then a person decides. ProviderUnavailable.
    """
    lines = link.gateway.get_credit_note_lines(note.id, note.currency)
    billed = link.gateway.get_invoice_lines(note.invoice_id, note.currency)
    named = [(each, link.gateway.get_refund(each.refund_id)) for each in note.refunds]
    seen = _Seen(note, named, _items(lines, billed, note.total))
    detail = {"status": "issued", "made_at": PROVIDER, "account": link.connection.account_id}

    def write(session: Session) -> None:
        month = hold_note_numbers(session, scope, now)
        customers.hold_customer(session, scope, invoices.customer_of(session, scope, invoice_id))
        provider_mapping.hold_invoice(session, scope, invoice_id)
        connection_id = link.connection.id
        if mappings.by_provider_id(session, scope, connection_id, ENTITY, note.id) is None:
            made = _issue(session, scope, invoice_id, seen, month, now)
            mappings.intend(session, scope, connection_id, ENTITY, made.id, now)
            mappings.record(
                session,
                scope,
                connection_id,
                ENTITY,
                made.id,
                state="done",
                provider_id=note.id,
                detail=detail,
                now=now,
            )

    ledger.run(write)


def _items(
    lines: Sequence[ProviderNoteLine], billed: Sequence[ProviderInvoiceLine], total: Decimal
) -> list[LineAmount] | None:
    """The lines of a provider's note as amounts of our lines; None unless each takes back one, and all add up."""
    ours = {line.id: line.line_id for line in billed}
    named = [(ours.get(line.invoice_line_id or ""), line.amount) for line in lines]
    items = [LineAmount(line_id, amount) for line_id, amount in named if line_id is not None and amount > 0]
    whole = sum((amount for _, amount in named), Decimal(0)) == total
    return items if whole and len(items) == len(named) == len({item.line_id for item in items}) else None


def _issue(session: Session, scope: Scope, invoice_id: str, seen: _Seen, month: str, now: datetime) -> CreditNoteRecord:
    note, invoice = seen.note, invoices.get_invoice(session, scope, invoice_id)
    if note.currency != invoice.currency.upper():
        raise _not_in_step(f"It is in {note.currency}, the invoice in {invoice.currency}.")
    if note.pre_payment > invoice.amount_remaining:
        raise _not_in_step(f"It took {note.pre_payment:f} off, and {invoice.amount_remaining:f} were still due here.")
    reason = f"issued at Stripe: {note.memo}" if note.memo else "issued at Stripe"
    wanted = NewCreditNote(invoice_id, reason[:_LONGEST_REASON], note.total, settle_as="refund")
    found = _worked_out(session, scope, wanted, seen.items)
    settlement = Settlement(note.pre_payment, from_minor(0, invoice.currency), note.post_payment)
    made = CreditNotePreview(invoice, found.lines, settlement, found.total)
    issued = credit_invoice.write_note(session, scope, wanted, made, month, PROVIDER, now)
    left = note.post_payment
    for part, refund in seen.refunds:
        if part.amount != refund.amount:
            raise _not_in_step(f"It names {part.amount:f} of the refund {refund.id}, which is of {refund.amount:f}.")
        refund_payment.take_over(session, scope, issued, refund, now)
        left = EXACT.subtract(left, part.amount)
    if left > 0 and refund_payment.record_outside(session, scope, issued, left, now) > 0:
        raise _not_in_step(f"{left:f} were given back in other ways than refunds, and no payment here holds so much.")
    return issued


def _worked_out(
    session: Session, scope: Scope, wanted: NewCreditNote, items: Sequence[LineAmount] | None
) -> CreditNotePreview:
    """By the lines that the note names; spread over what is left where these hold less here."""
    if items is not None:
        by_line = NewCreditNote(wanted.invoice_id, wanted.reason, items=items, settle_as=wanted.settle_as)
        try:
            return credit_invoice.preview_note(session, scope, by_line)
        except InvalidInput:
            pass
    return credit_invoice.preview_note(session, scope, wanted)


def _not_in_step(why: str) -> Conflict:
    return Conflict(
        "credit_note_not_in_step",
        f"The credit note of Stripe's Dashboard cannot be taken over. {why}",
        hint="Void it at Stripe, and issue it here.",
    )
