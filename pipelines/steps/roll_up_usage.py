"""Turns the events of days into hourly rollups of all meters, and compares rollups with their events."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from billing.invoice import content_hash
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import meters
from pipelines.steps.chosen import EVERYTHING, Chosen
from warehouse_sql.client import Warehouse
from warehouse_sql.instants import to_micros
from warehouse_sql.rollups import DayBuild, build_days, drop_old_builds, mismatches, unseen_days

__all__ = [
    "Compared",
    "RolledUp",
    "StaleDays",
    "compare_rollups",
    "rebuild_stale_days",
    "roll_up_usage",
    "stale_days",
    "what_arrived",
]

# Of many stale days the newest come first, and the others with the next run.
_MOST_STALE_DAYS = 31
# Longer than any answer takes that began with a build; after so many builds, of an hour, they are worth a delete.
_KEPT_OF_TODAY = timedelta(hours=1)
_WORTH_DROPPING = 12


@dataclass(frozen=True)
class RolledUp:
    """`builds` has one entry per day that was built: days that had nothing new are left as they are. `dropped` counts
    the builds that nobody reads any more.
    """

    days: int
    meters: int
    builds: tuple[DayBuild, ...]
    dropped: int


@dataclass(frozen=True)
class StaleDays:
    """`due` are the days to build, newest first; `waits` says that today has something new and is not due yet."""

    due: tuple[date, ...]
    waits: bool


@dataclass(frozen=True)
class Compared:
    """Rows of rollups that differ from their events; none of them is right."""

    days: int
    mismatches: tuple[dict[str, Any], ...]


def roll_up_usage(
    ledger: Ledger,
    warehouse: Warehouse,
    start: datetime,
    end: datetime,
    now: datetime,
    chosen: Chosen = EVERYTHING,
    *,
    force: bool = False,
) -> RolledUp:
    """Build the UTC days in [start, end) for the latest version of the chosen meters. Building again changes no answer.

    A day whose rollups have seen everything is built again only when `force`d. Raises Unavailable when warehouse or
    ledger is; whatever was built by then is in use.
    """
    return _build(ledger, warehouse, _days(start, end), now, chosen, force=force)


def stale_days(ledger: Ledger, warehouse: Warehouse, now: datetime, patience: timedelta) -> StaleDays:
    """The days up to today on which some meter has events that its rollup has not seen.

    Today gets events all the time: it is due again when its rollup has come no further than `patience` ago.
    """
    with ledger.read() as session:
        known = meters.all_meters(session)
    today, seen_us = now.astimezone(UTC).date(), to_micros(now - patience)
    unseen = [one for one in unseen_days(warehouse, known) if one.day <= today]
    due = {one.day for one in unseen if one.day < today or one.seen_us <= seen_us}
    return StaleDays(tuple(sorted(due, reverse=True)), waits=any(one.day not in due for one in unseen))


def what_arrived(ledger: Ledger, warehouse: Warehouse, now: datetime) -> str:
    """Stands for all that can make a day stale: the last event and correction, the versions of the meters, and today.

    Two looks at single columns, where `stale_days` reads every day of every meter.
    """
    with ledger.read() as session:
        known = sorted((scope, meter.id, meter.version) for scope, meter in meters.all_meters(session))
    (newest,) = warehouse.rows("queries/newest_arrival")
    return content_hash([str(now.astimezone(UTC).date()), newest["received_us"], newest["corrected_us"], str(known)])


def rebuild_stale_days(ledger: Ledger, warehouse: Warehouse, now: datetime, patience: timedelta) -> RolledUp:
    """Build the newest of the stale days. Raises Unavailable.

    Today is built again and again, so its old builds are not kept for as long as others are.
    """
    days = list(stale_days(ledger, warehouse, now, patience).due[:_MOST_STALE_DAYS])
    done = _build(ledger, warehouse, days, now, EVERYTHING, force=False)
    dropped = drop_old_builds(warehouse, now, keep=_KEPT_OF_TODAY, at_least=_WORTH_DROPPING)
    return replace(done, dropped=done.dropped + dropped)


def compare_rollups(warehouse: Warehouse, start: datetime, end: datetime, chosen: Chosen = EVERYTHING) -> Compared:
    """Compare the current rollups of the days in [start, end) with the events they were made of."""
    days = _days(start, end)
    found = [
        row
        for row in mismatches(warehouse, days)
        if chosen.takes_meter(Scope(row["tenant_id"], row["environment_id"]), row["meter_id"])
    ]
    return Compared(len(days), tuple(found))


def _build(
    ledger: Ledger, warehouse: Warehouse, days: list[date], now: datetime, chosen: Chosen, *, force: bool
) -> RolledUp:
    with ledger.read() as session:
        known = [(scope, meter) for scope, meter in meters.all_meters(session) if chosen.takes_meter(scope, meter.id)]
    builds = build_days(warehouse, days, known, now, force=force)
    return RolledUp(len(days), len(known), tuple(builds), drop_old_builds(warehouse, now))


def _days(start: datetime, end: datetime) -> list[date]:
    return [start.date() + timedelta(days=n) for n in range((end - start).days)]
