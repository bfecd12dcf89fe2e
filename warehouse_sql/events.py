"""Events that a meter has not seen in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from billing.meter import Meter
from billing.scope import Scope
from warehouse_sql.aggregates import check_period
from warehouse_sql.client import Warehouse
from warehouse_sql.days import hour_range
from warehouse_sql.instants import FAR_FUTURE, from_micros, to_micros
from warehouse_sql.meters import customer_params, meter_params
from warehouse_sql.reconcile import reconciled_watermark

MOST_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class LateEvent:
    """`text` is that of the meter's property."""

    customer_id: str
    event_id: str
    timestamp: datetime
    ingested_at: datetime
    text: str | None


def late_events(
    warehouse: Warehouse,
    scope: Scope,
    meter: Meter,
    start: datetime,
    end: datetime,
    customer_ids: Sequence[str] | None = None,
    *,
    after: datetime,
    until: datetime = FAR_FUTURE,
    limit: int = MOST_AT_ONCE,
) -> list[LateEvent]:
    """Events in [start, end) that fit the meter and were received after `after` (and up to `until`), as received."""
    asked = _in_period(warehouse, scope, meter, start, end, customer_ids, until, limit)
    return [
        LateEvent(
            row["customer_id"],
            row["event_id"],
            from_micros(row["timestamp_us"]),
            from_micros(row["ingested_us"]),
            row["text"],
        )
        for row in warehouse.rows("queries/late_events", {**asked, "after_us": to_micros(after)})
    ]


def _in_period(
    warehouse: Warehouse,
    scope: Scope,
    meter: Meter,
    start: datetime,
    end: datetime,
    customer_ids: Sequence[str] | None,
    until: datetime,
    limit: int,
) -> dict[str, Any]:
    check_period(start, end)
    return {
        **meter_params(scope, meter),
        **customer_params(customer_ids),
        **hour_range(start, end),
        "start_us": to_micros(start),
        "end_us": to_micros(end),
        "until_us": to_micros(until),
        "reconciled_us": to_micros(reconciled_watermark(warehouse)),
        "row_limit": limit,
    }
