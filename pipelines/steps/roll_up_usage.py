"""Turns the events of days into hourly rollups of all meters, and compares rollups with their events."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from ledger.db import Ledger
from ledger.store import meters
from warehouse_sql.client import Warehouse
from warehouse_sql.rollups import DayBuild, build_days, drop_old_builds, mismatches

__all__ = ["Compared", "RolledUp", "compare_rollups", "roll_up_usage"]


@dataclass(frozen=True)
class RolledUp:
    """`builds` has one entry per day with usage; `dropped` counts the builds that nobody reads any more."""

    days: int
    meters: int
    builds: tuple[DayBuild, ...]
    dropped: int


@dataclass(frozen=True)
class Compared:
    """Rows of rollups that differ from their events; none of them is right."""

    days: int
    mismatches: tuple[dict[str, Any], ...]


def roll_up_usage(ledger: Ledger, warehouse: Warehouse, start: datetime, end: datetime, now: datetime) -> RolledUp:
    """Build the UTC days in [start, end) for the latest version of every meter. Building again changes no answer.

    Raises Unavailable when warehouse or ledger is; whatever was built by then is in use.
    """
    with ledger.read() as session:
        known = meters.all_meters(session)
    days = _days(start, end)
    builds = build_days(warehouse, days, known, now)
    return RolledUp(len(days), len(known), tuple(builds), drop_old_builds(warehouse, now))


def compare_rollups(warehouse: Warehouse, start: datetime, end: datetime) -> Compared:
    """Compare the current rollups of the days in [start, end) with the events they were made of."""
    days = _days(start, end)
    return Compared(len(days), tuple(mismatches(warehouse, days)))


def _days(start: datetime, end: datetime) -> list[date]:
    return [start.date() + timedelta(days=n) for n in range((end - start).days)]
