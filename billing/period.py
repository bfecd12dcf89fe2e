"""Billing periods: half-open [start, end) in UTC, laid out by local calendar time in the billing timezone.

A schedule is a grid of boundaries. Boundary k is the grid's origin plus k intervals of local time, each counted from
the origin and never from the boundary before it, so that one short month does not drag the later ones along (31 Jan,
28 Feb, 31 Mar).
"""

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Self
from zoneinfo import ZoneInfo

from billing.errors import InvalidInput
from billing.instant import as_utc, out_of_range, parse_instant
from billing.interval import Interval, IntervalUnit, parse_interval

__all__ = [
    "BillingAnchor",
    "Interval",
    "IntervalUnit",
    "Period",
    "Schedule",
    "parse_anchor",
    "parse_interval",
    "parse_timezone",
]

BillingAnchor = Literal["subscription_start", "calendar"] | datetime

_TICK: Final = timedelta(microseconds=1)
_ZONE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+)*")


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """[start, end): the start is inside, the end is not. Never empty; both in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", as_utc(self.start, "start"))
        object.__setattr__(self, "end", as_utc(self.end, "end"))
        if self.end <= self.start:
            raise InvalidInput("empty_period", "must be after the start", field="end")

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def overlap(self, other: Self) -> Self | None:
        """What both hold, None where they only touch or lie apart."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return type(self)(start, end) if start < end else None


@dataclass(frozen=True, slots=True)
class Schedule:
    """The rules that lay out a subscription's periods; none of them starts before the subscription does.

    `anchor` fixes the grid: `subscription_start` the start itself, a datetime that moment, `calendar` local midnight of
    the 1st of January, of the month, of a Monday or of a day. Months that divide a year are counted from January (P3M
    is the calendar quarter); other calendar intervals from the day, week, month or year that holds the start.
    """

    start: datetime
    interval: Interval
    anchor: BillingAnchor = "subscription_start"
    timezone: str = "UTC"
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)
    _origin: datetime = field(init=False, repr=False, compare=False)  # local wall time of boundary 0, naive
    _fixed: datetime | None = field(init=False, repr=False, compare=False)  # boundary 0 where a moment was given
    _known: dict[int, datetime] = field(init=False, repr=False, compare=False)  # boundaries that were asked for

    def __post_init__(self) -> None:
        zone = parse_timezone(self.timezone)
        start = as_utc(self.start, "start_date")
        if isinstance(self.anchor, datetime):
            fixed: datetime | None = as_utc(self.anchor, "billing_anchor")
        elif self.anchor == "subscription_start":
            fixed = start
        elif self.anchor == "calendar":
            fixed = None
        else:
            raise _bad_anchor("billing_anchor")
        try:
            # fold=0: the grid is laid out by what the clock shows, also where it began in an hour that comes twice.
            local = (fixed or start).astimezone(zone).replace(tzinfo=None, fold=0)
        except OverflowError as error:
            raise out_of_range("start_date") from error
        origin = local if fixed else _calendar_origin(local, self.interval)
        for name, value in (("start", start), ("_zone", zone), ("_origin", origin), ("_fixed", fixed), ("_known", {})):
            object.__setattr__(self, name, value)

    def period_at(self, at: datetime) -> Period:
        """The period that holds `at`; InvalidInput `before_start` where the subscription had not begun.

        >>> monthly = Schedule(datetime(2025, 1, 31, tzinfo=UTC), parse_interval("P1M"))
        >>> [monthly.period_at(datetime(2025, month, 15, tzinfo=UTC)).end.day for month in (2, 3, 4)]
        [28, 31, 30]
        """
        moment = as_utc(at, "at")
        if moment < self.start:
            raise InvalidInput("before_start", "is before the subscription's start", field="at")
        k = self._index_at(moment)
        return Period(max(self._boundary(k), self.start), self._boundary(k + 1))

    def previous(self, period: Period) -> Period | None:
        """The period that ended where this one starts, None before the first."""
        return self.period_at(period.start - _TICK) if period.start > self.start else None

    def last_completed(self, at: datetime) -> Period | None:
        """The last period that had ended by `at`; one that ends at that very moment has."""
        moment = as_utc(at, "at")
        return self.previous(self.period_at(moment)) if moment >= self.start else None

    def ending_in(self, start: datetime, end: datetime) -> Iterator[Period]:
        """The periods whose end e is in [start, end), in order."""
        first, last = as_utc(start, "start"), as_utc(end, "end")
        period = self.period_at(max(first, self.start + _TICK) - _TICK)
        while period.end < last:
            if period.end >= first:
                yield period
            period = self.period_at(period.end)

    def full_period(self, period: Period) -> Period:
        """The whole grid period that `period` is in: longer than it where the subscription began in the middle.

        >>> calendar = Schedule(datetime(2024, 1, 20, tzinfo=UTC), parse_interval("P1M"), "calendar")
        >>> first = calendar.period_at(datetime(2024, 1, 20, tzinfo=UTC))
        >>> first.length.days, calendar.full_period(first).length.days
        (12, 31)
        """
        k = self._index_at(period.start)
        return Period(self._boundary(k), self._boundary(k + 1))

    def _boundary(self, k: int) -> datetime:
        if k not in self._known:
            self._known[k] = self._laid_out(k)
        return self._known[k]

    def _laid_out(self, k: int) -> datetime:
        if k == 0 and self._fixed is not None:
            return self._fixed
        try:
            wall = _shift(self._origin, self.interval, k)
            # fold=0: a local time that happens twice means the first, one that is skipped the moment of the change.
            return wall.replace(tzinfo=self._zone).astimezone(UTC)
        except (OverflowError, ValueError) as error:
            raise out_of_range("at") from error

    def _index_at(self, moment: datetime) -> int:
        """The largest k whose boundary is not after `moment`; a local day that never was makes no period of its own."""
        try:
            local = moment.astimezone(self._zone).replace(tzinfo=None)
        except OverflowError as error:
            raise out_of_range("at") from error
        k = _intervals_between(self._origin, local, self.interval)
        while self._boundary(k) > moment:
            k -= 1
        while self._boundary(k + 1) <= moment:
            k += 1
        return k


def parse_anchor(value: object, field: str = "billing_anchor") -> BillingAnchor:
    """`subscription_start` or `calendar` in any case, or a moment as a datetime or RFC 3339 text."""
    if isinstance(value, datetime):
        return as_utc(value, field)
    if isinstance(value, str):
        match value.lower():
            case "subscription_start":
                return "subscription_start"
            case "calendar":
                return "calendar"
        if value[:1].isdigit():
            return parse_instant(value, field)
    raise _bad_anchor(field)


def parse_timezone(name: str, field: str = "timezone") -> ZoneInfo:
    """The IANA timezone; InvalidInput `unknown_timezone`."""
    if isinstance(name, str) and len(name) <= 64 and _ZONE_NAME.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass
    raise InvalidInput("unknown_timezone", "is not an IANA timezone", field=field, hint='Such as "Europe/Berlin".')


def _bad_anchor(field: str) -> InvalidInput:
    return InvalidInput(
        "bad_anchor", "is not a billing anchor", field=field, hint="Send subscription_start, calendar or a time."
    )


def _calendar_origin(local: datetime, interval: Interval) -> datetime:
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    match interval.unit:
        case IntervalUnit.DAY:
            return midnight
        case IntervalUnit.WEEK:
            return midnight - timedelta(days=midnight.weekday())
        case IntervalUnit.MONTH:
            return midnight.replace(day=1, month=1 if 12 % interval.count == 0 else midnight.month)
        case IntervalUnit.YEAR:
            return midnight.replace(day=1, month=1)


def _shift(origin: datetime, interval: Interval, k: int) -> datetime:
    """`origin` and k intervals on the calendar; a day that the month does not have becomes its last."""
    if interval.days is not None:
        return origin + timedelta(days=k * interval.days)
    year, month = divmod(12 * origin.year + origin.month - 1 + k * (interval.months or 0), 12)
    return origin.replace(year=year, month=month + 1, day=min(origin.day, monthrange(year, month + 1)[1]))


def _intervals_between(origin: datetime, local: datetime, interval: Interval) -> int:
    """A first guess at the index, off by one at most."""
    if interval.days is not None:
        return (local.date() - origin.date()).days // interval.days
    return (12 * (local.year - origin.year) + local.month - origin.month) // (interval.months or 1)
