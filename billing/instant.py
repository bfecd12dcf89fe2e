"""Moments in time: always with a zone on the way in, always UTC inside, RFC 3339 in text."""

import re
from datetime import UTC, datetime
from typing import Final

from billing.errors import InvalidInput

_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def as_utc(moment: datetime, field: str) -> datetime:
    """The same moment in UTC; InvalidInput `time_without_zone` for a naive one."""
    if moment.tzinfo is UTC:
        return moment
    if moment.utcoffset() is None:
        raise InvalidInput("time_without_zone", "needs a UTC offset", field=field, hint="Write it as …T00:00:00Z.")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise out_of_range(field) from error


def parse_instant(text: str, field: str) -> datetime:
    """A moment out of RFC 3339 text, in UTC; digits past the microsecond are dropped.

    >>> parse_instant("2024-03-01T01:00:00.5+01:00", "at")
    datetime.datetime(2024, 3, 1, 0, 0, 0, 500000, tzinfo=datetime.timezone.utc)
    """
    if not isinstance(text, str) or not _RFC_3339.fullmatch(text):
        raise InvalidInput("not_a_time", "must be an RFC 3339 time", field=field, hint="Such as 2024-03-01T00:00:00Z.")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise InvalidInput("not_a_time", "names a day or hour that does not exist", field=field) from error
    return as_utc(moment, field)


def format_instant(moment: datetime) -> str:
    """RFC 3339 in UTC with Z, microseconds only where there are some.

    >>> format_instant(datetime(2024, 3, 1, tzinfo=UTC))
    '2024-03-01T00:00:00Z'
    """
    return as_utc(moment, "time").isoformat().replace("+00:00", "Z")


def out_of_range(field: str | None) -> InvalidInput:
    return InvalidInput("time_out_of_range", "leads outside the years 1 to 9999", field=field)
