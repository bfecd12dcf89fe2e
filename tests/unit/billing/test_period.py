"""Periods where calendars are awkward: month ends, leap days, clock changes, days that never were."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from billing.errors import InvalidInput
from billing.instant import format_instant, parse_instant
from billing.interval import Interval, IntervalUnit
from billing.period import BillingAnchor, Period, Schedule, parse_anchor, parse_interval


def _at(text: str) -> datetime:
    return parse_instant(text if "T" in text else f"{text}T00:00:00Z", "at")


def _schedule(start: str, interval: str, anchor: str = "subscription_start", timezone: str = "UTC") -> Schedule:
    return Schedule(_at(start), parse_interval(interval), parse_anchor(anchor), timezone)


def _ends(schedule: Schedule, count: int) -> list[str]:
    ends, period = [], schedule.period_at(schedule.start)
    for _ in range(count):
        ends.append(format_instant(period.end))
        period = schedule.period_at(period.end)
    return ends


def test_month_ends_clamp_and_never_drift() -> None:
    assert _ends(_schedule("2024-01-31", "P1M"), 4) == [
        "2024-02-29T00:00:00Z",
        "2024-03-31T00:00:00Z",
        "2024-04-30T00:00:00Z",
        "2024-05-31T00:00:00Z",
    ]


def test_a_leap_day_comes_back_in_the_next_leap_year() -> None:
    assert _ends(_schedule("2024-02-29", "yearly"), 4)[-1] == "2028-02-29T00:00:00Z"


def test_a_local_midnight_stays_midnight_over_a_clock_change() -> None:
    assert _ends(_schedule("2024-02-15T05:00:00Z", "P1M", timezone="America/New_York"), 2) == [
        "2024-03-15T04:00:00Z",
        "2024-04-15T04:00:00Z",
    ]


def test_a_local_time_that_is_skipped_means_the_moment_of_the_change() -> None:
    # 02:30 does not exist in New York on 10 March 2024; 00:00 does not in São Paulo on 4 November 2018.
    assert _ends(_schedule("2024-03-09T07:30:00Z", "P1D", timezone="America/New_York"), 2) == [
        "2024-03-10T07:30:00Z",
        "2024-03-11T06:30:00Z",
    ]
    days = _schedule("2018-11-03T03:00:00Z", "P1D", "calendar", "America/Sao_Paulo")
    assert _ends(days, 2) == ["2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"]


def test_a_start_in_the_hour_that_comes_twice_is_kept() -> None:
    second_half_past_one = _schedule("2024-11-03T06:30:00Z", "P1D", timezone="America/New_York")
    assert second_half_past_one.period_at(second_half_past_one.start).start == second_half_past_one.start


def test_a_start_in_the_second_hour_of_the_two_does_not_pick_the_second_one_for_later_periods() -> None:
    # 02:30 in Berlin comes twice on 27 October, in 2024 as in 2030; a period begins at the first of them.
    yearly = _schedule("2024-10-27T01:30:00Z", "P1Y", timezone="Europe/Berlin")
    assert format_instant(yearly.period_at(_at("2030-01-01")).end) == "2030-10-27T00:30:00Z"
    assert format_instant(yearly.period_at(yearly.start).end) == "2025-10-27T01:30:00Z"


def test_a_day_that_never_was_has_no_period() -> None:
    # Samoa went from 29 to 31 December 2011.
    days = _schedule("2011-12-29T10:00:00Z", "P1D", "calendar", "Pacific/Apia")
    first = days.period_at(days.start)
    second = days.period_at(first.end)
    assert (format_instant(first.end), format_instant(second.end)) == ("2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z")
    assert days.previous(second) == first
    assert list(days.ending_in(first.end, second.end + timedelta(1))) == [first, second]


@pytest.mark.parametrize(
    ("interval", "start", "end"),
    [
        ("P1D", "2024-05-15", "2024-05-16"),
        ("P1W", "2024-05-13", "2024-05-20"),
        ("P1M", "2024-05-01", "2024-06-01"),
        ("P2M", "2024-05-01", "2024-07-01"),
        ("P3M", "2024-04-01", "2024-07-01"),
        ("P6M", "2024-01-01", "2024-07-01"),
        ("P12M", "2024-01-01", "2025-01-01"),
        ("P1Y", "2024-01-01", "2025-01-01"),
        ("P5M", "2024-05-01", "2024-10-01"),
        ("P2W", "2024-05-13", "2024-05-27"),
        ("P2Y", "2024-01-01", "2026-01-01"),
        ("P10D", "2024-05-15", "2024-05-25"),
    ],
)
def test_a_calendar_period_is_cut_at_the_start_of_the_subscription(interval: str, start: str, end: str) -> None:
    schedule = _schedule("2024-05-15T13:00:00Z", interval, "calendar")
    first = schedule.period_at(schedule.start)
    assert first == Period(schedule.start, _at(end))
    assert schedule.full_period(first) == Period(_at(start), _at(end))
    assert schedule.previous(first) is None


def test_calendar_midnight_is_local() -> None:
    schedule = _schedule("2024-05-15T13:00:00Z", "P1M", "calendar", "Asia/Kolkata")
    assert format_instant(schedule.period_at(schedule.start).end) == "2024-05-31T18:30:00Z"


def test_a_moment_as_anchor_fixes_the_grid_before_and_after_it() -> None:
    schedule = _schedule("2024-01-10", "P1M", "2024-03-31T00:00:00Z")
    assert _ends(schedule, 3) == ["2024-01-31T00:00:00Z", "2024-02-29T00:00:00Z", "2024-03-31T00:00:00Z"]
    assert schedule.period_at(schedule.start).start == schedule.start


def test_a_period_holds_its_start_and_not_its_end() -> None:
    schedule = _schedule("2024-01-01", "P1M")
    january = schedule.period_at(_at("2024-01-01"))
    assert january.start in january
    assert january.end not in january
    assert schedule.period_at(january.end).start == january.end


def test_the_last_completed_period_may_end_at_that_very_moment() -> None:
    schedule = _schedule("2024-01-01", "P1M")
    assert schedule.last_completed(_at("2024-02-01")) == Period(_at("2024-01-01"), _at("2024-02-01"))
    assert schedule.last_completed(_at("2024-01-31T23:59:59Z")) is None
    assert schedule.last_completed(_at("2023-12-31")) is None


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        ("2024-02-01", "2024-02-02", ["2024-02-01"]),
        ("2024-02-02", "2024-03-01", []),
        ("2024-01-01", "2024-04-01", ["2024-02-01", "2024-03-01"]),
        ("2020-01-01", "2024-02-02", ["2024-02-01"]),
        ("2020-01-01", "2024-01-02", []),
    ],
)
def test_the_periods_that_end_on_a_billing_day(start: str, end: str, found: list[str]) -> None:
    periods = _schedule("2024-01-01", "P1M").ending_in(_at(start), _at(end))
    assert [period.end for period in periods] == [_at(day) for day in found]


def test_a_time_before_the_start_has_no_period() -> None:
    with pytest.raises(InvalidInput) as caught:
        _schedule("2024-01-01", "P1M").period_at(_at("2023-12-31"))
    assert (caught.value.code, caught.value.field) == ("before_start", "at")


def test_times_past_the_calendar_are_refused() -> None:
    schedule = _schedule("2024-01-01", "P100Y")
    with pytest.raises(InvalidInput) as caught:
        schedule.period_at(_at("9990-01-01"))
    assert caught.value.code == "time_out_of_range"


def test_two_periods_share_what_both_hold() -> None:
    year = Period(_at("2024-01-01"), _at("2025-01-01"))
    june = Period(_at("2024-06-01"), _at("2024-07-01"))
    assert year.overlap(june) == june
    assert june.overlap(Period(june.end, year.end)) is None


def test_a_period_is_kept_in_utc_and_is_never_empty() -> None:
    east = timezone(timedelta(hours=2))
    assert Period(datetime(2024, 1, 1, 2, tzinfo=east), _at("2024-01-02")).start is not None
    assert (
        format_instant(Period(datetime(2024, 1, 1, 2, tzinfo=east), _at("2024-01-02")).start) == "2024-01-01T00:00:00Z"
    )
    with pytest.raises(InvalidInput, match="after the start"):
        Period(_at("2024-01-01"), _at("2024-01-01"))
    with pytest.raises(InvalidInput, match="UTC offset"):
        Period(datetime(2024, 1, 1), _at("2024-01-02"))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("monthly", "P1M"),
        ("MONTH", "P1M"),
        ("p1m", "P1M"),
        ("week", "P1W"),
        ("quarter", "P3M"),
        ("half_year", "P6M"),
        ("Half-Yearly", "P6M"),
        ("ANNUAL", "P1Y"),
        ("P10D", "P10D"),
        ("P1Y6M", "P18M"),
    ],
)
def test_an_interval_is_a_word_or_an_iso_duration(text: str, iso: str) -> None:
    assert str(parse_interval(text)) == iso


@pytest.mark.parametrize("text", ["", "P", "P0M", "P1H", "PT1H", "P-1M", "P1.5M", "P99999D", "P1M2W", "often", None])
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_interval(text)
    assert (caught.value.code, caught.value.field) == ("bad_interval", "billing_period")


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "America", "x" * 100])
def test_what_is_no_timezone_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Schedule(_at("2024-01-01"), Interval(IntervalUnit.MONTH), "calendar", name)
    assert (caught.value.code, caught.value.field) == ("unknown_timezone", "timezone")


@pytest.mark.parametrize(
    ("value", "anchor"),
    [
        ("CALENDAR", "calendar"),
        ("Subscription_Start", "subscription_start"),
        ("2024-01-31T02:00:00+02:00", datetime(2024, 1, 31, tzinfo=UTC)),
    ],
)
def test_an_anchor_is_a_word_or_a_moment(value: str, anchor: BillingAnchor) -> None:
    assert parse_anchor(value) == anchor


@pytest.mark.parametrize("value", ["", "month_end", "2024-01-31", "2024-02-30T00:00:00Z", None])
def test_what_is_no_anchor_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_anchor(value)
    assert caught.value.field == "billing_anchor"


def test_a_schedule_built_with_an_unknown_anchor_is_refused() -> None:
    with pytest.raises(InvalidInput, match="anchor"):
        Schedule(_at("2024-01-01"), parse_interval("P1M"), "month_end")  # type: ignore[arg-type]
