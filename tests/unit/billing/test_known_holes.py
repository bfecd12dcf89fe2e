"""Mistakes that billing systems are known for, each with the case in which it would cost money."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from billing.adjustments.adjust import InvoiceTerms, TaxTerms, adjust
from billing.adjustments.discount import amount_off, percent_off
from billing.errors import InvalidInput
from billing.money import allocate, round_amount, to_minor
from billing.period import Period, Schedule, parse_interval
from billing.price import parse_price
from billing.proration import prorate
from billing.rating import rate
from billing.subscription import periods_ending_in
from tests.support.ledger_rows import a_line


def tiered(*tiers: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {"pricing_model": "tiered", "tiers": list(tiers), **other}


def total(spec: dict[str, Any], quantity: str, currency: str = "USD") -> str:
    return str(rate(parse_price(spec), Decimal(quantity), currency).total)


def test_tiers_without_an_open_end_are_refused_so_nothing_past_the_last_bound_is_free() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_price(tiered({"up_to": 10, "unit_price": 1}, {"up_to": 20, "unit_price": 1}))
    assert (caught.value.code, caught.value.field) == ("tiers_not_open", "tiers[1].up_to")
    assert (
        total(tiered({"up_to": 10, "unit_price": 1}, {"up_to": None, "unit_price": 1}), "1e15")
        == "1" + "0" * 15 + ".00"
    )


@pytest.mark.parametrize("bounds", [(10, 10), (10, 5), ("10.0", "10")])
def test_tiers_cannot_overlap_and_have_no_field_that_could_leave_a_gap(bounds: tuple[Any, Any]) -> None:
    open_end = {"up_to": None, "unit_price": 1}
    with pytest.raises(InvalidInput) as caught:
        parse_price(tiered(*({"up_to": bound, "unit_price": 1} for bound in bounds), open_end))
    assert (caught.value.code, caught.value.field) == ("tiers_not_ordered", "tiers[1].up_to")
    with pytest.raises(InvalidInput, match="not a known field"):
        parse_price(tiered({"from": 0, "up_to": 10, "unit_price": 1}, {"from": 12, **open_end}))


def test_usage_between_two_whole_bounds_is_billed() -> None:
    spec = tiered({"up_to": 5, "unit_price": 1}, {"up_to": None, "unit_price": 10})
    assert (total(spec, "5"), total(spec, "5.001"), total(spec, "5.5")) == ("5.00", "5.01", "10.00")


def test_a_tiered_price_without_a_mode_is_graduated_and_not_free() -> None:
    spec = tiered({"up_to": 10, "unit_price": 2}, {"up_to": None, "unit_price": 1})
    assert (total(spec, "15"), total(spec | {"tier_mode": None}, "15")) == ("25.00", "25.00")
    assert total(spec | {"tier_mode": "volume"}, "15") == "15.00"


def test_a_tier_with_neither_price_nor_fee_is_refused_and_not_free() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_price(tiered({"up_to": 10}, {"up_to": None, "unit_price": 1}))
    assert caught.value.field == "tiers[0].unit_price"


def test_a_discount_never_takes_more_than_the_line() -> None:
    per_unit = {"pricing_model": "per_unit", "unit_price": "0.01"}
    assert total(per_unit | {"discount_percent": 100}, "3") == "0.00"
    with pytest.raises(InvalidInput, match="between 0 and 100"):
        parse_price(per_unit | {"discount_percent": "100.000000000001"})
    assert amount_off(Decimal("10.00"), Decimal("10.01"), "USD").amount == Decimal("0.00")
    assert percent_off(Decimal("0.01"), Decimal(50), "USD") == (Decimal("0.01"), Decimal("0.00"))


@pytest.mark.parametrize("currency", ["XXQ", "usdollar", "", "XAU"])
def test_an_unknown_currency_is_refused_and_not_taken_to_have_two_decimals(currency: str) -> None:
    price = parse_price({"pricing_model": "flat", "amount": "1"})
    for use in (
        lambda: rate(price, Decimal(1), currency),
        lambda: round_amount(Decimal(1), currency),
        lambda: allocate(Decimal(1), [Decimal(1)], currency),
        lambda: to_minor(Decimal(1), currency),
    ):
        with pytest.raises(InvalidInput, match="ISO 4217"):
            use()


@pytest.mark.parametrize(
    ("size", "quantity", "packages"),
    [
        pytest.param("0.1", "1.1", "11", id="1.1 / 0.1 is 11.000000000000002 in floats"),
        pytest.param("1", "9007199254740993", "9007199254740993", id="2^53 + 1 is even in floats"),
        pytest.param("1000", "2000.000000000001", "3", id="a hair past a package starts the next one"),
        pytest.param("1000", "0", "0", id="nothing used, nothing started"),
        pytest.param("0.000000000001", "99999999999999999999999999", "9" * 26 + "0" * 12, id="38 digits"),
    ],
)
def test_packages_are_counted_exactly(size: str, quantity: str, packages: str) -> None:
    spec = {"pricing_model": "package", "package_size": size, "package_price": "1"}
    assert total(spec, quantity, "JPY") == packages


def test_packages_of_a_quantity_that_never_ends_are_counted_exactly() -> None:
    thirds = {"divide_by": 3}
    spec = {"pricing_model": "package", "package_size": 1, "package_price": 1, "transform_quantity": thirds}
    assert (total(spec, "3", "JPY"), total(spec, "3.000000000001", "JPY")) == ("1", "2")


@pytest.mark.parametrize("share", [Fraction(-1, 31), Fraction(32, 31)])
def test_a_share_that_cannot_be_is_refused_and_never_becomes_the_full_amount(share: Fraction) -> None:
    flat = parse_price({"pricing_model": "flat", "amount": "31"})
    with pytest.raises(InvalidInput) as caught:
        rate(flat, Decimal(1), "USD", share)
    assert caught.value.field == "share"
    assert str(rate(flat, Decimal(1), "USD", Fraction(0)).total) == "0.00"


def test_a_service_that_reaches_past_its_period_is_not_billed_twice() -> None:
    full = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    longer = Period(full.start, datetime(2026, 3, 1, tzinfo=UTC))
    assert prorate(Decimal("31.00"), longer, full) == 31


def test_usage_until_an_immediate_cancel_is_in_the_last_period_and_nothing_after_it() -> None:
    monthly = Schedule(datetime(2026, 1, 1, tzinfo=UTC), parse_interval("P1M"))
    cancelled = datetime(2026, 2, 11, 12, tzinfo=UTC)
    year = datetime(2026, 1, 2, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    *_, last = periods_ending_in(monthly, cancelled, *year)
    assert (last.start, last.end) == (datetime(2026, 2, 1, tzinfo=UTC), cancelled)
    assert cancelled - timedelta(microseconds=1) in last
    assert cancelled not in last


def test_every_place_of_an_invoice_says_the_same_tax() -> None:
    # 0.5 % of each of three lines of 0.99 is nothing, of the invoice it is a cent.
    lines = [a_line("price_1", f"line{number}", "0.99") for number in range(3)]
    tax = TaxTerms("tax_1", "Levy", Decimal("0.5"), inclusive=False)
    invoice = adjust(lines, InvoiceTerms(taxes=(tax,)), "USD")
    assert [str(amount) for amount in (invoice.tax_total, invoice.taxes[0].amount, invoice.total)] == [
        "0.01",
        "0.01",
        "2.98",
    ]
    assert [str(line.tax) for line in invoice.lines] == ["0.01", "0.00", "0.00"]
    assert [str(line.taxes[0].amount) for line in invoice.lines] == ["0.01", "0.00", "0.00"]
