"""How much there is, by hour or day and over all tenants: for people who look whether a day is out of the ordinary."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from warehouse_sql.client import Warehouse
from warehouse_sql.instants import from_micros


def arrived_by_day(warehouse: Warehouse, days: Sequence[date]) -> dict[date, int]:
    """Events that were received for each day; one that was sent again counts again."""
    return {row["day"]: row["events"] for row in warehouse.rows("queries/arrivals_by_day", {"days": sorted(days)})}


def rolled_up_by_day(warehouse: Warehouse, first_day: date, last_day: date) -> dict[date, int]:
    """Events in the current rollups of each day; one that two meters count is counted twice."""
    rows = warehouse.rows("queries/matched_by_day", {"first_day": first_day, "last_day": last_day})
    return {row["day"]: row["events"] for row in rows}


def rolled_up_by_hour(warehouse: Warehouse, day: date) -> dict[datetime, int]:
    """The same for the hours of one day."""
    builds = [row["build"] for row in warehouse.rows("queries/builds_by_day", {"days": [day]})]
    if not builds:
        return {}
    rows = warehouse.rows("queries/matched_by_hour", {"day": day, "builds": builds})
    return {from_micros(row["hour_us"]): row["events"] for row in rows}
