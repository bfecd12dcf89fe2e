"""Rating: the order of the steps, the edges of tiers, and what stays exact until the line is rounded."""

import decimal
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from billing.errors import InvalidInput
from billing.price import Price, parse_price
from billing.rating import rate, rate_increment, rate_parts

GUIDE: dict[str, Any] = {
    "pricing_model": "tiered",
    "unit_price": "0.01",
    "tiers": [
        {"up_to": 1000, "unit_price": "0.01", "flat_fee": "10.00"},
        {"up_to": 10000, "unit_price": "0.008"},
        {"up_to": None, "unit_price": "0.005"},
    ],
}


def _per_unit(unit_price: str = "1", **more: Any) -> Price:
    return parse_price({"pricing_model": "per_unit", "unit_price": unit_price, **more})


def test_the_guides_own_price_at_15420_calls_is_119_10_graduated_and_77_10_volume() -> None:
    assert str(rate(parse_price(GUIDE), Decimal(15420), "USD").total) == "119.10"
    assert str(rate(parse_price({**GUIDE, "tier_mode": "volume"}), Decimal(15420), "USD").total) == "77.10"


def test_M4_the_breakdown_says_what_each_tier_came_to() -> None:
    rated = rate(parse_price(GUIDE), Decimal(15420), "USD")
    assert [tuple(map(str, use)) for use in rated.breakdown] == [
        ("1000", "1000", "0.01", "10.00", "20.00"),
        ("10000", "9000", "0.008", "0", "72.000"),
        ("None", "5420", "0.005", "0", "27.100"),
    ]
    assert sum(use.amount for use in rated.breakdown) == rated.unrounded == Decimal("119.1")


@pytest.mark.parametrize(
    ("quantity", "total"),
    [("0", "100.00"), ("5", "100.00"), ("5.001", "150.00"), ("10", "150.00"), ("10.001", "150.01")],
)
def test_a_tiers_fee_is_due_once_the_bound_before_it_is_passed(quantity: str, total: str) -> None:
    tiers = [{"up_to": 5, "flat_fee": 100}, {"up_to": 10, "flat_fee": 50}, {"up_to": None, "unit_price": "10"}]
    price = parse_price({"pricing_model": "tiered", "tiers": tiers})
    assert str(rate(price, Decimal(quantity), "USD").total) == total


@pytest.mark.parametrize(("quantity", "total"), [("5", "5.00"), ("5.001", "10.00")])
def test_the_bound_of_a_volume_tier_is_inside_it(quantity: str, total: str) -> None:
    tiers = [{"up_to": 5, "unit_price": 1}, {"up_to": None, "flat_fee": 10}]
    price = parse_price({"pricing_model": "tiered", "tier_mode": "volume", "tiers": tiers})
    assert str(rate(price, Decimal(quantity), "USD").total) == total


def test_free_units_come_off_after_the_conversion_and_before_the_packages() -> None:
    price = parse_price(
        {
            "pricing_model": "package",
            "package_size": "10",
            "package_price": "1",
            "free_units": "5",
            "transform_quantity": {"divide_by": "1000"},
        }
    )
    rated = rate(price, Decimal(15_001), "USD")
    assert (rated.metered_quantity, rated.billable_quantity, str(rated.total)) == (
        Decimal(15_001),
        Decimal("10.001"),
        "2.00",
    )


def test_discount_then_maximum_then_minimum() -> None:
    spec = {"discount_percent": "50", "maximum_amount": "40", "minimum_amount": "30"}
    price = _per_unit("1", **spec)
    assert [str(rate(price, Decimal(q), "USD").total) for q in (10, 70, 90)] == ["30.00", "35.00", "40.00"]


def test_M2_the_line_is_rounded_before_its_discount() -> None:
    rated = rate(_per_unit("0.015", discount_percent="50"), Decimal(1), "USD")
    assert (str(rated.unrounded), str(rated.rounded), str(rated.discount), str(rated.total)) == (
        "0.015",
        "0.02",
        "0.01",
        "0.01",
    )


def test_M2_a_line_is_rounded_once_and_not_per_tier() -> None:
    tiers = [{"up_to": 1, "unit_price": "0.004"}, {"up_to": 2, "unit_price": "0.004"}, {"up_to": None, "unit_price": 0}]
    rated = rate(parse_price({"pricing_model": "tiered", "tiers": tiers}), Decimal(2), "USD")
    assert str(rated.total) == "0.01"


def test_a_percentage_keeps_full_precision_until_the_line() -> None:
    rated = rate(parse_price({"pricing_model": "percentage", "rate": "2.9"}), Decimal("123.45"), "KWD")
    assert (str(rated.unrounded), str(rated.total)) == ("3.58005", "3.580")


def test_only_a_flat_price_is_prorated() -> None:
    flat = parse_price({"pricing_model": "flat", "amount": "31"})
    assert str(rate(flat, Decimal(1), "USD", Fraction(1, 3)).total) == "10.33"
    assert str(rate(flat, Decimal(0), "USD", Fraction(15, 31)).unrounded) == "15"
    per_unit = rate(_per_unit("10"), Decimal(3), "USD", Fraction(1, 3))
    assert (str(per_unit.total), per_unit.share) == ("30.00", None)


def test_a_share_is_exact_to_the_half_cent() -> None:
    flat = parse_price({"pricing_model": "flat", "amount": "0.03"})
    assert str(rate(flat, Decimal(1), "USD", Fraction(1, 6)).total) == "0.01"
    assert str(rate(flat, Decimal(1), "USD", Fraction(10**30, 6 * 10**30 + 1)).total) == "0.00"


def test_a_division_that_never_ends_is_still_exact() -> None:
    price = _per_unit("3600", transform_quantity={"divide_by": "3600"})
    rated = rate(price, Decimal(1), "USD")
    assert (rated.unrounded, str(rated.billable_quantity)) == (Decimal(1), "0.0002777777777778")
    tiers = [{"up_to": "0.5", "unit_price": 3}, {"up_to": None, "unit_price": 6}]
    third = parse_price({"pricing_model": "tiered", "tiers": tiers, "transform_quantity": {"divide_by": 3}})
    assert rate(third, Decimal(2), "USD").unrounded == Decimal("2.5")
    thousand = parse_price(
        {
            "pricing_model": "package",
            "package_size": "0.5",
            "package_price": 1,
            "free_units": 1,
            "transform_quantity": {"divide_by": 3},
        }
    )
    assert [str(rate(thousand, Decimal(q), "USD").total) for q in (3, 4, 5)] == ["0.00", "1.00", "2.00"]


@pytest.mark.parametrize("spec", [{"unit_price": "2"}, {"unit_price": "2", "free_units": "10"}], ids=["below", "free"])
def test_usage_below_zero_is_priced_as_none(spec: dict[str, Any]) -> None:
    rated = rate(_per_unit(**spec), Decimal(-3), "USD")
    assert (str(rated.total), rated.billable_quantity, rated.metered_quantity) == ("0.00", Decimal(0), Decimal(-3))


def test_M1_no_sum_depends_on_the_callers_decimal_context() -> None:
    price = parse_price({**GUIDE, "discount_percent": "12.5", "transform_quantity": {"divide_by": 7}})
    quantity = Decimal("123456789012345678.123456789012")
    expected = rate(price, quantity, "USD")
    with decimal.localcontext() as context:
        context.prec = 3
        context.rounding = decimal.ROUND_UP
        context.traps[decimal.Inexact] = True
        context.traps[decimal.Rounded] = True
        assert rate(price, quantity, "USD") == expected
        assert decimal.getcontext() is context


def test_M1_the_callers_context_is_given_back_after_a_refusal() -> None:
    before = decimal.getcontext()
    with pytest.raises(InvalidInput):
        rate(_per_unit(), Decimal(1), "XXX")
    assert decimal.getcontext() is before


@pytest.mark.parametrize("quantity", ["1E+999999", "1E-999999", "NaN", "Infinity"])
def test_a_quantity_that_cannot_be_exact_is_refused(quantity: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        rate(_per_unit(transform_quantity={"divide_by": 3}), Decimal(quantity), "USD")
    assert caught.value.field == "quantity"


def test_M1_a_float_quantity_is_refused() -> None:
    with pytest.raises(InvalidInput, match="float"):
        rate(_per_unit(), 1.5, "USD")  # type: ignore[arg-type]


def test_a_share_outside_zero_and_one_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        rate(parse_price({"pricing_model": "flat", "amount": 1}), Decimal(1), "USD", Fraction(3, 2))
    assert caught.value.field == "share"


def test_M5_late_usage_is_charged_as_if_it_had_been_in_time() -> None:
    increment = rate_increment(parse_price(GUIDE), Decimal(9_990), Decimal(10_010), "USD")
    assert increment.before is not None
    assert (str(increment.before.total), str(increment.after.total), str(increment.amount)) == (
        "91.92",
        "92.05",
        "0.13",
    )


def test_a_period_in_parts_sums_to_the_period_at_once() -> None:
    price = _per_unit("0.001", minimum_amount="0.50")
    parts = rate_parts(price, [Decimal(333), Decimal(333), Decimal(2)], "USD")
    assert [str(part.amount) for part in parts] == ["0.50", "0.17", "0.00"]
    assert sum(part.amount for part in parts) == rate(price, Decimal(668), "USD").total
