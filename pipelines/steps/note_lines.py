"""A credit note's lines in the form that the provider takes: amounts of ours that add up to what the note is there.

A line there is above zero. So what lines below zero and returned credit take off a note is taken off its other lines,
each its share, and their taxes are not named then: they would be more than what is credited there.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from billing.adjustments.split import added, split
from billing.credit_note import CreditedLine
from billing.exact import EXACT
from billing.money import from_minor
from billing.ports import TaxRate
from billing.refund_port import LinkedRefund, NewCreditNote, NewCreditNoteLine, NoteTax
from ledger.store.credit_notes import CreditNoteRecord
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.invoice_draft import rate_of

__all__ = ["MOST_LINES", "new_note", "note_lines"]

# More lines than this have the last ones summed up; ours keeps them all.
MOST_LINES = 200


def note_lines(invoice: InvoiceRecord, note: CreditNoteRecord, rates: Mapping[TaxRate, str]) -> list[dict[str, Any]]:
    """`description`, `amount` and `taxes` ([rate's id, amount, taxable amount]) of each line.

    `rates` are the provider's ids of those that stand on its invoice; taxes that do not are part of the amount.
    """
    names = {line.id: line.display_name for line in invoice.lines}
    asked = [line for line in note.lines if line.amount > 0]
    below = added((line.amount for line in note.lines if line.amount < 0), note.currency)
    off = EXACT.subtract(note.credit_returned, below)
    if off > 0:
        return _summed(_plain(asked, names, off, note.currency), note.currency)
    terms = {tax.terms.id: tax.terms for tax in invoice.taxes}
    ids = {name: rates.get(rate_of(each)) for name, each in terms.items()}
    taxed = all(ids.get(tax.id) for line in asked for tax in line.taxes if tax.amount)
    lines = []
    for each in asked:
        included = added((tax.amount for tax in each.taxes if terms[tax.id].inclusive), note.currency)
        taxable = EXACT.subtract(each.net, included)
        taxes = [[ids[tax.id], f"{tax.amount:f}", f"{taxable:f}"] for tax in each.taxes if taxed and tax.amount]
        amount = each.net if taxes else each.amount
        lines.append({"description": names[each.line_id], "amount": f"{amount:f}", "taxes": taxes})
    return _summed(lines, note.currency)


def new_note(request: Mapping[str, Any]) -> NewCreditNote:
    """The note that a written-down request asks for."""
    lines: Sequence[NewCreditNoteLine] = [
        NewCreditNoteLine(
            each["description"],
            Decimal(each["amount"]),
            [NoteTax(rate_id, Decimal(amount), Decimal(taxable)) for rate_id, amount, taxable in each["taxes"]],
        )
        for each in request["lines"]
    ]
    return NewCreditNote(
        invoice_id=request["invoice_id"],
        currency=request["currency"],
        amount=Decimal(request["amount"]),
        lines=lines,
        refunds=[LinkedRefund(refund_id, Decimal(part)) for refund_id, part in request["refunds"]],
        outside=Decimal(request["outside"]),
        memo=request["memo"],
        metadata=request["metadata"],
    )


def _plain(
    lines: Sequence[CreditedLine], names: Mapping[str, str], off: Decimal, currency: str
) -> list[dict[str, Any]]:
    """Gross, each less its share of what is taken off; those of which nothing is left are gone."""
    shares = split(off, [line.amount for line in lines], currency)
    rests = [EXACT.subtract(line.amount, share) for line, share in zip(lines, shares, strict=True)]
    return [
        {"description": names[line.line_id], "amount": f"{rest:f}", "taxes": []}
        for line, rest in zip(lines, rests, strict=True)
        if rest > 0
    ]


def _summed(lines: list[dict[str, Any]], currency: str) -> list[dict[str, Any]]:
    """As many lines as go, the last one standing for the rest, with each tax of these once."""
    if len(lines) <= MOST_LINES:
        return lines
    kept, rest = lines[: MOST_LINES - 1], lines[MOST_LINES - 1 :]
    nothing = from_minor(0, currency)
    taxes: dict[str, list[Decimal]] = {}
    for line in rest:
        for rate_id, *amounts in line["taxes"]:
            sums = taxes.get(rate_id, [nothing, nothing])
            taxes[rate_id] = [EXACT.add(known, Decimal(more)) for known, more in zip(sums, amounts, strict=True)]
    whole = {
        "description": f"{len(rest)} more lines",
        "amount": f"{added((Decimal(line['amount']) for line in rest), currency):f}",
        "taxes": [[rate_id, *(f"{amount:f}" for amount in amounts)] for rate_id, amounts in taxes.items()],
    }
    return [*kept, whole]
