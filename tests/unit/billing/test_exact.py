"""Decimals in and out: nothing inexact passes, nothing exact is refused."""

from decimal import Decimal
from typing import Any

import pytest

from billing.errors import InvalidInput
from billing.exact import canonical, format_decimal, parse_decimal


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("10.00", "10.00"),
        (1000, "1000"),
        (Decimal("0.008"), "0.008"),
        ("1e3", "1000"),
        (Decimal("1E+2"), "100"),
        ("-0.0", "0.0"),
        ("0E+500", "0"),
        ("+7", "7"),
        ("1.0000000000000000", "1.000000000000"),
        ("12345678901234567890123456.123456789012", "12345678901234567890123456.123456789012"),
    ],
)
def test_M1_a_number_is_read_as_it_was_written(value: str | int | Decimal, text: str) -> None:
    assert format_decimal(parse_decimal(value, "amount")) == text


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0.1, "not_a_decimal"),
        (True, "not_a_decimal"),
        (None, "not_a_decimal"),
        ("", "not_a_decimal"),
        (" 1", "not_a_decimal"),
        ("1_000", "not_a_decimal"),
        ("1,5", "not_a_decimal"),
        ("٣", "not_a_decimal"),
        ("NaN", "not_a_decimal"),
        ("Infinity", "not_a_decimal"),
        (Decimal("NaN"), "not_a_decimal"),
        (Decimal("-Infinity"), "not_a_decimal"),
        ("9" * 10_000, "not_a_decimal"),
        ("9" * 39, "too_many_digits"),
        (10**200, "too_many_digits"),
        ("1e9999", "too_many_digits"),
        (Decimal("1E+999999"), "too_many_digits"),
        ("1" * 27 + ".123456789012", "too_many_digits"),
        ("0.0000000000001", "too_many_decimals"),
        ("1e-9999", "too_many_decimals"),
    ],
)
def test_M1_what_is_not_an_exact_decimal_is_refused_by_its_field(value: Any, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_decimal(value, "prices[0].amount")
    assert (caught.value.code, caught.value.field) == (code, "prices[0].amount")


def test_M1_the_refusal_of_a_float_says_what_to_send_instead() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_decimal(1.5, "amount")
    assert "float" in caught.value.detail
    assert "string" in (caught.value.hint or "")


def test_a_bound_is_named_in_the_refusal() -> None:
    with pytest.raises(InvalidInput, match="must be between 0 and 100") as caught:
        parse_decimal("101", "discount_percent", minimum=Decimal(0), maximum=Decimal(100))
    assert caught.value.code == "out_of_range"


@pytest.mark.parametrize(("number", "text"), [("100", "100"), ("1.10", "1.1"), ("-0.000", "0"), ("-5E+1", "-50")])
def test_equal_numbers_have_one_canonical_text(number: str, text: str) -> None:
    assert canonical(Decimal(number)) == text
