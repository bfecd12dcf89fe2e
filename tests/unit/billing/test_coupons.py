"""Coupons: their terms, the order in which they are taken off, and the periods that they count for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.adjustments.adjust import Adjusted, DiscountTerms, InvoiceTerms, TaxTerms, adjust
from billing.adjustments.coupon import CouponTerms, Duration, check_terms, within_first
from billing.errors import InvalidInput
from billing.one_off import OneOffItem, one_off_lines
from billing.period import Period, Schedule, parse_interval

DAY = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
TERMS = CouponTerms(Decimal(20), None, None, Duration.ONCE)


def percent(number: str) -> DiscountTerms:
    return DiscountTerms(f"disc_{number}", "coupon_1", "Off", percent_off=Decimal(number))


def fixed(number: str, currency: str = "USD") -> DiscountTerms:
    return DiscountTerms(f"disc_{number}", "coupon_1", "Off", amount_off=Decimal(number), currency=currency)


def made(amounts: list[str], *discounts: DiscountTerms, taxes: tuple[TaxTerms, ...] = ()) -> Adjusted:
    lines = one_off_lines([OneOffItem("Line", amount=Decimal(amount)) for amount in amounts], "USD", DAY)
    return adjust(lines, InvoiceTerms(discounts, taxes), "USD")


def test_each_coupon_applies_to_what_the_one_before_left() -> None:
    both = made(["100.00"], percent("20"), fixed("15.00"))
    assert ([str(each.amount) for each in both.discounts], str(both.total)) == (["20.00", "15.00"], "65.00")
    turned = made(["100.00"], fixed("15.00"), percent("20"))
    assert ([str(each.amount) for each in turned.discounts], str(turned.total)) == (["15.00", "17.00"], "68.00")


def test_M2_a_discount_is_split_over_the_lines_above_zero_and_never_takes_more_than_there_is() -> None:
    invoice = made(["10.00", "20.00", "-5.00"], fixed("10.00"))
    assert [str(line.discount) for line in invoice.lines] == ["3.33", "6.67", "0.00"]
    capped = made(["10.00", "-4.00"], fixed("50.00"))
    assert (str(capped.discount_total), str(capped.total)) == ("6.00", "0.00")


def test_an_amount_in_another_currency_does_not_apply_and_is_listed_so() -> None:
    (discount,) = made(["10.00"], fixed("5.00", "EUR")).discounts
    assert (discount.applies, str(discount.amount)) == (False, "0.00")


def test_taxes_are_counted_on_what_discounts_left() -> None:
    invoice = made(["100.00"], percent("10"), taxes=(TaxTerms("tax_1", "VAT", Decimal(19), False),))
    assert (str(invoice.tax_total), str(invoice.total)) == ("17.10", "107.10")


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"amount_off": Decimal(1)}, "percent_or_amount", "percent_off"),
        ({"percent_off": None}, "percent_or_amount", "percent_off"),
        ({"percent_off": Decimal("100.01")}, "out_of_range", "percent_off"),
        ({"percent_off": Decimal(0)}, "out_of_range", "percent_off"),
        ({"percent_off": None, "amount_off": Decimal(5)}, "currency_needed", "currency"),
        ({"percent_off": None, "amount_off": Decimal("0.001"), "currency": "USD"}, "not_in_minor_units", "amount_off"),
        ({"currency": "USD"}, "currency_not_allowed", "currency"),
        ({"duration": Duration.REPEATING}, "periods_needed", "periods"),
        ({"periods": 2}, "periods_not_allowed", "periods"),
    ],
)
def test_terms_that_make_no_sense_are_refused_by_their_field(changes: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_terms(replace(TERMS, **changes))
    assert (refused.value.code, refused.value.field) == (code, field)


def test_a_repeating_coupon_counts_the_first_periods_on_the_grid() -> None:
    schedule = Schedule(datetime(2026, 1, 31, tzinfo=UTC), parse_interval("P1M"))
    given = datetime(2026, 3, 15, tzinfo=UTC)
    period = schedule.period_at(schedule.start)
    counted = []
    while period.start < datetime(2026, 9, 1, tzinfo=UTC):
        if within_first(3, given, schedule, period):
            counted.append(period.start.strftime("%d %b"))
        period = schedule.period_at(period.end)
    assert counted == ["28 Feb", "31 Mar", "30 Apr"]
    assert within_first(1, schedule.start - timedelta(days=9), schedule, schedule.period_at(schedule.start))
