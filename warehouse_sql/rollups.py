"""Makes, checks and clears rollups. A build is made aside and then switched to in one insert, so nobody sees half of
it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec

from billing.meter import AggregationType, Meter
from billing.scope import Scope
from warehouse_sql.client import Warehouse
from warehouse_sql.instants import EPOCH, to_micros
from warehouse_sql.known_days import CurrentBuild, read_days
from warehouse_sql.meters import meter_params
from warehouse_sql.reconcile import supersede_duplicates

# Arrivals that one statement aggregates; a day with more of them has a statement of its own.
_EVENTS_AT_ONCE: Final = 1_000_000
# Past this the grouping goes to disk: a backfill takes longer then, it does not fail.
_SPILL_BYTES: Final = 500_000_000
_EARLIEST_DAY: Final = date(1970, 1, 1)
_JSON: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class DayBuild:
    """One day's rollups over all meters of the build: `rows` stored, `events` matched. `watermark` says what it has
    seen.
    """

    day: date
    build: int
    watermark: datetime
    rows: int
    events: int


def current_build(warehouse: Warehouse, scope: Scope, meter: Meter, day: date) -> CurrentBuild | None:
    """None where there is none: the day is read from the events."""
    return read_days(warehouse, meter_params(scope, meter), day, day).built.get(day)


def build_days(
    warehouse: Warehouse,
    days: Sequence[date],
    meters: Sequence[tuple[Scope, Meter]],
    now: datetime,
    *,
    force: bool = False,
    spill_bytes: int = _SPILL_BYTES,
) -> list[DayBuild]:
    """Builds the rollups of `meters` for `days`, for all tenants in one statement, and switches to them.

    Reconciles first, so that a rollup holds no duplicate. A day on which the current rollup of every meter has seen all
    that arrived is left as it is and writes nothing, unless `force`d; building it again would give the same answers.
    `now` dates the build's number. A weighted sum has no rollups: a level reaches back past any day. A grouping that
    takes more memory than `spill_bytes` goes on on disk.
    """
    watermark = supersede_duplicates(warehouse).watermark
    # A meter that is named twice would be counted twice.
    once = {(scope, meter.id, meter.version): (scope, meter) for scope, meter in meters}
    summed = [one for one in once.values() if one[1].aggregation.type is not AggregationType.WEIGHTED_SUM]
    wanted = sorted(set(days))
    if summed and wanted and not force:
        stale = _stale_meters(warehouse, wanted, summed)
        wanted = [day for day in wanted if stale[day]]
        behind = {key for day in wanted for key in stale[day]}
        summed = [(scope, meter) for scope, meter in summed if (scope, meter.id) in behind]
    if not summed or not wanted:
        return []
    return [
        built
        for some_days in _in_turns(warehouse, wanted)
        for built in _build(warehouse, some_days, summed, watermark, now, spill_bytes)
    ]


def mismatches(warehouse: Warehouse, days: Sequence[date]) -> list[dict[str, Any]]:
    """Rows of current rollups of `days` that differ from the events they were made of; at most 200 for each build.

    Hours are compared with the events, and days with their hours.
    """
    return [
        row
        for some_days in _portions(sorted(set(days)))
        for build in warehouse.rows("queries/builds_by_day", {"days": some_days})
        for check in ("checks/rollup_matches_raw", "checks/rollup_days_match_hours")
        for row in warehouse.rows(check, build)
    ]


@dataclass(frozen=True, slots=True)
class UnseenDay:
    """Events of one name and day that the current rollup of some meter has not seen, in microseconds since 1970.

    `seen_us` is how far that rollup has come (0 where there is none), `arrived_us` when the last event came, and
    `corrected_us` when the last one was superseded.
    """

    scope: Scope
    event_name: str
    day: date
    seen_us: int
    arrived_us: int
    corrected_us: int


def unseen_days(
    warehouse: Warehouse, meters: Sequence[tuple[Scope, Meter]], since: date = _EARLIEST_DAY, after: datetime = EPOCH
) -> list[UnseenDay]:
    """What the rollups since `since` have not seen of all that arrived after a moment, by environment, event name and
    day.
    """
    arrivals = _arrivals(warehouse, since, after)
    builds = _current_builds(warehouse, min((day for _, _, day in arrivals), default=since)) if arrivals else {}
    listening: dict[tuple[Scope, str], list[Meter]] = {}
    for scope, meter in meters:
        if meter.aggregation.type is not AggregationType.WEIGHTED_SUM:
            listening.setdefault((scope, meter.event_name), []).append(meter)
    unseen = []
    for (scope, event_name, day), arrived in arrivals.items():
        found = [builds.get((scope, meter.id, meter.version, day)) for meter in listening.get((scope, event_name), ())]
        behind = [build for build in found if _has_not_seen(build, arrived)]
        if behind:
            seen_us = min(build["watermark_us"] if build else 0 for build in behind)
            unseen.append(UnseenDay(scope, event_name, day, seen_us, arrived["arrived_us"], arrived["corrected_us"]))
    return unseen


def dirty_days(warehouse: Warehouse, meters: Sequence[tuple[Scope, Meter]], since: date = _EARLIEST_DAY) -> list[date]:
    """Days since `since` on which some meter has events that its current rollup has not seen."""
    return sorted({unseen.day for unseen in unseen_days(warehouse, meters, since)})


def drop_old_builds(warehouse: Warehouse, now: datetime, keep: timedelta = timedelta(days=7), at_least: int = 1) -> int:
    """Removes rollups that have not been current for `keep`; how many builds. Their record in `usage_builds` stays.

    A delete looks through the whole table, so it waits until there are `at_least` so many.
    """
    before_us = to_micros(now - keep)
    builds = [row["build"] for row in warehouse.rows("queries/old_builds", {"before_us": before_us})]
    if len(builds) < at_least:
        return 0
    if builds:
        # Hours last: builds are found by them.
        warehouse.command("queries/drop_old_build_days", {"builds": builds})
        warehouse.command("queries/drop_old_builds", {"builds": builds})
    return len(builds)


def _stale_meters(
    warehouse: Warehouse, days: Sequence[date], meters: Sequence[tuple[Scope, Meter]]
) -> dict[date, set[tuple[Scope, str]]]:
    """For each day the meters that have no rollup of it, or one that has not seen everything."""
    builds, arrivals = _current_builds(warehouse, days[0]), _arrivals(warehouse, days[0])
    return {
        day: {
            (scope, meter.id)
            for scope, meter in meters
            if _has_not_seen(
                builds.get((scope, meter.id, meter.version, day)), arrivals.get((scope, meter.event_name, day))
            )
        }
        for day in days
    }


def _current_builds(warehouse: Warehouse, since: date) -> dict[tuple[Scope, str, int, date], dict[str, Any]]:
    return {
        (Scope(row["tenant_id"], row["environment_id"]), row["meter_id"], row["meter_version"], row["day"]): row
        for row in warehouse.rows("queries/current_builds", {"first_day": since})
    }


def _arrivals(
    warehouse: Warehouse, since: date, after: datetime = EPOCH
) -> dict[tuple[Scope, str, date], dict[str, Any]]:
    asked = {"first_day": since, "after_us": to_micros(after)}
    return {
        (Scope(row["tenant_id"], row["environment_id"]), row["event_name"], row["day"]): row
        for row in warehouse.rows("queries/meter_days", asked)
    }


def _has_not_seen(build: dict[str, Any] | None, arrived: dict[str, Any] | None) -> bool:
    if build is None:
        return True
    if arrived is None:
        return False
    return bool(arrived["arrived_us"] > build["watermark_us"] or arrived["corrected_us"] > build["started_us"])


def _build(
    warehouse: Warehouse,
    days: list[date],
    meters: Sequence[tuple[Scope, Meter]],
    watermark: datetime,
    now: datetime,
    spill_bytes: int,
) -> Iterator[DayBuild]:
    build = _new_build(now)
    params = {"build": build, "days": days, "watermark_us": to_micros(watermark)}
    warehouse.insert_raw(
        "build_meters",
        _BUILD_METER_COLUMNS,
        _JSON.encode_lines([_build_meter(build, *one) for one in meters]),
        "JSONEachRow",
    )
    warehouse.command("queries/build_usage", params, {"max_bytes_before_external_group_by": spill_bytes})
    warehouse.command("queries/build_usage_days", params, {"max_bytes_before_external_group_by": spill_bytes})
    warehouse.command("queries/switch_usage_builds", params)
    for row in warehouse.rows("queries/build_result", params):
        yield DayBuild(row["day"], build, watermark, row["hours"], row["matched"])


_BUILD_METER_COLUMNS: Final = (
    "build",
    "tenant_id",
    "environment_id",
    "meter_id",
    "meter_version",
    "event_name",
    "aggregation",
    "property",
    "filters",
    "group_by",
    "event_from_us",
)


def _build_meter(build: int, scope: Scope, meter: Meter) -> dict[str, Any]:
    return {"build": build, **meter_params(scope, meter), "group_by": meter.group_by}


def _new_build(now: datetime) -> int:
    """Seconds, then 22 random bits, so that two builders never share a number; below 2^53, so that JSON keeps it
    exact.
    """
    return (to_micros(now) // 1_000_000 << 22) | secrets.randbits(22)


def _in_turns(warehouse: Warehouse, days: list[date]) -> Iterator[list[date]]:
    """The days in portions of about as many events as one statement should aggregate."""
    for some_days in _portions(days):
        arrived = {row["day"]: row["events"] for row in warehouse.rows("queries/arrivals_by_day", {"days": some_days})}
        portion: list[date] = []
        events = 0
        for day in some_days:
            events += arrived.get(day, 0)
            if portion and events > _EVENTS_AT_ONCE:
                yield portion
                portion, events = [], arrived.get(day, 0)
            portion.append(day)
        yield portion


def _portions(days: list[date]) -> Iterator[list[date]]:
    """At most a year at once, which keeps a statement's parameters short."""
    for first in range(0, len(days), 366):
        yield days[first : first + 366]
