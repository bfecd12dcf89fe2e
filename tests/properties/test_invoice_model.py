"""Periods, segments and amounts against `tests.support.invoice_model`, which was written from the rules alone."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.instant import format_instant
from billing.period import Period, Schedule, parse_anchor, parse_interval
from billing.price import parse_price
from billing.rating import rate_part
from billing.subscription import Change, ChangeKind, Life
from tests.support.invoice_model.contracts import contract, usage_terms
from tests.support.invoice_model.lines import Run
from tests.support.invoice_model.periods import Body, Span, end_of, grid_periods, instant, segments, trial_end_of
from tests.support.price_model import EXPONENTS

ZONES = st.sampled_from(
    [
        "UTC",
        "America/New_York",
        "America/Sao_Paulo",
        "America/St_Johns",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Europe/Berlin",
        "Pacific/Apia",
    ]
)
MOMENTS = st.one_of(
    st.datetimes(datetime(2008, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    # Month ends and leap days at midnight, and hours around changes of the clock in several of the zones.
    st.sampled_from(
        [
            "2024-01-31T00:00:00Z",
            "2024-02-29T00:00:00Z",
            "2023-12-31T23:00:00Z",
            "2024-03-31T01:30:00Z",
            "2024-10-27T01:30:00Z",
            "2024-11-03T05:30:00Z",
            "2024-11-03T06:30:00Z",
            "2018-11-04T03:00:00Z",
            "2011-12-30T10:00:00Z",
        ]
    ).map(instant),
)
INTERVALS = st.one_of(
    st.sampled_from(["daily", "weekly", "monthly", "quarterly", "half_yearly", "yearly"]),
    st.builds("P{}{}".format, st.integers(1, 14), st.sampled_from("DWMY")),
)
QUANTITIES = st.decimals(0, 100, places=3)
EXAMPLES = pytest.mark.parametrize("examples", [pytest.param(100), pytest.param(5000, marks=pytest.mark.slow)])
ANCHORS = st.one_of(st.just("subscription_start"), st.just("calendar"), MOMENTS.map(format_instant))


@EXAMPLES
def test_periods_are_those_of_the_model(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(MOMENTS, INTERVALS, ANCHORS, ZONES)
    def holds(start: datetime, interval: str, anchor: str, timezone: str) -> None:
        schedule = Schedule(start, parse_interval(interval), parse_anchor(anchor), timezone)
        contract: Body = {
            "start": format_instant(start),
            "billing_period": interval,
            "billing_anchor": anchor,
            "timezone": timezone,
        }
        at = start
        for grid in islice(grid_periods(contract), 8):
            period = schedule.period_at(at)
            full = schedule.full_period(period)
            assert Span(full.start, full.end) == grid
            assert (period.start, period.end) == (max(start, grid.start), grid.end)
            at = period.end

    holds()


def life_of(case: Body) -> Life:
    """The contract's life with its history, by the ids of the case."""
    agreed = case["subscription"]
    changes = []
    for sequence, change in enumerate(case["history"], 1):
        values = {
            "plan_id": change.get("plan"),
            "price_id": change.get("price"),
            "quantity": change.get("quantity"),
            "override_id": (change.get("terms") or {}).get("id"),
            "override_version": 1,
        }
        withdrawn = next((one.sequence for one in reversed(changes) if one.kind is ChangeKind.CANCELLED), None)
        changes.append(
            Change(
                sequence=sequence,
                kind=ChangeKind(change["kind"]),
                effective_at=instant(change["effective_at"]),
                values=values,
                withdraws=withdrawn if change["kind"] == "cancellation_withdrawn" else None,
            )
        )
    trial_end = trial_end_of(agreed) if "trial_days" in agreed else None
    return Life(instant(agreed["start"]), end_of(agreed, case["history"]), trial_end, agreed["plan"], changes)


@EXAMPLES
def test_segments_are_those_of_the_model(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(st.randoms(use_true_random=False))
    def holds(r: Random) -> None:
        case = contract(r)
        case["subscription"].pop("quantities", None)
        life = life_of(case)
        for grid in islice(grid_periods(case["subscription"]), 5):
            real = [
                (
                    Span(segment.period.start, segment.period.end),
                    segment.plan_id,
                    {price_id: str(quantity) for price_id, quantity in segment.quantities.items()},
                    {price_id: override.price_id for price_id, override in segment.overrides.items()},
                    segment.billed,
                )
                for segment in life.segments(Period(grid.start, grid.end))
            ]
            assert real == [
                (
                    segment.span,
                    segment.terms.plan,
                    segment.terms.quantities,
                    {price_id: terms["id"] for price_id, terms in segment.terms.overrides.items()},
                    segment.billed,
                )
                for segment in segments(case["subscription"], case["history"], grid)
            ]

    holds()


@EXAMPLES
def test_usage_that_goes_on_costs_what_the_model_says(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(st.randoms(use_true_random=False), st.one_of(st.none(), QUANTITIES), QUANTITIES, QUANTITIES)
    def holds(r: Random, since: Decimal | None, first: Decimal, second: Decimal) -> None:
        currency = r.choice([*EXPONENTS])
        terms = usage_terms(r, currency)
        price, places = parse_price(terms), EXPONENTS[currency]
        begun = since or Decimal(0)
        run = Run(terms, None if since is None else Fraction(since), Fraction(first))
        part = rate_part(price, first, currency, since=since, before=None, after=begun + first)
        assert Fraction(part.total) == run.amount(places)
        assert shown_as(part.unrounded, run.unrounded())
        # The same price goes on after a pause: both parts come to what one would.
        before = Fraction(part.total), run.unrounded()
        run.reached += Fraction(second)
        other = rate_part(price, second, currency, since=since, before=begun + first, after=begun + first + second)
        assert Fraction(other.total) + before[0] == run.amount(places)
        assert shown_as(other.unrounded, run.unrounded() - before[1])
        for rated in (part, other):
            assert sum((Fraction(use.amount) for use in rated.breakdown), Fraction(0)) == Fraction(rated.unrounded)

    holds()


def shown_as(shown: Decimal, value: Fraction) -> bool:
    """Whether a value is shown to sixteen decimals at least."""
    return abs(Fraction(shown) - value) * 10**16 <= Fraction(1, 2)
