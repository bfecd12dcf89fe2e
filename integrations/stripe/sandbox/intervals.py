"""Billing cycles: a grid of moments around an anchor, a month's end clamped where a month is too short."""

import calendar
from datetime import UTC, datetime

SECONDS = {"day": 86400, "week": 7 * 86400}
MONTHS = {"month": 1, "year": 12}
LONGEST = {"day": 1095, "week": 156, "month": 36, "year": 3}


def after(anchor: int, moment: int, interval: str, count: int) -> int:
    """The first moment of the grid after `moment`; the anchor itself is on the grid, which reaches both ways."""
    if interval in SECONDS:
        step = SECONDS[interval] * count
        return anchor + ((moment - anchor) // step + 1) * step
    months = MONTHS[interval] * count
    start, there = datetime.fromtimestamp(anchor, UTC), datetime.fromtimestamp(moment, UTC)
    number = ((there.year - start.year) * 12 + there.month - start.month) // months - 1
    while (found := _shifted(start, number * months)) <= moment:
        number += 1
    return found


def _shifted(start: datetime, months: int) -> int:
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())
