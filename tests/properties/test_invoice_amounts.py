"""An invoice's amounts agree to the last unit, whatever its lines, discounts and taxes are."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.adjustments.adjust import Adjusted, DiscountTerms, InvoiceTerms, TaxTerms, adjust
from billing.invoice import LineDraft
from billing.money import from_minor, round_amount, to_minor
from billing.one_off import OneOffItem, one_off_lines
from billing.period import Period

DAY = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
CURRENCIES = st.sampled_from(["JPY", "USD", "KWD"])
MINORS = st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=8)
PERCENT = st.decimals(0, 100, places=4)


def lines_of(minors: list[int], currency: str) -> tuple[LineDraft, ...]:
    (one,) = one_off_lines([OneOffItem("Line", amount=from_minor(1, currency))], currency, DAY)
    amounts = [from_minor(minor, currency) for minor in minors]
    return tuple(replace(one, key=f"k{n}", amount=amount, unrounded=amount) for n, amount in enumerate(amounts))


@st.composite
def terms(draw: st.DrawFn) -> InvoiceTerms:
    discounts = []
    for number in range(draw(st.integers(0, 3))):
        percent = draw(st.none() | st.decimals("0.0001", 100, places=4))
        currency = None if percent is not None else draw(CURRENCIES)
        off = None if currency is None else from_minor(draw(st.integers(1, 10**9)), currency)
        discounts.append(DiscountTerms(f"disc_{number}", f"coupon_{number}", "Coupon", percent, off, currency))
    taxes = [
        TaxTerms(f"tax_{number}", "Tax", draw(PERCENT), draw(st.booleans()))
        for number in range(draw(st.integers(0, 4)))
    ]
    return InvoiceTerms(tuple(discounts), tuple(taxes))


INVOICES = st.tuples(MINORS, terms(), CURRENCIES)


def made(case: tuple[list[int], InvoiceTerms, str]) -> tuple[Adjusted, str]:
    minors, wanted, currency = case
    return adjust(lines_of(minors, currency), wanted, currency), currency


@given(INVOICES)
def test_M2_every_discount_and_every_tax_is_the_sum_of_its_parts_on_the_lines(
    case: tuple[list[int], InvoiceTerms, str],
) -> None:
    invoice, currency = made(case)
    for at, discount in enumerate(invoice.discounts):
        assert sum(line.discounts[at].amount for line in invoice.lines) == discount.amount
    for at, tax in enumerate(invoice.taxes):
        assert sum(line.taxes[at].amount for line in invoice.lines) == tax.amount
    assert sum(line.discount for line in invoice.lines) == invoice.discount_total
    assert sum(line.tax for line in invoice.lines) == invoice.tax_total
    assert all(to_minor(part.amount, currency) is not None for line in invoice.lines for part in line.taxes)


@given(INVOICES)
def test_M2_the_total_is_the_lines_less_discounts_and_with_taxes_on_top(
    case: tuple[list[int], InvoiceTerms, str],
) -> None:
    invoice, _ = made(case)
    on_top = sum(tax.amount for tax in invoice.taxes if not tax.terms.inclusive)
    assert invoice.subtotal == sum(line.amount for line in invoice.lines)
    assert invoice.total == invoice.subtotal - invoice.discount_total + on_top


@given(INVOICES)
def test_a_discount_never_makes_less_than_nothing_of_an_invoice_or_a_line(
    case: tuple[list[int], InvoiceTerms, str],
) -> None:
    invoice, _ = made(case)
    assert 0 <= invoice.discount_total <= max(invoice.subtotal, 0)
    for line in invoice.lines:
        assert 0 <= line.discount <= max(line.amount, Decimal(0))
        assert line.discount == 0 or line.amount > 0


@given(INVOICES)
def test_taxes_have_the_sign_of_what_they_are_on(case: tuple[list[int], InvoiceTerms, str]) -> None:
    invoice, currency = made(case)
    left = invoice.subtotal - invoice.discount_total
    for tax in invoice.taxes:
        assert tax.amount * left >= 0
        if not tax.terms.inclusive:
            assert tax.amount == round_amount(tax.taxable * tax.terms.percentage / 100, currency)


@given(INVOICES)
def test_M3_adjusting_what_is_adjusted_changes_nothing(case: tuple[list[int], InvoiceTerms, str]) -> None:
    invoice, currency = made(case)
    assert adjust(invoice.lines, case[1], currency) == invoice


@given(MINORS, st.permutations([TaxTerms(f"tax_{n}", "", Decimal(n), n % 2 == 0) for n in range(1, 5)]), CURRENCIES)
def test_the_order_of_exclusive_taxes_changes_no_amount(
    minors: list[int], taxes: list[TaxTerms], currency: str
) -> None:
    exclusive = [tax for tax in taxes if not tax.inclusive]
    lines = lines_of(minors, currency)
    one, other = (adjust(lines, InvoiceTerms(taxes=tuple(some)), currency) for some in (exclusive, exclusive[::-1]))
    assert one.total == other.total
    assert set(one.taxes) == set(other.taxes)
