"""Promise S2 over credit notes: Stripe's note comes to ours, to the last unit, with any discounts, taxes and credit."""

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from billing.credit_note import CreditableLine, credited, settle
from billing.money import from_minor, to_minor
from billing.ports import TaxRate
from integrations.stripe.mapping import not_collectable
from ledger.store.credit_notes import CreditNoteRecord
from ledger.store.invoices import InvoiceRecord
from pipelines.steps import invoice_draft
from pipelines.steps.note_lines import new_note, note_lines
from pipelines.steps.sync_credit_notes import sent_amount
from tests.properties.test_totals_at_stripe import DAY, NUMBERS, SCOPE, invoices, stripe_account


def a_note(invoice: InvoiceRecord, share: int | None) -> CreditNoteRecord | None:
    """A note over all of an invoice, or a share of it in percent; None where there is nothing to credit."""
    on_top = frozenset(tax.terms.id for tax in invoice.taxes if not tax.terms.inclusive)
    left = [CreditableLine(line.id, line.amount - line.discount, line.taxes, on_top) for line in invoice.lines]
    whole = sum((line.gross(invoice.currency) for line in left), Decimal(0))
    amount = None if share is None else from_minor(to_minor(whole, invoice.currency) * share // 100, invoice.currency)
    if whole <= 0 or amount == 0:
        return None
    lines = credited(left, invoice.currency, amount=amount)
    total = sum((line.amount for line in lines), Decimal(0))
    settled = settle(total, invoice.amount_to_collect, invoice.credits_applied, invoice.currency)
    return CreditNoteRecord(
        id="cn_1",
        invoice_id=invoice.id,
        customer_id=invoice.customer_id,
        number="CN-202601-00001",
        status="issued",
        reason="Outage",
        currency=invoice.currency,
        total=total,
        tax_total=sum((tax.amount for line in lines for tax in line.taxes), Decimal(0)),
        pre_payment=settled.pre_payment,
        credit_returned=settled.credit_returned,
        paid_back=settled.paid_back,
        settle_as="credit",
        lines=lines,
        voided_at=None,
        void_reason=None,
        created_at=DAY.end,
    )


def _compare(examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(invoices(), st.none() | st.integers(1, 100))
    def compare(invoice: InvoiceRecord, share: int | None) -> None:
        note = a_note(invoice, share)
        assume(note is not None and sent_amount(note) > 0)
        assume(invoice.amount_due > 0 and not_collectable(invoice.amount_due, invoice.currency) is None)
        assert note is not None
        gateway, customer_id = stripe_account()
        form, key = invoice_draft.natural_form(invoice), f"note:{next(NUMBERS)}"
        request = invoice_draft.request_of(SCOPE, invoice, customer_id, 30, form)
        for coupon in invoice_draft.coupons_of(invoice, form):
            gateway.ensure_coupon(coupon, f"{key}:{coupon.id}")
        made = gateway.create_invoice(invoice_draft.new_invoice(request), f"{key}:create")
        gateway.add_lines(made.id, invoice.currency, invoice_draft.lines_of(invoice, form), f"{key}:lines")
        gateway.finalize_invoice(made.id, auto_advance=False, key=f"{key}:finalize")
        rates: dict[TaxRate, str] = {
            tax.rate: tax.rate_id
            for line in gateway.get_invoice_lines(made.id, invoice.currency)
            for tax in line.taxes
            if tax.rate is not None
        }
        asked = {
            "invoice_id": made.id,
            "currency": invoice.currency,
            "amount": f"{sent_amount(note):f}",
            "lines": note_lines(invoice, note, rates),
            "refunds": [],
            "outside": "0",
            "memo": "Outage",
            "metadata": {},
        }
        assert asked["lines"]
        there = gateway.create_credit_note(new_note(asked), f"{key}:note")
        assert (there.total, there.pre_payment) == (sent_amount(note), note.pre_payment)

    compare()


def test_S2_stripes_credit_note_comes_to_ours_for_any_invoice() -> None:
    _compare(40)


@pytest.mark.slow
def test_S2_stripes_credit_note_comes_to_ours_for_hundreds_of_invoices() -> None:
    _compare(800)
