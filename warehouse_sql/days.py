"""Decides where a usage answer comes from: which days from rollups, which days and hours from the events.

A day is clean for a meter when its current rollup holds every event that has arrived for it: nothing arrived after the
build's watermark, and nothing was superseded after the build had begun. All else is read from the events, so an answer
never depends on when rollups were made (promise U1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final

from warehouse_sql.client import Warehouse
from warehouse_sql.instants import FAR_FUTURE, MICROSECOND, days_of, from_micros, hour_of, hour_text
from warehouse_sql.known_days import CountedDay, KnownDays, read_days

# A day of which this many hours hold a window's edge is read from the events as a whole.
_EDGES_OF_A_RAW_DAY: Final = 12


@dataclass(frozen=True, slots=True)
class Sources:
    """What one answer about `days` is read from, and when that was decided.

    `whole_days`: no window cuts a day that has a build, and all builds have days. `counted` are these days of the named
    customers, where all that was asked for is in them, or None.
    """

    days: tuple[date, ...]
    builds: dict[date, int]
    whole_days: bool
    raw_days: tuple[date, ...]
    raw_hours: tuple[datetime, ...]
    busy_raw_days: int
    unreconciled: bool
    reconciled_us: int
    as_of: datetime
    counted: Sequence[CountedDay] | None = None

    @property
    def needs_events(self) -> bool:
        return bool(self.raw_days or self.raw_hours)

    def params(self) -> dict[str, Any]:
        return {
            "rollup": "usage_daily" if self.whole_days else "usage_hourly",
            "builds": [self.builds.get(day, 0) for day in self.days],
            "raw_days": list(self.raw_days),
            "raw_hours": [hour_text(hour) for hour in self.raw_hours],
            "unreconciled": self.unreconciled,
            "reconciled_us": self.reconciled_us,
        }


def choose_sources(
    warehouse: Warehouse,
    meter: dict[str, Any],
    start: datetime,
    end: datetime,
    edges: Sequence[datetime],
    *,
    rollups: bool,
    until: datetime = FAR_FUTURE,
    customer_ids: Sequence[str] = (),
) -> Sources:
    """The sources for [start, end), whose windows meet at `edges`, of events received up to `until`.

    `meter` is `meter_params(…)`. Without `rollups` everything comes from the events. What was counted on the days of
    `customer_ids` is read with it.
    """
    days = days_of(start, end)
    known = read_days(warehouse, meter, days[0], days[-1], customer_ids)
    builds = {day: known.built[day].build for day in days if rollups and known.is_clean(day, until)}
    cut = {hour_of(edge) for edge in (start, *edges, end) if edge != hour_of(edge)}
    cut = {hour for hour in cut if hour.date() in builds}
    cuts_of_day = Counter(hour.date() for hour in cut)
    builds = {day: build for day, build in builds.items() if cuts_of_day[day] <= _EDGES_OF_A_RAW_DAY}
    raw_hours = tuple(sorted(hour for hour in cut if hour.date() in builds))
    raw_days = tuple(day for day in days if day not in builds)
    # Rollups hold reconciled events only, so the watermark is asked for where events are read.
    reconciled_us = warehouse.rows("queries/reconciled_until")[0]["reconciled_us"] if raw_days or raw_hours else 0
    whole_days = _are_whole(builds, known, (start, *edges, end))
    return Sources(
        days=tuple(days),
        builds=builds,
        whole_days=whole_days,
        raw_days=raw_days,
        raw_hours=raw_hours,
        busy_raw_days=len(known.arrived_us.keys() & ({*raw_days} | {hour.date() for hour in raw_hours})),
        unreconciled=any(at_us > reconciled_us for at_us in known.arrived_us.values()),
        reconciled_us=reconciled_us,
        as_of=from_micros(known.now_us),
        counted=_counted(builds, known) if whole_days and not (raw_days or raw_hours) else None,
    )


def _are_whole(builds: dict[date, int], known: KnownDays, edges: Iterable[datetime]) -> bool:
    cut = {edge.date() for edge in (at.astimezone(UTC) for at in edges) if edge.time() != time.min}
    return cut.isdisjoint(builds) and all(known.built[day].days_since is not None for day in builds)


def _counted(builds: dict[date, int], known: KnownDays) -> Sequence[CountedDay] | None:
    """What the days of these builds counted, where it is certain that all of it could be seen."""
    since = known.counted_since
    if known.counted is None or any((known.built[day].days_since or since) >= since for day in builds):
        return None
    return [one for one in known.counted if builds[one.day] == one.build]


def hour_range(start: datetime, end: datetime) -> dict[str, Any]:
    """The hours and days that [start, end) touches, as `counted_events` takes them."""
    last = end.astimezone(UTC) - MICROSECOND
    return {
        "first_day": start.astimezone(UTC).date(),
        "last_day": last.date(),
        "first_hour": hour_text(start),
        "last_hour": hour_text(last),
    }
