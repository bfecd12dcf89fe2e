"""How far usage is behind its events, over all environments, and what of it does not count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from billing.scope import Scope
from warehouse_sql.client import Warehouse
from warehouse_sql.instants import from_micros
from warehouse_sql.rollups import UnseenDay

# The days that are furthest behind say how late usage is; a statement that named thousands of them would be too long.
_MOST_DAYS: Final = 200


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Events of one environment that do not count: `conflict` (no meter), or `unusable` for a meter."""

    scope: Scope
    meter_id: str | None
    reason: str
    events: int


def received_last(warehouse: Warehouse, first_day: date) -> dict[Scope, datetime]:
    """When each environment's last event came, of those for days since `first_day`."""
    rows = warehouse.rows("queries/received_last", {"first_day": first_day})
    return {_scope(row): from_micros(row["received_us"]) for row in rows}


def waiting_since(warehouse: Warehouse, unseen: Sequence[UnseenDay]) -> dict[Scope, datetime]:
    """Since when, to the minute, each environment has had events or corrections that its rollups have not seen."""
    waiting: dict[Scope, datetime] = {}
    furthest = sorted(unseen, key=lambda one: (one.seen_us, one.arrived_us))[:_MOST_DAYS]
    arrived = [one for one in furthest if one.arrived_us > one.seen_us]
    if arrived:
        asked = [
            (one.scope.tenant_id, one.scope.environment_id, one.event_name, one.day, one.seen_us) for one in arrived
        ]
        for row in warehouse.rows("queries/waiting_since", {"unseen": asked}):
            waiting[_scope(row)] = from_micros(row["waiting_us"])
    for one in furthest:
        if one.arrived_us <= one.seen_us:
            corrected_at = from_micros(one.corrected_us)
            waiting[one.scope] = min(waiting.get(one.scope, corrected_at), corrected_at)
    return waiting


def left_out(warehouse: Warehouse, first_day: date) -> list[LeftOut]:
    """What does not count of the days since `first_day`, by environment and meter."""
    return [
        LeftOut(_scope(row), row["meter_id"] or None, row["reason"], row["events"])
        for row in warehouse.rows("queries/left_out", {"first_day": first_day})
    ]


def _scope(row: dict[str, str]) -> Scope:
    return Scope(row["tenant_id"], row["environment_id"])
