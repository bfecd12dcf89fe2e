"""Timestamps of files: a moment that is not certain is refused, never guessed."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ingestion.files.moments import Moments, TimestampUnit
from ingestion.refusal import BadEventError

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("unit", "text", "moment"),
    [
        ("s", "1705847400", "2024-01-21T14:30:00Z"),
        ("s", "1705847400.123456789", "2024-01-21T14:30:00.123456Z"),
        ("s", "1.7058474E+9", "2024-01-21T14:30:00Z"),
        ("ms", "1705847400999", "2024-01-21T14:30:00.999000Z"),
        ("us", "1705847400999999", "2024-01-21T14:30:00.999999Z"),
        ("ns", "1705847400999999999", "2024-01-21T14:30:00.999999Z"),
        ("rfc3339", "2024-01-21T14:30:00+02:00", "2024-01-21T14:30:00+02:00"),
        ("rfc3339", "nonsense", "nonsense"),
    ],
)
def test_a_moment_is_read_in_the_unit_that_was_named(unit: str, text: str, moment: str) -> None:
    assert Moments(TimestampUnit(unit)).read(text) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-21 14:30:00", "2024-01-21T13:30:00Z"),
        ("2024-07-21T14:30", "2024-07-21T12:30:00Z"),
        ("2024-07-21", "2024-07-20T22:00:00Z"),
        ("2024-07-21T14:30:00.123456", "2024-07-21T12:30:00.123456Z"),
        ("2024-07-21T14:30:00Z", "2024-07-21T14:30:00Z"),
    ],
)
def test_a_clock_is_read_in_the_zone_that_was_said(text: str, moment: str) -> None:
    assert Moments(timezone=BERLIN).read(text) == moment


def test_moments_of_a_typed_column_are_taken_as_they_are() -> None:
    clock = datetime(2024, 7, 21, 14, 30)  # noqa: DTZ001 - a column without a zone
    assert Moments(timezone=BERLIN).read(clock) == "2024-07-21T12:30:00Z"
    assert Moments(timezone=BERLIN).read(clock.replace(tzinfo=UTC)) == "2024-07-21T14:30:00Z"
    assert Moments().read(clock.replace(tzinfo=UTC) + timedelta(microseconds=1)) == "2024-07-21T14:30:00.000001Z"


@pytest.mark.parametrize(
    ("moments", "text", "code"),
    [
        (Moments(), "2024-01-21 14:30:00", "timezone_missing"),
        (Moments(timezone=BERLIN), "2024-03-31 02:30:00", "timestamp_skipped"),
        (Moments(timezone=BERLIN), "2024-10-27 02:30:00", "timestamp_ambiguous"),
        (Moments(timezone=BERLIN), "2024-02-30 02:30:00", "timestamp_not_rfc3339"),
        (Moments(TimestampUnit.SECONDS), "2024-01-21", "timestamp_not_a_count"),
        (Moments(TimestampUnit.SECONDS), "NaN", "timestamp_not_a_count"),
        (Moments(TimestampUnit.SECONDS), "1e99", "timestamp_not_a_count"),
        (Moments(TimestampUnit.SECONDS), "1705847400999", "timestamp_out_of_range"),
    ],
)
def test_E4_a_moment_that_is_not_certain_is_refused(moments: Moments, text: str, code: str) -> None:
    with pytest.raises(BadEventError) as bad:
        moments.read(text)
    assert (bad.value.code, bad.value.field) == (code, "timestamp")
