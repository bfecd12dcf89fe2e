"""Credit notes that somebody asks for at random, as the API issues them."""

import random
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing.errors import Conflict
from billing.invoice import InvoiceStatus
from billing.money import from_minor, to_minor
from ledger.store import credit_notes
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.credit_invoice import NewCreditNote, issue_note, preview_note
from tests.support.billed_case import BilledCase
from tests.support.invoice_model.credit_notes import NoteLine
from tests.support.invoice_model.life import AskedNote


@dataclass(frozen=True)
class Note:
    """A credit note that was asked for at a moment: over an amount, or over all that was left."""

    at: datetime
    note_id: str
    invoice_id: str
    amount: Decimal | None


def credit_something(billed: BilledCase, r: random.Random, now: datetime) -> Note | None:
    """A note on one of the final invoices, over some or all that is left of it; None where nothing is."""
    fit = [invoice for invoice in billed.invoices() if _may_be_credited(invoice)]
    if not fit:
        return None
    invoice = r.choice(fit)
    with billed.ledger.read() as session:
        try:
            left = preview_note(session, billed.scope, NewCreditNote(invoice.id, "out of order")).total
        except Conflict as error:
            if error.code != "nothing_left":
                raise
            # A settlement has given back what notes have left.
            return None
    amount = None
    if r.random() < 0.6:
        amount = from_minor(r.randint(1, to_minor(left, invoice.currency)), invoice.currency)
    with billed.ledger.begin() as session:
        made = issue_note(session, billed.scope, NewCreditNote(invoice.id, "out of order", amount), "tests", now)
    return Note(now, made.id, invoice.id, amount)


def _may_be_credited(invoice: InvoiceRecord) -> bool:
    return invoice.status is InvoiceStatus.FINALIZED and invoice.total > invoice.amount_credited


def name_of_real(invoice: InvoiceRecord) -> str:
    """What `invoice_model.life.name_of` calls it."""
    return f"{invoice.billing_reason} {invoice.period.start.isoformat()}"


def as_asked(billed: BilledCase, notes: list[Note]) -> list[AskedNote]:
    """The same for the model."""
    names = {invoice.id: name_of_real(invoice) for invoice in billed.invoices()}
    return [
        AskedNote(note.at, names[note.invoice_id], None if note.amount is None else Fraction(note.amount))
        for note in notes
    ]


def notes_of(billed: BilledCase) -> dict[str, tuple[str, list[Any]]]:
    """Note id -> the name of its invoice, and its lines as `of_the_model` writes them."""
    every = billed.invoices()
    lines = {line.id: billed.key_of(line) for invoice in every for line in invoice.lines}
    with billed.ledger.read() as session:
        return {
            note.id: (name_of_real(invoice), [(lines[part.line_id], part.amount, part.net) for part in note.lines])
            for invoice in every
            if invoice.amount_credited
            for note in credit_notes.of_invoice(session, billed.scope, invoice.id)
        }


def of_the_model(note: list[NoteLine]) -> list[Any]:
    return [(part.key, part.amount, part.net) for part in note]
