"""Rating against an independent sum in fractions, and the laws that it keeps whatever the numbers are."""

import decimal
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from billing.price import Price, PricingModel, parse_price, price_to_json
from billing.quantity import Rounding, TransformQuantity
from billing.rating import rate, rate_parts
from billing.tiers import Tier, TierMode

CURRENCIES = st.sampled_from(["USD", "JPY", "KWD", "CLF"])


def _decimals(largest: int, places: int = 12) -> st.SearchStrategy[Decimal]:
    return st.decimals(0, largest, places=places, allow_nan=False, allow_infinity=False)


MONEY = st.one_of(_decimals(10**6, 2), _decimals(100))
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


@given(prices(), QUANTITIES, CURRENCIES, st.integers(1, 30), st.sampled_from([decimal.ROUND_UP, decimal.ROUND_DOWN]))
def test_M1_the_callers_context_changes_nothing(
    price: Price, quantity: Decimal, currency: str, prec: int, rounding: str
) -> None:
    expected = rate(price, quantity, currency)
    with decimal.localcontext(decimal.Context(prec=prec, rounding=rounding, traps=[decimal.Inexact])):
        assert rate(price, quantity, currency) == expected


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
