"""Splits [start, end) into calendar windows of an IANA timezone, whatever its daylight saving does.

A window starts where the local clock shows a new minute, hour, day, week (Monday) or month; the first and the last one
are cut at `start` and `end`. A local day is 23, 24 or 25 hours long, or has half an hour more or less.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from billing.errors import InvalidInput, TooLarge

Window = Literal["minute", "hour", "day", "week", "month"]

WINDOWS: Final[tuple[Window, ...]] = ("minute", "hour", "day", "week", "month")
MAX_WINDOWS: Final = 1500
# Since 1972 all offsets and their changes are multiples of this.
_QUARTER: Final = timedelta(minutes=15)


def zone(name: str) -> ZoneInfo:
    """The timezone of that IANA name; InvalidInput `unknown_timezone` where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(
            "unknown_timezone", "is not an IANA timezone", field="timezone", hint="For example Europe/Paris or UTC."
        ) from error


def window_starts(start: datetime, end: datetime, window: Window | None, timezone: str) -> list[datetime]:
    """The starts, in UTC and in order, the first one being `start`; TooLarge `too_many_windows` past MAX_WINDOWS.

    >>> spring = [datetime(2026, 3, day, tzinfo=ZoneInfo("Europe/Paris")) for day in (28, 31)]
    >>> [f"{at:%d %H:%M}" for at in window_starts(*spring, "day", "Europe/Paris")]
    ['27 23:00', '28 23:00', '29 22:00']
    """
    local_zone = zone(timezone)
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    starts = [start]
    if window is None:
        return starts
    at = start
    while True:
        at = _next_start(at, window, local_zone)
        if at >= end:
            return starts
        if len(starts) == MAX_WINDOWS:
            raise TooLarge(
                "too_many_windows",
                f"the period holds more than {MAX_WINDOWS} windows",
                field="window",
                hint="Ask for a shorter period or a larger window.",
            )
        starts.append(at)


def _next_start(at: datetime, window: Window, local_zone: ZoneInfo) -> datetime:
    if window == "minute":
        return at.replace(second=0, microsecond=0) + timedelta(minutes=1)
    if window == "hour":
        return _next_hour(at, local_zone)
    local = at.astimezone(local_zone)
    midnight = datetime(local.year, local.month, local.day)  # noqa: DTZ001 -- a wall clock; the zone comes below
    if window == "day":
        following = midnight + timedelta(days=1)
    elif window == "week":
        following = midnight + timedelta(days=7 - local.weekday())
    else:
        following = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    # A midnight that the clock skips falls on the instant of the change, one that comes twice on its first time.
    return following.replace(tzinfo=local_zone).astimezone(UTC)


def _next_hour(at: datetime, local_zone: ZoneInfo) -> datetime:
    shown = _shown_hour(at, local_zone)
    step = at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0)
    while _shown_hour(step, local_zone) == shown or step <= at:
        step += _QUARTER
    return step


def _shown_hour(at: datetime, local_zone: ZoneInfo) -> tuple[int, int, timedelta | None]:
    local = at.astimezone(local_zone)
    return local.toordinal(), local.hour, local.utcoffset()
