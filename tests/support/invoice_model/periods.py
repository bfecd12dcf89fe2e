"""Billing periods and the segments of one, a second time: written from the rules without a look at `billing/`.

A `Body` is a subscription, a change or a price as it stands in JSON. The first boundary of a grid has the number 0.
"""

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

Body = dict[str, Any]

NAMED = {
    "daily": "P1D",
    "weekly": "P1W",
    "monthly": "P1M",
    "quarterly": "P3M",
    "half_yearly": "P6M",
    "yearly": "P1Y",
    "annual": "P1Y",
}


class Span(NamedTuple):
    """[start, end), both in UTC."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> Fraction:
        """Seconds that really pass, so that a day of 23 hours has 82800."""
        return Fraction((self.end - self.start) // timedelta(microseconds=1), 10**6)

    def holds(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def within(self, start: datetime, end: datetime | None) -> "Span":
        return Span(max(self.start, start), self.end if end is None else min(self.end, end))


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _interval(text: str) -> tuple[int, str]:
    found = re.fullmatch(r"P(\d+)([DWMY])", NAMED.get(text, text))
    assert found, text
    return int(found[1]), found[2]


def _on_the_clock(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant of a wall time. One that comes twice is the first; a skipped one moves on by what is missing."""
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _months_on(wall: datetime, months: int) -> datetime:
    """`months` after a wall time; a day that the month does not have is its last (31 Jan + 1 month = 28 Feb)."""
    year, month = divmod(wall.year * 12 + wall.month - 1 + months, 12)
    return wall.replace(year=year, month=month + 1, day=min(wall.day, monthrange(year, month + 1)[1]))


def _steps_on(wall: datetime, count: int, unit: str) -> datetime:
    if unit in "MY":
        return _months_on(wall, count * (12 if unit == "Y" else 1))
    return wall + timedelta(days=count * (7 if unit == "W" else 1))


def boundary(subscription: Body, number: int) -> datetime:
    """Boundary `number` of the grid, always counted from boundary 0, never from the one before: it cannot drift.

    Boundary 0 is the start itself, or the instant that anchors the grid, and the others are its wall time so many
    intervals on. In a calendar grid they are local midnights: 1 January for months that divide a year (a quarter begins
    in January, April, July, October), else the first of the start's month, 1 January for years, the Monday or the day
    of the start for weeks and days.
    """
    zone = ZoneInfo(subscription.get("timezone", "UTC"))
    every, unit = _interval(subscription["billing_period"])
    anchor = subscription.get("billing_anchor", "subscription_start")
    start = instant(subscription["start"] if anchor in {"subscription_start", "calendar"} else anchor)
    wall = start.astimezone(zone).replace(tzinfo=None, fold=0)
    if anchor != "calendar":
        return start if number == 0 else _on_the_clock(_steps_on(wall, every * number, unit), zone)
    midnight = datetime.combine(wall.date(), time())
    if unit == "W":
        midnight -= timedelta(days=midnight.weekday())
    elif unit == "Y" or (unit == "M" and 12 % every == 0):
        midnight = midnight.replace(month=1, day=1)
    elif unit == "M":
        midnight = midnight.replace(day=1)
    return _on_the_clock(_steps_on(midnight, every * number, unit), zone)


def grid_periods(subscription: Body) -> Iterator[Span]:
    """The whole periods of the grid, from the one that holds the start on; that one may begin before it."""
    start, number = instant(subscription["start"]), 0
    while boundary(subscription, number) > start:
        number -= 1
    while True:
        period = Span(boundary(subscription, number), boundary(subscription, number + 1))
        if period.start < period.end and period.end > start:
            yield period
        number += 1


@dataclass(frozen=True)
class Terms:
    """What is agreed at a moment: the plan, seats by price, and other terms by price."""

    plan: str
    quantities: Body = field(default_factory=dict)
    overrides: Body = field(default_factory=dict)
    paused: bool = False


class Segment(NamedTuple):
    span: Span
    terms: Terms
    billed: bool


def known(history: list[Body], at: datetime) -> list[Body]:
    """The changes that were written by `at`, in the order in which they were written."""
    return [change for change in history if instant(change.get("created_at", "1970-01-01T00:00:00Z")) <= at]


def end_of(subscription: Body, history: list[Body]) -> datetime | None:
    """The cancel sets the end; when it is withdrawn, the end that was agreed at first (or none) holds again."""
    end = subscription.get("end")
    for change in history:
        if change["kind"] == "cancelled":
            end = change["effective_at"]
        elif change["kind"] == "cancellation_withdrawn":
            end = subscription.get("end")
    return instant(end) if end else None


def terms_at(subscription: Body, history: list[Body], moment: datetime) -> Terms:
    """All changes up to and including `moment`, in the order of their effect (written first comes first at one moment).
    Another plan begins with one seat of everything, at its own prices."""
    terms = Terms(subscription["plan"], dict(subscription.get("quantities", {})))
    for change in sorted(history, key=lambda change: instant(change["effective_at"])):
        if instant(change["effective_at"]) > moment:
            break
        match change["kind"]:
            case "plan_changed":
                terms = Terms(change["plan"], change.get("quantities", {}), {}, terms.paused)
            case "quantity_changed":
                seats = {**terms.quantities, change["price"]: change["quantity"]}
                terms = Terms(terms.plan, seats, terms.overrides, terms.paused)
            case "price_overridden":
                overrides = {**terms.overrides, change["price"]: change["terms"] or {}}
                terms = Terms(terms.plan, terms.quantities, overrides, terms.paused)
            case "paused" | "resumed":
                terms = Terms(terms.plan, terms.quantities, terms.overrides, change["kind"] == "paused")
    return terms


def trial_end_of(subscription: Body) -> datetime:
    """`trial_end` is a moment, `trial_days` are whole local days from the start, by the wall clock."""
    if "trial_days" in subscription:
        zone = ZoneInfo(subscription.get("timezone", "UTC"))
        wall = instant(subscription["start"]).astimezone(zone).replace(tzinfo=None)
        return _on_the_clock(wall + timedelta(days=subscription["trial_days"]), zone)
    return instant(subscription.get("trial_end") or subscription["start"])


def segments(subscription: Body, history: list[Body], period: Span) -> list[Segment]:
    """The period cut at every moment of change; without time dropped, equal neighbours merged. Paused time and the
    trial are not billed; time before the start or after the end is in no segment."""
    start, trial_end = instant(subscription["start"]), trial_end_of(subscription)
    served = period.within(start, end_of(subscription, history))
    if served.start >= served.end:
        return []
    cuts = {trial_end, *(instant(change["effective_at"]) for change in history)}
    moments = sorted({*served, *(cut for cut in cuts if served.start < cut < served.end)})
    found: list[Segment] = []
    for begin, end in pairwise(moments):
        terms = terms_at(subscription, history, begin)
        billed = not terms.paused and begin >= trial_end
        if found and (found[-1].terms, found[-1].billed) == (terms, billed):
            found[-1] = Segment(Span(found[-1].span.start, end), terms, billed)
        else:
            found.append(Segment(Span(begin, end), terms, billed))
    return found
