"""Money is never made or lost: splits sum to the whole, rounding moves by half a unit at most."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from billing.adjustments.discount import percent_off
from billing.adjustments.tax import exclusive
from billing.currency import EXPONENTS
from billing.money import allocate, exponent, from_minor, round_amount, to_minor

CURRENCIES = st.sampled_from(sorted(EXPONENTS))
WEIGHTS = st.lists(
    st.one_of(st.decimals(0, 10**9, places=6), st.integers(0, 10**38 - 1).map(Decimal)), min_size=1, max_size=12
).filter(any)
AMOUNTS = st.decimals(-(10**15), 10**15, places=6)


@given(st.integers(-(10**18), 10**18), WEIGHTS, CURRENCIES)
def test_M2_the_parts_sum_to_the_whole(minor: int, weights: list[Decimal], currency: str) -> None:
    amount = from_minor(minor, currency)
    parts = allocate(amount, weights, currency)
    assert sum(to_minor(part, currency) for part in parts) == minor
    assert len(parts) == len(weights)


@given(st.integers(-(10**18), 10**18), WEIGHTS, CURRENCIES)
def test_M2_no_part_is_a_unit_away_from_its_share(minor: int, weights: list[Decimal], currency: str) -> None:
    whole = sum(map(Fraction, weights))
    for part, weight in zip(allocate(from_minor(minor, currency), weights, currency), weights, strict=True):
        assert abs(to_minor(part, currency) - minor * Fraction(weight) / whole) < 1


@given(AMOUNTS, CURRENCIES)
def test_M2_rounding_moves_by_half_a_unit_at_most_and_only_once(amount: Decimal, currency: str) -> None:
    rounded = round_amount(amount, currency)
    assert abs(Fraction(rounded) - Fraction(amount)) * 10 ** exponent(currency) <= Fraction(1, 2)
    assert round_amount(rounded, currency) == rounded == from_minor(to_minor(rounded, currency), currency)
    assert round_amount(-amount, currency) == -rounded
    assert round_amount(Fraction(amount), currency) == rounded


@given(AMOUNTS, st.decimals(0, 100, places=4), CURRENCIES)
def test_M2_a_discount_and_what_is_left_make_the_amount(amount: Decimal, percent: Decimal, currency: str) -> None:
    discount, left = percent_off(amount, percent, currency)
    assert discount + left == round_amount(amount, currency)
    assert discount >= 0


@given(AMOUNTS, st.lists(st.decimals(0, 50, places=3), max_size=4), CURRENCIES)
def test_M2_the_tax_is_the_sum_of_its_parts(taxable: Decimal, rates: list[Decimal], currency: str) -> None:
    taxed = exclusive(taxable, rates, currency)
    assert sum(taxed.parts) == taxed.tax
