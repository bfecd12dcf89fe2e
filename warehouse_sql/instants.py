"""Instants as whole microseconds since 1970, the form in which they travel to and from the warehouse."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)

# Later than anything that is stored: DateTime64 and DateTime both hold it.
FAR_FUTURE: Final = datetime(2100, 1, 1, tzinfo=UTC)


def to_micros(at: datetime) -> int:
    """Exact; a datetime without a zone is a mistake in the program and raises TypeError.

    >>> to_micros(datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC))
    1767225600000005
    """
    return (at - EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    """
    >>> from_micros(1767225600000005)
    datetime.datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=datetime.timezone.utc)
    """
    return EPOCH + timedelta(microseconds=micros)


def hour_of(at: datetime) -> datetime:
    """The start of its UTC hour."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hour_text(at: datetime) -> str:
    """An hour as the engine reads it."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:00:00}"


def days_of(start: datetime, end: datetime) -> list[date]:
    """The UTC days that [start, end) touches."""
    first, last = start.astimezone(UTC).date(), (end.astimezone(UTC) - MICROSECOND).date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
