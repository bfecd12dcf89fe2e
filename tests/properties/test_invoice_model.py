"""Periods, segments and amounts against `tests.support.invoice_model`, which was written from the rules alone."""

from datetime import UTC, datetime
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.instant import format_instant
from billing.period import Schedule, parse_anchor, parse_interval
from tests.support.invoice_model.periods import Body, Span, grid_periods, instant

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
ANCHORS = st.one_of(st.just("subscription_start"), st.just("calendar"), MOMENTS.map(format_instant))


@pytest.mark.parametrize("examples", [pytest.param(200), pytest.param(5000, marks=pytest.mark.slow)])
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
