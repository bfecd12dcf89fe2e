"""Periods tile time: no gap, no overlap, no drift, in every kind of timezone."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from billing.interval import Interval, IntervalUnit
from billing.period import BillingAnchor, Period, Schedule

# Half-hour summer time, a skipped day, changes at midnight, far offsets.
ZONES = st.sampled_from(
    [
        "UTC",
        "America/New_York",
        "Europe/Berlin",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "America/Sao_Paulo",
        "Africa/Casablanca",
        "Pacific/Kiritimati",
    ]
)
MOMENTS = st.datetimes(datetime(2008, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
INTERVALS = st.builds(Interval, st.sampled_from(IntervalUnit), st.integers(1, 18))
ANCHORS: st.SearchStrategy[BillingAnchor] = st.one_of(st.just("subscription_start"), st.just("calendar"), MOMENTS)
SCHEDULES = st.builds(Schedule, MOMENTS, INTERVALS, ANCHORS, ZONES)


def _after(schedule: Schedule, seconds: int) -> datetime:
    return schedule.start + timedelta(seconds=seconds)


@given(SCHEDULES, st.integers(0, 10 * 365 * 86_400))
def test_every_moment_is_in_exactly_one_period(schedule: Schedule, seconds: int) -> None:
    moment = _after(schedule, seconds)
    period = schedule.period_at(moment)
    assert moment in period
    assert period.start >= schedule.start
    assert schedule.period_at(period.start) == period
    assert schedule.period_at(period.end - timedelta(microseconds=1)) == period


@given(SCHEDULES, st.integers(0, 10 * 365 * 86_400))
def test_periods_follow_each_other_without_a_gap(schedule: Schedule, seconds: int) -> None:
    period = schedule.period_at(_after(schedule, seconds))
    following = schedule.period_at(period.end)
    assert following.start == period.end
    assert schedule.previous(following) == period
    assert schedule.last_completed(following.end - timedelta(microseconds=1)) == period
    assert schedule.last_completed(following.end) == following


@given(SCHEDULES, st.integers(0, 2 * 365 * 86_400), st.integers(1, 60))
def test_every_period_end_falls_on_exactly_one_billing_day(schedule: Schedule, seconds: int, days: int) -> None:
    first = _after(schedule, seconds).replace(hour=0, minute=0, second=0, microsecond=0)
    bounds = [first + timedelta(days=day) for day in range(days + 1)]
    daily = [period for start, end in pairwise(bounds) for period in schedule.ending_in(start, end)]
    assert daily == list(schedule.ending_in(bounds[0], bounds[-1]))
    assert all(before.end == after.start for before, after in pairwise(daily))


@given(MOMENTS, st.integers(1, 18), ZONES, st.integers(0, 10 * 365 * 86_400))
def test_months_clamp_and_never_drift(start: datetime, count: int, timezone: str, seconds: int) -> None:
    schedule = Schedule(start, Interval(IntervalUnit.MONTH, count), "subscription_start", timezone)
    end = schedule.period_at(_after(schedule, seconds)).end.astimezone(ZoneInfo(timezone))
    began = start.astimezone(ZoneInfo(timezone))
    wanted = min(began.day, monthrange(end.year, end.month)[1])
    # A local time that a clock change skips may move to the next day, and only then.
    assert end.day == wanted or (end - timedelta(days=1)).day == wanted
    assert end.day == wanted or end.time() < began.time()


@given(SCHEDULES, st.integers(0, 10 * 365 * 86_400))
def test_only_the_first_period_is_shorter_than_its_place_in_the_grid(schedule: Schedule, seconds: int) -> None:
    period = schedule.period_at(_after(schedule, seconds))
    full = schedule.full_period(period)
    assert full.end == period.end
    assert period.start in {full.start, schedule.start}


@given(MOMENTS, MOMENTS, MOMENTS)
def test_an_overlap_is_in_both(a: datetime, b: datetime, c: datetime) -> None:
    first, second, third = sorted([a, b, c])
    if first < second < third:
        assert Period(first, third).overlap(Period(second, third)) == Period(second, third)
        assert Period(first, second).overlap(Period(second, third)) is None
