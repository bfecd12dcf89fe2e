"""Rating against an independent sum in fractions, and the laws that it keeps whatever the numbers are."""

import decimal
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.adjustments.discount import percent_off
from billing.adjustments.tax import exclusive
from billing.errors import InvalidInput
from billing.exact import EXACT
from billing.explain import explain
from billing.money import allocate
from billing.price import Price, PricingModel, parse_price, price_to_json, revise_price
from billing.quantity import Rounding, TransformQuantity
from billing.rating import rate, rate_increment, rate_parts
from billing.tiers import Tier, TierMode

CURRENCIES = st.sampled_from(["USD", "JPY", "KWD", "CLF"])


def _decimals(largest: int, places: int = 12) -> st.SearchStrategy[Decimal]:
    return st.decimals(0, largest, places=places, allow_nan=False, allow_infinity=False)


MONEY = st.one_of(_decimals(10**6, 2), _decimals(100))
WIDE_NUMBERS = st.builds(
    lambda digits, places: Decimal(digits).scaleb(-places, decimal.Context(prec=38)),
    st.integers(0, 10**38 - 1),
    st.integers(0, 12),
)
# Three digits, every rounding, hardly any exponent, and every signal an exception.
ABSURD_CONTEXTS = st.builds(
    lambda prec, rounding: decimal.Context(
        prec=prec,
        rounding=rounding,
        Emin=-1,
        Emax=1,
        traps=[decimal.Inexact, decimal.Rounded, decimal.Subnormal, decimal.Clamped, decimal.FloatOperation],
    ),
    st.sampled_from([1, 3, 28]),
    st.sampled_from([decimal.ROUND_UP, decimal.ROUND_DOWN, decimal.ROUND_CEILING, decimal.ROUND_HALF_EVEN]),
)
QUANTITIES = st.one_of(_decimals(10**12, 0), _decimals(10**6))


@st.composite
def tiered(draw: st.DrawFn, mode: TierMode) -> Price:
    bounds = sorted(draw(st.sets(_decimals(10**6, 3), max_size=5)))
    tiers = [Tier(bound, draw(MONEY), draw(MONEY)) for bound in bounds]
    return Price(PricingModel.TIERED, tier_mode=mode, tiers=(*tiers, Tier(None, draw(MONEY), draw(MONEY))))


TRANSFORMS = st.one_of(
    st.none(),
    st.builds(
        TransformQuantity,
        divide_by=_decimals(10**4, 1).filter(bool),
        round=st.sampled_from(Rounding),
        precision=st.integers(0, 3),
    ),
)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    base = draw(
        st.one_of(
            tiered(TierMode.GRADUATED),
            tiered(TierMode.VOLUME),
            st.builds(Price, st.just(PricingModel.PER_UNIT), unit_price=MONEY),
            st.builds(Price, st.just(PricingModel.FLAT), amount=MONEY),
            st.builds(Price, st.just(PricingModel.PERCENTAGE), rate=MONEY),
            st.builds(
                Price, st.just(PricingModel.PACKAGE), package_size=_decimals(1000, 2).filter(bool), package_price=MONEY
            ),
        )
    )
    body = price_to_json(base)
    transform = draw(TRANSFORMS)
    if transform is not None:
        body["transform_quantity"] = {
            "divide_by": transform.divide_by,
            "round": transform.round.value,
            "precision": transform.precision,
        }
    for name, values in (("free_units", MONEY), ("discount_percent", _decimals(100)), ("maximum_amount", MONEY)):
        if draw(st.booleans()):
            body[name] = draw(values)
    return parse_price(body)


@given(tiered(TierMode.GRADUATED), QUANTITIES)
def test_graduated_is_each_units_own_tier(price: Price, quantity: Decimal) -> None:
    expected, lower = Fraction(0), Fraction(0)
    for i, tier in enumerate(price.tiers):
        upper = Fraction(quantity) if tier.up_to is None else min(Fraction(tier.up_to), Fraction(quantity))
        if i == 0 or quantity > lower:
            expected += max(upper - lower, Fraction(0)) * Fraction(tier.unit_price) + Fraction(tier.flat_fee)
        lower = lower if tier.up_to is None else Fraction(tier.up_to)
    assert Fraction(rate(price, quantity, "USD").unrounded) == expected


@given(tiered(TierMode.GRADUATED), st.lists(QUANTITIES, min_size=2, max_size=6), CURRENCIES)
def test_graduated_never_costs_less_for_more(price: Price, quantities: list[Decimal], currency: str) -> None:
    rated = [rate(price, quantity, currency) for quantity in sorted(quantities)]
    assert all(less.unrounded <= more.unrounded and less.total <= more.total for less, more in pairwise(rated))


@given(tiered(TierMode.GRADUATED), st.integers(1, 10**3))
def test_graduated_is_continuous_but_for_the_flat_fees(price: Price, thousandths: int) -> None:
    step = Decimal(thousandths).scaleb(-12)
    for tier, following in pairwise(price.tiers):
        assert tier.up_to is not None
        at, past = (rate(price, quantity, "USD").unrounded for quantity in (tier.up_to, EXACT.add(tier.up_to, step)))
        if following.up_to is None or EXACT.add(tier.up_to, step) <= following.up_to:
            expected = Fraction(following.flat_fee) + Fraction(step) * Fraction(following.unit_price)
            assert Fraction(past) - Fraction(at) == expected


@given(prices(), QUANTITIES, CURRENCIES)
def test_M4_the_breakdown_sums_to_the_unrounded_price(price: Price, quantity: Decimal, currency: str) -> None:
    rated = rate(price, quantity, currency)
    difference = sum(Fraction(use.amount) for use in rated.breakdown) - Fraction(rated.unrounded)
    ends = price.transform_quantity is None or price.transform_quantity.round is not Rounding.NONE
    assert difference == 0 if ends else abs(difference) <= Fraction(1, 10**14)


@given(prices(), st.lists(QUANTITIES, min_size=1, max_size=6), CURRENCIES)
def test_rating_in_parts_sums_to_rating_at_once(price: Price, parts: list[Decimal], currency: str) -> None:
    increments = rate_parts(price, parts, currency)
    whole = sum(map(Fraction, parts))
    at_once = rate(price, Decimal(whole.numerator) / whole.denominator if whole else Decimal(0), currency)
    assert increments[-1].after.metered_quantity == whole
    assert sum(increment.amount for increment in increments) == at_once.total


@given(prices(), QUANTITIES, CURRENCIES, ABSURD_CONTEXTS)
def test_M1_the_callers_context_changes_nothing(
    price: Price, quantity: Decimal, currency: str, absurd: decimal.Context
) -> None:
    body = price_to_json(price)

    def everything() -> list[object]:
        rated = rate(parse_price(body), quantity, currency)
        return [
            rated,
            explain(price, rated, currency),
            price_to_json(revise_price(price, {"discount_percent": "12.5"})),
            percent_off(rated.total, Decimal("33.333"), currency),
            exclusive(rated.total, [Decimal("7.7"), Decimal("0.35")], currency),
            allocate(rated.total, [Decimal(1), Decimal("2.5"), Decimal("0.000001")], currency),
            rate_increment(price, Decimal(1), quantity, currency).amount,
        ]

    expected = everything()
    with decimal.localcontext(absurd):
        found = everything()
        assert repr(found) == repr(expected)


@given(WIDE_NUMBERS, WIDE_NUMBERS)
def test_M1_numbers_of_38_digits_lose_none(unit_price: Decimal, quantity: Decimal) -> None:
    price = parse_price({"pricing_model": "per_unit", "unit_price": format(unit_price, "f")})
    assert price_to_json(price)["unit_price"] == format(unit_price, "f")
    assert Fraction(rate(price, quantity, "USD").unrounded) == Fraction(unit_price) * Fraction(quantity)


NUMBERS_OF_A_PRICE: dict[str, dict[str, object]] = {
    "amount": {"pricing_model": "flat"},
    "unit_price": {"pricing_model": "per_unit"},
    "package_size": {"pricing_model": "package", "package_price": "1"},
    "package_price": {"pricing_model": "package", "package_size": "1"},
    "rate": {"pricing_model": "percentage"},
    "free_units": {"pricing_model": "per_unit", "unit_price": "1"},
    "discount_percent": {"pricing_model": "per_unit", "unit_price": "1"},
    "minimum_amount": {"pricing_model": "per_unit", "unit_price": "1"},
    "maximum_amount": {"pricing_model": "per_unit", "unit_price": "1"},
}


@pytest.mark.parametrize("name", NUMBERS_OF_A_PRICE)
@given(value=st.floats(0, 100))
def test_M1_no_float_enters_a_price(name: str, value: float) -> None:
    with pytest.raises(InvalidInput, match="not a float") as caught:
        parse_price({**NUMBERS_OF_A_PRICE[name], name: value})
    assert caught.value.field == name


@given(st.floats(0, 100), st.sampled_from(["up_to", "unit_price", "flat_fee"]))
def test_M1_no_float_enters_a_tier_a_quantity_or_a_split(value: float, name: str) -> None:
    first = {"up_to": "5", "unit_price": "1", name: value}
    with pytest.raises(InvalidInput, match="not a float") as caught:
        parse_price({"pricing_model": "tiered", "tiers": [first, {"up_to": None, "unit_price": "1"}]})
    assert caught.value.field == f"tiers[0].{name}"
    price = parse_price({"pricing_model": "per_unit", "unit_price": "1"})
    for refused in (
        lambda: rate(price, value, "USD"),  # type: ignore[arg-type]
        lambda: allocate(Decimal(1), [value], "USD"),  # type: ignore[list-item]
    ):
        with pytest.raises(InvalidInput, match="not a float"):
            refused()


@given(prices())
def test_a_price_reads_back_from_its_own_json(price: Price) -> None:
    assert parse_price(price_to_json(price)) == price


@given(MONEY, st.integers(0, 10**9), st.integers(1, 10**9), CURRENCIES)
def test_M2_a_prorated_fee_is_rounded_once_from_the_exact_share(
    amount: Decimal, served: int, whole: int, currency: str
) -> None:
    share = min(Fraction(served, whole), Fraction(1))
    rated = rate(Price(PricingModel.FLAT, amount=amount), Decimal(1), currency, share)
    cent = Fraction(1, 10 ** -rated.total.as_tuple().exponent)  # type: ignore[operator]
    assert abs(Fraction(rated.total) - Fraction(amount) * share) <= cent / 2
