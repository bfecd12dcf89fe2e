"""Turns the events of days into hourly rollups of all meters, and compares rollups with their events."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import meters
from pipelines.steps.chosen import EVERYTHING, Chosen
from warehouse_sql.client import Warehouse
from warehouse_sql.rollups import DayBuild, build_days, dirty_days, drop_old_builds, mismatches

__all__ = ["Compared", "RolledUp", "compare_rollups", "late_days", "rebuild_late_days", "roll_up_usage"]

# Of many late days the newest come first, and the others with the next run.
_MOST_LATE_DAYS = 31


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


def late_days(ledger: Ledger, warehouse: Warehouse, now: datetime) -> list[date]:
    """Days before today on which some meter has events that its rollup has not seen, newest first.

    Today gets events all the time and is read from them; it is due once it is over.
    """
    with ledger.read() as session:
        known = meters.all_meters(session)
    return [day for day in reversed(dirty_days(warehouse, known)) if day < now.astimezone(UTC).date()]


def rebuild_late_days(ledger: Ledger, warehouse: Warehouse, now: datetime) -> RolledUp:
    """Build the newest of the late days. Raises Unavailable."""
    return _build(ledger, warehouse, late_days(ledger, warehouse, now)[:_MOST_LATE_DAYS], now, EVERYTHING, force=False)


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
