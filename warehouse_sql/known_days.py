"""What is known of a meter's days: when events arrived and were superseded, the rollups of them, what those counted.

A question about a customer asks for the customer's days and, in the same statement, for the state of the tables from
which all else is known. Where that state has been seen before, what was read after it then is still true.

Why that is exact (promises E2 and U1). The state is the names of the parts that the tables consist of. A part never
changes and its name never comes again: an insert makes one with a higher number, a merge one that spans others, a
delete one with a higher version. So a table that shows the same names at two moments was the same all the time between
them, each table for itself. Facts are kept only with a state that was read before them; a later statement that finds
that state again therefore finds the tables as they were when the facts were read, if these were read before it began,
as they were. And it looks after it has begun: whatever was acknowledged before that has its part by then. Facts that
are newer than the state they are kept with are no harm, the state will not be found again. The customer's days are of
builds that are written before they are named in `usage_builds` and not removed until long after another is named there,
so it makes no difference whether they are read before or after the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from time import perf_counter
from typing import Any, Final, NamedTuple

from warehouse_sql.client import Warehouse
from warehouse_sql.instants import EPOCH, from_micros, to_micros

# On a cluster one server's clock is behind another's, and its rows come later.
_SETTLED: Final = timedelta(seconds=5)
_MOST_COUNTED: Final = 10_000
# The tables of which a state has to name parts: on a cluster it names none, and then it tells nothing.
_TOLD_BY: Final = ("arrivals ", "usage_builds ")


class CountedDay(NamedTuple):
    """What one build counted for a customer, a UTC day and texts of the meter's groups; `number` is the lowest, highest
    or latest value where that is the aggregation, else the sum.
    """

    customer_id: str
    day: date
    build: int
    groups: Sequence[str]
    matched: int
    usable: int
    number: Decimal
    fingerprint: int


@dataclass(frozen=True, slots=True)
class CurrentBuild:
    """The rollup of one meter and day that is read now: it holds what was received up to `watermark`, and leaves out
    what was superseded before `started_at`. Its hours were added up by day before `days_since`, or never.
    """

    build: int
    watermark: datetime
    started_at: datetime
    days_since: datetime | None


@dataclass(slots=True)
class KnownDays:
    """When each day's last event arrived and was superseded, and its rollup; a day is missing where there is none.

    `counted` are the days of the customers that were asked for, in every build that had been switched to by
    `counted_since`; None where nothing was asked for, or there are too many.
    """

    now_us: int = 0
    arrived_us: dict[date, int] = field(default_factory=dict)
    superseded_us: dict[date, int] = field(default_factory=dict)
    built: dict[date, CurrentBuild] = field(default_factory=dict)
    counted: list[CountedDay] | None = None
    counted_since: datetime = EPOCH

    def is_clean(self, day: date, until: datetime) -> bool:
        """Whether the day's rollup holds every event that was received up to `until`, and no other."""
        current = self.built.get(day)
        return (
            current is not None
            and self.arrived_us.get(day, 0) <= to_micros(min(current.watermark, until))
            and self.superseded_us.get(day, 0) <= to_micros(current.started_at)
        )


def read_days(
    warehouse: Warehouse, meter: dict[str, Any], first_day: date, last_day: date, customer_ids: Sequence[str] = ()
) -> KnownDays:
    """What is known of a meter's days, and what those of some customers counted; `meter` is `meter_params(…)`."""
    names = ("tenant_id", "environment_id", "event_name", "meter_id", "meter_version", "aggregation")
    asked = {**{name: meter[name] for name in names}, "first_day": first_day, "last_day": last_day}
    if not customer_ids:
        return _facts(warehouse, asked)
    before = warehouse.memory.get(tuple(asked.values()))
    if not isinstance(before, _Remembered):
        before = _Remembered()
    return _with_counted(warehouse, asked, customer_ids, before)


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A state of the tables, and the facts that were read after it; None where they may have been read before it."""

    state: tuple[str, ...] = ()
    known: KnownDays | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """What some customers' days counted, and the state of the tables. `since` is before both were read."""

    counted: list[CountedDay] | None
    state: tuple[str, ...]
    now_us: int
    since: datetime

    @property
    def tells(self) -> bool:
        return all(any(part.startswith(table) for part in self.state) for table in _TOLD_BY)


def _with_counted(
    warehouse: Warehouse, asked: Mapping[str, Any], customer_ids: Sequence[str], before: _Remembered
) -> KnownDays:
    months = sorted({day.strftime("%Y%m") for day in (asked["first_day"], asked["last_day"])})
    counting = {
        **asked,
        "customer_ids": list(customer_ids),
        "row_limit": _MOST_COUNTED + 1,
        "first_month": months[0],
        "last_month": months[-1],
    }
    began = perf_counter()
    if before.known is not None:
        look = _look(warehouse.columns("queries/customer_days", counting), began)
        is_same = look.tells and look.state == before.state
        known = replace(before.known, now_us=look.now_us) if is_same else _facts(warehouse, asked)
        after = before if is_same else _Remembered(look.state)
        # The look began after these facts had been read.
        since = max(look.since, from_micros(before.known.now_us) - _SETTLED)
    else:
        # The tables change with every question, or are new to us: nothing is lost by asking for both at once.
        answer = warehouse.columns_beside("queries/customer_days", counting)
        known = _facts(warehouse, asked)
        look = _look(answer(), began)
        is_same = look.tells and look.state == before.state
        after = _Remembered(look.state, known if is_same else None)
        since = look.since
    if after is not before:
        warehouse.memory.put(tuple(asked.values()), after)
    return replace(known, counted=look.counted, counted_since=since)


def _look(found: Mapping[str, Sequence[Any]], began: float) -> _Look:
    counted: list[CountedDay] = []
    state: tuple[str, ...] = ()
    now_us = 0
    for row in zip(*found.values(), strict=True):
        one = CountedDay(*row)
        if one.build:
            counted.append(one)
        else:
            state, now_us = tuple(one.groups), one.matched
    # By the engine's clock the look began no earlier than this: its time was taken since, and told by now.
    since = from_micros(now_us) - timedelta(seconds=perf_counter() - began) - _SETTLED
    return _Look(counted if len(counted) <= _MOST_COUNTED else None, state, now_us, since)


def _facts(warehouse: Warehouse, asked: Mapping[str, Any]) -> KnownDays:
    known = KnownDays()
    found = warehouse.columns("queries/usage_days", asked)
    for fact, day, at_us, build, started_us, switched_us in zip(*found.values(), strict=True):
        match fact:
            case "asked":
                known.now_us = at_us
            case "arrived":
                known.arrived_us[day] = at_us
            case "superseded":
                known.superseded_us[day] = at_us
            case "built":
                since = from_micros(switched_us) if switched_us else None
                known.built[day] = CurrentBuild(build, from_micros(at_us), from_micros(started_us), since)
    return known
