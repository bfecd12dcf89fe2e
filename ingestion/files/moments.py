"""Timestamps as files have them: RFC 3339, counted since 1970, or a clock's reading whose time zone has to be said."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from ingestion.refusal import BadEventError

__all__ = ["Moments", "TimestampUnit"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# A date, perhaps with a time, and no offset behind it.
_NAIVE: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?))?", re.ASCII)
_MOST_DIGITS: Final = 30


class TimestampUnit(StrEnum):
    """How the timestamps of a file are written."""

    RFC3339 = "rfc3339"
    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


_MICROSECONDS_IN: Final = {
    TimestampUnit.SECONDS: Decimal(1_000_000),
    TimestampUnit.MILLISECONDS: Decimal(1_000),
    TimestampUnit.MICROSECONDS: Decimal(1),
    TimestampUnit.NANOSECONDS: Decimal("0.001"),
}


@dataclass(frozen=True)
class Moments:
    """Reads a file's timestamps. Digits past the microsecond are cut, as in the API.

    >>> Moments(TimestampUnit.MILLISECONDS).read("1705847400123.9")
    '2024-01-21T14:30:00.123900Z'
    >>> Moments(timezone=ZoneInfo("Europe/Berlin")).read("2024-01-21 14:30")
    '2024-01-21T13:30:00Z'
    """

    unit: TimestampUnit = TimestampUnit.RFC3339
    timezone: ZoneInfo | None = None

    def read(self, value: str | datetime) -> str:
        """The moment as RFC 3339. Raises BadEventError where it is not clear which one it is."""
        if isinstance(value, datetime):
            return _written(value if value.tzinfo else self._placed(value))
        if self.unit is not TimestampUnit.RFC3339:
            return _written(_counted(value, _MICROSECONDS_IN[self.unit]))
        naive = _NAIVE.fullmatch(value.strip())
        if naive is None:
            # With an offset, or nothing that is a time: the API's own rules decide.
            return value
        try:
            return _written(self._placed(datetime.fromisoformat(f"{naive[1]}T{naive[2] or '00:00'}")))
        except ValueError as error:
            raise _bad("timestamp_not_rfc3339", "names a moment that does not exist") from error

    def _placed(self, clock: datetime) -> datetime:
        if self.timezone is None:
            raise _bad("timezone_missing", "has no offset: say the file's time zone with --timezone")
        placed = clock.replace(tzinfo=self.timezone)
        if placed.utcoffset() != placed.replace(fold=1).utcoffset():
            if placed.astimezone(UTC).astimezone(self.timezone).replace(tzinfo=None) != clock:
                raise _bad("timestamp_skipped", "was skipped when the clocks of its time zone went forward")
            raise _bad("timestamp_ambiguous", "came twice when the clocks of its time zone went back: add the offset")
        return placed


def _counted(text: str, microseconds: Decimal) -> datetime:
    try:
        count = Decimal(text.strip())
        if not count.is_finite() or len(text) > _MOST_DIGITS or abs(count.adjusted()) > _MOST_DIGITS:
            raise _bad("timestamp_not_a_count", "is not a number of the unit that was named")
        return _EPOCH + timedelta(microseconds=int(count * microseconds // 1))
    except InvalidOperation as error:
        raise _bad("timestamp_not_a_count", "is not a number of the unit that was named") from error
    except OverflowError as error:
        raise _bad("timestamp_out_of_range", "is no moment of the years that are kept: is the unit right?") from error


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _bad(code: str, reason: str) -> BadEventError:
    return BadEventError(code, reason, "timestamp")
