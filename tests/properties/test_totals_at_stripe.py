"""Promise S2 over random invoices: with any discounts, taxes and credit, Stripe's total is what is due here."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.adjustments.adjust import DiscountTerms, InvoiceTerms, TaxTerms, adjust
from billing.adjustments.credit import draw
from billing.invoice import BillingReason, InvoiceStatus, LineDraft, PaymentStatus
from billing.money import from_minor
from billing.one_off import OneOffItem, one_off_lines
from billing.period import Period
from billing.ports import NewCustomer
from billing.scope import Scope
from integrations.stripe.gateway import StripeGateway
from ledger.store.invoice_lines import LineRecord
from ledger.store.invoices import InvoiceRecord
from pipelines.steps import invoice_draft
from tests.support.stripe_in_process import gateway_in_process

DAY = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
SCOPE = Scope("ten_1", "env_1")
# Of idempotency keys: both tests talk to one sandbox.
NUMBERS = count()
CURRENCIES = st.sampled_from(["USD", "JPY", "KWD"])
# Most invoices are small, so that halves, remainders and what a discount leaves of a cent come up often.
MINORS = st.integers(-500, 3000) | st.integers(-(10**6), 10**7)


@st.composite
def terms(draw: st.DrawFn) -> InvoiceTerms:
    discounts = []
    for number in range(draw(st.integers(0, 3))):
        percent = draw(st.none() | st.decimals("0.0001", 100, places=4))
        currency = None if percent is not None else draw(CURRENCIES)
        off = None if currency is None else from_minor(draw(st.integers(1, 10**4)), currency)
        discounts.append(DiscountTerms(f"disc_{number}", f"coupon_{number}", f"Off {number}", percent, off, currency))
    taxes = [
        TaxTerms(f"tax_{number}", f"Tax {number}", draw(st.decimals(0, 100, places=4)), draw(st.booleans()))
        for number in range(draw(st.integers(0, 3)))
    ]
    return InvoiceTerms(tuple(discounts), tuple(taxes))


@st.composite
def invoices(draw: st.DrawFn) -> InvoiceRecord:
    currency, wanted = draw(CURRENCIES), draw(terms())
    minors = draw(st.lists(MINORS, min_size=1, max_size=8))
    (one,) = one_off_lines([OneOffItem("Line", amount=from_minor(1, currency))], currency, DAY)
    amounts = [from_minor(minor, currency) for minor in minors]
    lines = [replace(one, key=f"k{n}", amount=amount, unrounded=amount) for n, amount in enumerate(amounts)]
    return _finalized(lines, wanted, currency, from_minor(draw(st.integers(0, 2000)), currency))


def _finalized(lines: list[LineDraft], wanted: InvoiceTerms, currency: str, credit: Decimal) -> InvoiceRecord:
    """The invoice that finalizing makes of these lines for a customer with some credit."""
    adjusted, nothing = adjust(lines, wanted, currency), from_minor(0, currency)
    drawn, applied = draw(adjusted.total, [("grant_1", credit)], currency)
    return InvoiceRecord(
        id="inv_1",
        customer_id="cus_1",
        subscription_id=None,
        billing_reason=BillingReason.MANUAL,
        number="INV-202601-00001",
        status=InvoiceStatus.FINALIZED,
        payment_status=PaymentStatus.PENDING,
        currency=currency,
        subtotal=adjusted.subtotal,
        discount_total=adjusted.discount_total,
        tax_total=adjusted.tax_total,
        total=adjusted.total,
        credits_applied=applied,
        amount_due=adjusted.amount_due - applied,
        amount_paid=nothing,
        amount_credited=nothing,
        pre_payment_credited=nothing,
        tax_rate_ids=None,
        discounts=adjusted.discounts,
        taxes=adjusted.taxes,
        credits=drawn,
        period=DAY,
        collection_method="charge_automatically",
        watermark=None,
        inputs_hash="h",
        code_version="1.0",
        finalized_at=DAY.end,
        paid_at=None,
        voided_at=None,
        void_reason=None,
        payment_details=None,
        stripe_hosted_invoice_url=None,
        invoice_pdf_url=None,
        metadata={},
        lines=tuple(LineRecord(**vars(line), id=f"line_{number}") for number, line in enumerate(adjusted.lines)),
        created_at=DAY.start,
    )


@cache
def stripe_account() -> tuple[StripeGateway, str]:
    gateway = gateway_in_process()
    return gateway, gateway.create_customer(NewCustomer("Acme", None, {}), "cus:1").id


def assert_same_total(invoice: InvoiceRecord, form: invoice_draft.Form) -> None:
    gateway, customer_id = stripe_account()
    key = f"{form}:{next(NUMBERS)}"
    request = invoice_draft.request_of(SCOPE, invoice, customer_id, 30, form)
    for coupon in invoice_draft.coupons_of(invoice, form):
        gateway.ensure_coupon(coupon, f"{key}:{coupon.id}")
    made = gateway.create_invoice(invoice_draft.new_invoice(request), f"{key}:create")
    gateway.add_lines(made.id, invoice.currency, invoice_draft.lines_of(invoice, form), f"{key}:lines")
    seen, lines = gateway.get_invoice(made.id), gateway.get_invoice_lines(made.id, invoice.currency)
    assert invoice_draft.difference(invoice, request, seen, lines) is None
    assert seen.total == invoice.amount_due


def _compare(examples: int) -> int:
    before = next(NUMBERS)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(invoices())
    def compare(invoice: InvoiceRecord) -> None:
        for form in {"plain", invoice_draft.natural_form(invoice)}:
            assert_same_total(invoice, form)

    compare()
    return next(NUMBERS) - before - 1


def test_S2_stripe_comes_to_our_total_for_any_invoice() -> None:
    assert _compare(60) >= 60


@pytest.mark.slow
def test_S2_stripe_comes_to_our_total_for_thousands_of_invoices() -> None:
    assert _compare(3000) >= 3000
