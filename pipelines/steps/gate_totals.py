"""The gate `totals_match_lines`: each line is rated anew from the price version and quantity it names, and added up."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from billing.adjustments.adjust import adjust
from billing.line_adjustment import adjustment_again
from billing.money import format_decimal
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import invoices
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.billing_day import Due
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.drafts import Draft, customer_of_draft, draft_failure, drafts_of, due_of_draft, scope_of_draft
from pipelines.steps.facts import Facts
from pipelines.steps.gate_invoices import Gate, GateReport, Outcome, store_outcomes
from pipelines.steps.invoice_hash import invoice_hash
from pipelines.steps.invoice_parts import parts_of_invoice
from pipelines.steps.isolation import Worked, apart, in_batches
from pipelines.steps.one_off_invoice import one_off_lines_again
from pipelines.steps.plan_prices import Catalog
from pipelines.steps.recorded_parts import rated_lines, recorded_parts

__all__ = ["check_one_off", "gate_totals"]


def gate_totals(
    ledger: Ledger, start: datetime, end: datetime, now: datetime, chosen: Chosen = EVERYTHING
) -> GateReport:
    """Check every draft whose period ends in [start, end) and keep the results."""
    with ledger.read() as session:
        drafts = drafts_of(session, start, end, now, chosen)

    def check(session: Session, scope: Scope, items: Sequence[Draft]) -> Worked[Outcome]:
        # Read again: another run may have priced them since they were listed.
        found = invoices.invoices_of(session, scope, {draft.id for _, draft in items})
        facts = Facts(session, scope, Catalog())
        facts.expect_subscriptions({draft.subscription_id for _, draft in items if draft.subscription_id is not None})
        looked, failures = apart(items, lambda item: _look(facts, found[item[1].id]), draft_failure)
        facts.expect([due for _, (_, due) in looked])
        checked, not_checked = apart(
            looked, lambda one: _checked(facts, *one[1]), lambda one, error: draft_failure(one[0], error)
        )
        outcomes = [outcome for _, outcome in checked]
        return store_outcomes(session, scope, outcomes, now), [*failures, *not_checked]

    outcomes, failures = in_batches(ledger, drafts, scope_of_draft, check, draft_failure, customer_of_draft)
    return GateReport(tuple(outcomes), tuple(failures))


def _look(facts: Facts, invoice: InvoiceRecord) -> tuple[InvoiceRecord, Due]:
    facts.put_invoice(invoice)
    return invoice, due_of_draft(facts, invoice)


def _checked(facts: Facts, invoice: InvoiceRecord, due: Due) -> Outcome:
    return _outcome(facts.scope, invoice, list(_problems(facts, invoice, due)))


def check_one_off(scope: Scope, invoice: InvoiceRecord) -> Outcome:
    """The same gate's result on an invoice that was made by hand; the caller keeps it."""
    again = one_off_lines_again(invoice)
    problems = [
        f"{line.key}: made anew the amount is {new.amount}, not {line.amount}"
        for line, new in zip(invoice.lines, again, strict=True)
        if (line.amount, line.unrounded) != (new.amount, new.unrounded)
    ]
    return _outcome(scope, invoice, [*problems, *_sum_problems(invoice)])


def _outcome(scope: Scope, invoice: InvoiceRecord, problems: list[str]) -> Outcome:
    detail = {"total": format_decimal(invoice.total), "lines": len(invoice.lines), "problems": problems}
    return Outcome(Gate.TOTALS_MATCH_LINES, scope, invoice.id, invoice_hash(invoice), not problems, detail)


def _problems(facts: Facts, invoice: InvoiceRecord, due: Due) -> Iterator[str]:
    if invoice.inputs_hash is None:
        yield "the draft is not priced"
        return
    if [part.key for part in parts_of_invoice(facts, due)] != [line.key for line in invoice.own_lines]:
        yield "the lines are not the prices of the plan"
    recorded = {(each.price_id, each.segment_start): each.quantity for each in facts.quantities_of(due)}
    for line in invoice.lines:
        key = (line.price_id or "", line.period.start)
        if line.price_type == "usage" and recorded.get(key) != line.quantity:
            yield f"{line.key}: the quantity is not the recorded one"
    again = rated_lines(invoice, recorded_parts(facts, due, invoice), due.subscription.schedule())
    for line, rated in zip(invoice.own_lines, again, strict=True):
        if (rated.total, rated.unrounded) != (line.amount, line.unrounded):
            yield f"{line.key}: rated anew the amount is {rated.total}, not {line.amount}"
    yield from _adjustment_problems(invoice)
    yield from _sum_problems(invoice)


def _adjustment_problems(invoice: InvoiceRecord) -> Iterator[str]:
    """Each adjustment is what is due less what was billed."""
    for line in invoice.adjustment_lines:
        again = adjustment_again(line)
        if (again.amount, again.unrounded) != (line.amount, line.unrounded):
            yield f"{line.key}: due less billed is {again.amount}, not {line.amount}"


def _sum_problems(invoice: InvoiceRecord) -> Iterator[str]:
    adjusted = adjust(invoice.lines, invoice.terms, invoice.currency)
    for name in ("subtotal", "discount_total", "tax_total", "total", "amount_due"):
        found, stored = getattr(adjusted, name), getattr(invoice, name)
        if found != stored:
            yield f"{name}: the lines make {found}, the invoice says {stored}"
    for discount, discount_again in zip(invoice.discounts, adjusted.discounts, strict=True):
        if discount != discount_again:
            yield f"{discount.terms.name}: made anew it is {discount_again.amount}, not {discount.amount}"
    for tax, tax_again in zip(invoice.taxes, adjusted.taxes, strict=True):
        if tax != tax_again:
            yield f"{tax.terms.name}: made anew it is {tax_again.amount}, not {tax.amount}"
    for line, again_line in zip(invoice.lines, adjusted.lines, strict=True):
        if line != again_line:
            yield f"{line.key}: its parts of discounts and taxes are others"
