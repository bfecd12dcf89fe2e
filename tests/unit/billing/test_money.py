"""Amounts: the currency's decimals, rounding, minor units, splitting."""

from decimal import Decimal

import pytest

from billing.currency import EXPONENTS, WITHDRAWN
from billing.errors import InvalidInput
from billing.money import allocate, currency_code, currency_in_use, exponent, from_minor, round_amount, to_minor
from billing.price import parse_price
from billing.rating import rate


@pytest.mark.parametrize(
    ("currency", "decimals"),
    [("USD", 2), ("usd", 2), ("JPY", 0), ("KRW", 0), ("UGX", 0), ("ISK", 0), ("KWD", 3), ("TND", 3), ("CLF", 4)],
)
def test_M2_each_currency_has_the_decimals_of_iso_4217(currency: str, decimals: int) -> None:
    assert exponent(currency) == decimals


def test_M2_all_currencies_in_use_are_known() -> None:
    assert len(EXPONENTS) == 171
    assert {"EUR", "XCG", "ZWG", "SLE", "VED", "MRU", "STN", "BYN", "XOF"} <= set(EXPONENTS)


def test_M2_every_exponent_that_is_not_two_is_the_one_of_iso_4217() -> None:
    """List one of SIX as of 2026-01-01; all other codes with minor units have two decimals."""
    by_exponent: dict[int, set[str]] = {}
    for code, decimals in EXPONENTS.items():
        by_exponent.setdefault(decimals, set()).add(code)
    assert by_exponent.keys() == {0, 2, 3, 4}
    assert " ".join(sorted(by_exponent[0])) == ("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF")
    assert by_exponent[3] == {"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"}
    assert by_exponent[4] == {"CLF", "UYW"}


@pytest.mark.parametrize("currency", ["BOV", "CHE", "CHW", "CLF", "COU", "MXV", "USN", "UYI", "UYW"])
def test_funds_codes_have_minor_units_and_are_money_to_bill_in(currency: str) -> None:
    assert currency_in_use(currency) == currency


@pytest.mark.parametrize("currency", ["XAU", "XAG", "XPT", "XPD", "XDR", "XSU", "XUA", "XBA", "XTS", "XXX"])
def test_metals_baskets_and_test_codes_are_no_money_to_bill_in(currency: str) -> None:
    with pytest.raises(InvalidInput, match="is not an ISO 4217 currency"):
        rate(parse_price({"pricing_model": "flat", "amount": "1.005"}), Decimal(1), currency)


@pytest.mark.parametrize("currency", WITHDRAWN)
def test_nothing_new_is_priced_in_a_withdrawn_currency_and_an_old_invoice_stays_readable(currency: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        currency_in_use(currency.lower())
    assert (caught.value.code, caught.value.field) == ("currency_withdrawn", "currency")
    assert currency_in_use((caught.value.hint or "")[:3]) not in WITHDRAWN
    assert exponent(currency) == 2


@pytest.mark.parametrize("currency", ["", "US", "XXX", "XAU", "EURO", "ΕUR", None])
def test_an_unknown_currency_is_refused(currency: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        currency_code(currency)
    assert (caught.value.code, caught.value.field) == ("unknown_currency", "currency")


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        ("0.005", "USD", "0.01"),
        ("-0.005", "USD", "-0.01"),
        ("0.0049999999", "USD", "0.00"),
        ("-0.001", "USD", "0.00"),
        ("2.675", "EUR", "2.68"),
        ("1.0005", "KWD", "1.001"),
        ("-0.5", "JPY", "-1"),
        ("7", "USD", "7.00"),
    ],
)
def test_M2_amounts_round_half_away_from_zero(amount: str, currency: str, rounded: str) -> None:
    assert str(round_amount(Decimal(amount), currency)) == rounded


def test_minor_units_are_whole_or_refused() -> None:
    assert to_minor(Decimal("12.3000"), "USD") == 1230
    assert to_minor(Decimal("-0.007"), "BHD") == -7
    for amount in ("0.001", "1E-30", "NaN"):
        with pytest.raises(InvalidInput) as caught:
            to_minor(Decimal(amount), "USD")
        assert caught.value.field == "amount"
    assert str(from_minor(1230, "USD")) == "12.30"


def test_M2_a_split_never_loses_a_cent() -> None:
    parts = allocate(Decimal("0.10"), [Decimal(1)] * 3, "USD")
    assert [str(part) for part in parts] == ["0.04", "0.03", "0.03"]


def test_M2_a_weight_of_zero_gets_nothing() -> None:
    parts = allocate(Decimal("0.01"), [Decimal(0), Decimal(1), Decimal(1)], "USD")
    assert [str(part) for part in parts] == ["0.00", "0.01", "0.00"]


@pytest.mark.parametrize(
    ("amount", "weights", "code"),
    [
        ("1.00", ["1", "-1"], "bad_weights"),
        ("1.00", ["0", "0"], "bad_weights"),
        ("1.00", [], "bad_weights"),
        ("1.005", ["1"], "not_in_minor_units"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(amount: str, weights: list[str], code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        allocate(Decimal(amount), [Decimal(weight) for weight in weights], "USD")
    assert caught.value.code == code


def test_nothing_can_be_split_even_by_nothing() -> None:
    assert allocate(Decimal(0), [], "USD") == []
    assert allocate(Decimal(0), [Decimal(0)], "USD") == [Decimal("0.00")]
