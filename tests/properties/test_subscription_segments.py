"""Segments tile the time of a subscription, and cutting a period never changes what it comes to."""

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from billing.period import Period
from billing.price import Price, parse_price, price_to_json
from billing.proration import prorate
from billing.rating import Rated, rate, rate_part
from billing.subscription import Change, ChangeKind, Life

ORIGIN = datetime(2024, 2, 1, tzinfo=UTC)
FEBRUARY = Period(ORIGIN, datetime(2024, 3, 1, tzinfo=UTC))
AMOUNTS = st.decimals(min_value=0, max_value=1000, places=3)
QUANTITIES = st.decimals(min_value=0, max_value=3000, places=2)
MOMENTS = st.integers(min_value=-40 * 86_400, max_value=60 * 86_400).map(lambda s: ORIGIN + timedelta(seconds=s))
VALUES: dict[ChangeKind, st.SearchStrategy[dict[str, Any]]] = {
    ChangeKind.PLAN_CHANGED: st.fixed_dictionaries({"plan_id": st.sampled_from(["a", "b"])}),
    ChangeKind.QUANTITY_CHANGED: st.fixed_dictionaries({"price_id": st.just("p"), "quantity": st.sampled_from("123")}),
    ChangeKind.PAUSED: st.just({}),
    ChangeKind.RESUMED: st.just({}),
}


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), max_size=8))
    changes = [
        Change(sequence=n, kind=kind, effective_at=draw(MOMENTS), values=draw(VALUES[kind]))
        for n, kind in enumerate(kinds, 1)
    ]
    withdrawn = draw(st.sets(st.integers(min_value=1, max_value=8), max_size=2))
    return changes + [
        Change(sequence=20 + n, kind=ChangeKind.CHANGE_WITHDRAWN, effective_at=ORIGIN, withdraws=n) for n in withdrawn
    ]


LIVES = st.builds(
    Life,
    start=MOMENTS,
    end=st.none() | MOMENTS,
    trial_end=st.none() | MOMENTS,
    plan_id=st.just("a"),
    history=histories(),
)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    body = draw(
        st.sampled_from(
            [
                {"pricing_model": "per_unit", "unit_price": "0.037"},
                {"pricing_model": "percentage", "rate": "1.5"},
                {"pricing_model": "package", "package_size": "7", "package_price": "5"},
                {"pricing_model": "tiered", "tiers": [
                    {"up_to": "100", "unit_price": "0.1", "flat_fee": "10"},
                    {"up_to": "1000", "unit_price": "0.05", "flat_fee": "3"},
                    {"up_to": None, "unit_price": "0.01"}]},
            ]
        )
    )  # fmt: skip
    if body["pricing_model"] == "tiered":
        body = body | {"tier_mode": draw(st.sampled_from(["graduated", "volume"]))}
    if draw(st.booleans()):
        body = body | {"free_units": draw(st.sampled_from(["0", "50", "2000"]))}
    if draw(st.booleans()):
        body = body | {"transform_quantity": {"divide_by": "3"}}
    return parse_price(body)


@given(LIVES, MOMENTS, st.integers(min_value=1, max_value=40 * 86_400))
def test_segments_tile_the_time_that_ran_and_no_two_neighbours_are_equal(
    life: Life, start: datetime, seconds: int
) -> None:
    period = Period(start, start + timedelta(seconds=seconds))
    segments = life.segments(period)
    served = None
    if life.end is None or life.end > life.start:
        served = period.overlap(Period(life.start, max(life.end or period.end, life.start + timedelta(microseconds=1))))
    assert sum((s.period.length for s in segments), timedelta()) == (served.length if served else timedelta())
    for one, other in itertools.pairwise(segments):
        assert one.period.end == other.period.start
        assert (one.plan_id, one.quantities, one.overrides, one.why) != (
            other.plan_id,
            other.quantities,
            other.overrides,
            other.why,
        )
    for segment in segments:
        held = life.segment_at(segment.period.start)
        assert (held.plan_id, held.quantities, held.why) == (segment.plan_id, segment.quantities, segment.why)


@given(LIVES, st.lists(MOMENTS, max_size=4))
def test_periods_cut_anywhere_have_the_same_segments(life: Life, cuts: list[datetime]) -> None:
    bounds = [FEBRUARY.start, *sorted({cut for cut in cuts if cut in FEBRUARY} - {FEBRUARY.start}), FEBRUARY.end]
    pieces = [s for one, two in itertools.pairwise(bounds) for s in life.segments(Period(one, two))]
    billed = [s for s in life.segments(FEBRUARY) if s.billed]
    assert sum((s.period.length for s in pieces if s.billed), timedelta()) == sum(
        (s.period.length for s in billed), timedelta()
    )


@given(AMOUNTS, st.lists(MOMENTS, max_size=6))
def test_shares_of_a_flat_price_sum_to_the_whole_before_rounding(amount: Decimal, cuts: list[datetime]) -> None:
    bounds = [FEBRUARY.start, *sorted({cut for cut in cuts if cut in FEBRUARY} - {FEBRUARY.start}), FEBRUARY.end]
    pieces = [Period(one, two) for one, two in itertools.pairwise(bounds)]
    assert sum((prorate(amount, piece, FEBRUARY) for piece in pieces), Fraction(0)) == Fraction(amount)


def _in_parts(price: Price, parts: list[Decimal]) -> list[Rated]:
    reached, rated = Decimal(0), []
    for number, part in enumerate(parts):
        since = reached if number else None
        rated.append(rate_part(price, part, "USD", since=since, before=None, after=reached + part))
        reached += part
    return rated


@given(prices(), st.lists(QUANTITIES, min_size=1, max_size=4))
def test_plans_of_equal_prices_that_continue_come_to_what_one_plan_would_before_rounding(
    price: Price, parts: list[Decimal]
) -> None:
    rated = _in_parts(price, parts)
    whole = rate(price, sum(parts, Decimal(0)), "USD")
    # A third has no last decimal: sixteen of them are shown for each part.
    allowed = Decimal(len(parts)) * Decimal("1e-16") if price.transform_quantity else 0
    assert abs(sum((part.unrounded for part in rated), Decimal(0)) - whole.unrounded) <= allowed
    for part in rated:
        off = abs(sum((use.amount for use in part.breakdown), Decimal(0)) - part.unrounded)
        assert off <= (Decimal("1e-15") if price.transform_quantity else 0)


@given(prices(), st.lists(QUANTITIES, min_size=1, max_size=4), st.sampled_from([{}, {"minimum_amount": "50"},
       {"maximum_amount": "20"}, {"discount_percent": "33"}]))  # fmt: skip
def test_one_price_before_and_after_pauses_comes_to_exactly_what_it_would_in_one_part(
    price: Price, parts: list[Decimal], bounds: dict[str, str]
) -> None:
    price = parse_price(price_to_json(price) | bounds)
    reached: Decimal | None = None
    totals = []
    for part in parts:
        after = part if reached is None else reached + part
        totals.append(rate_part(price, part, "USD", since=None, before=reached, after=after).total)
        reached = after
    assert sum(totals, Decimal(0)) == rate(price, sum(parts, Decimal(0)), "USD").total
