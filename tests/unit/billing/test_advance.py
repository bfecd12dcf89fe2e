"""A flat price in advance: how it is written, and the line that settles it."""

from decimal import Decimal

import pytest

from billing.advance import Billed, Settlement, advance_key, is_true_up, settle, true_up, true_up_key
from billing.errors import InvalidInput
from billing.price import parse_price, price_to_json, revise_price

FLAT = {"pricing_model": "flat", "amount": "10.00"}


def test_a_flat_price_is_billed_in_arrears_unless_it_says_otherwise() -> None:
    assert not parse_price(FLAT).in_advance
    assert price_to_json(parse_price({**FLAT, "billing_timing": "IN_ARREARS"})) == FLAT
    advance = {**FLAT, "billing_timing": "in_advance"}
    assert parse_price(advance).in_advance
    assert price_to_json(parse_price(advance)) == advance


def test_a_version_may_change_the_timing_of_a_price() -> None:
    advance = revise_price(parse_price(FLAT), {"billing_timing": "in_advance"})
    assert advance.in_advance
    assert not revise_price(advance, {"billing_timing": None}).in_advance


@pytest.mark.parametrize(
    ("price", "code"),
    [
        ({"pricing_model": "per_unit", "unit_price": "1", "billing_timing": "in_advance"}, "field_not_for_model"),
        ({**FLAT, "billing_timing": "soon"}, "unknown_value"),
    ],
)
def test_usage_cannot_be_billed_in_advance(price: dict[str, str], code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_price(price)
    assert (refused.value.code, refused.value.field) == (code, "billing_timing")


@pytest.mark.parametrize(
    ("currency", "due", "billed", "amount"),
    [
        ("USD", ["15.50"], ["31.00"], "-15.50"),
        ("USD", ["21.00", "40.00"], ["31.00"], "30.00"),
        ("JPY", ["667"], ["1000"], "-333"),
        ("KWD", [], ["1.234"], "-1.234"),
        ("USD", ["31.00"], [], "31.00"),
    ],
)
def test_what_is_due_less_what_was_billed_is_one_line(
    currency: str, due: list[str], billed: list[str], amount: str
) -> None:
    line = true_up(Settlement(tuple(map(Decimal, due)), tuple(map(Decimal, billed))), currency)
    assert (line.total, line.unrounded, line.discount) == (Decimal(amount), Decimal(amount), 0)
    assert sum(row.amount for row in line.breakdown) == Decimal(amount)
    assert all(row.quantity * row.unit_price == row.amount for row in line.breakdown)


@pytest.mark.parametrize(
    ("currency", "due", "billed", "discount", "amount"),
    [
        # Half off 30.00, cancelled after one of thirty days: 15.00 were paid, 0.50 of them are used.
        ("USD", ["1.00"], ["30.00"], "15.00", "-14.50"),
        ("USD", [], ["30.00"], "30.00", "0.00"),
        ("USD", ["10.00"], ["20.00", "10.00"], "10.00", "-13.33"),
        ("JPY", ["1"], ["1000"], "333", "-666"),
        # More is due than was billed: what comes on top is discounted by the coupons of its own invoice.
        ("USD", ["40.00"], ["30.00"], "15.00", "10.00"),
    ],
)
def test_nobody_gets_back_more_than_was_paid_for_an_advance_with_a_coupon(
    currency: str, due: list[str], billed: list[str], discount: str, amount: str
) -> None:
    settlement = Settlement(tuple(map(Decimal, due)), tuple(map(Decimal, billed)), Decimal(discount))
    line = true_up(settlement, currency)
    assert (line.total, line.unrounded) == (Decimal(amount), Decimal(amount))
    assert sum(row.amount for row in line.breakdown) == Decimal(amount)
    assert all(row.quantity * row.unit_price + row.flat_fee == row.amount for row in line.breakdown)


def test_amounts_are_settled_price_by_price() -> None:
    found = settle(
        [("a", Decimal(1)), ("b", Decimal(2)), ("a", Decimal(3))],
        [
            Billed("a", Decimal(4), Decimal(1)),
            Billed("c", Decimal(5)),
            Billed("a", Decimal(0), Decimal(2), Decimal(7)),
        ],
    )
    assert found == {
        "a": Settlement((Decimal(1), Decimal(3)), (Decimal(4), Decimal(0)), Decimal(3), Decimal(7)),
        "b": Settlement((Decimal(2),), ()),
        "c": Settlement((), (Decimal(5),)),
    }
    assert [price_id for price_id, settlement in found.items() if not settlement.is_even] == ["b", "c"]


def test_keys_tell_what_a_line_is() -> None:
    assert advance_key("price_1@2024-10-11T00:00:00Z") == "price_1@2024-10-11T00:00:00Z~advance"
    assert is_true_up(true_up_key("price_1"))
    assert not is_true_up(advance_key("price_1"))
