"""Events that came after something had been read: whose they are, how many, and which."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing.meter import Meter
from billing.period import Period
from billing.scope import Scope
from warehouse_sql.aggregates import check_period
from warehouse_sql.client import Warehouse
from warehouse_sql.cursors import read_cursor, write_cursor
from warehouse_sql.days import hour_range
from warehouse_sql.event_log import EventStatus
from warehouse_sql.instants import FAR_FUTURE, from_micros, to_micros
from warehouse_sql.meters import customer_params, meter_params

__all__ = ["LateArrival", "LateEvent", "LatePage", "Received", "count_late", "late_arrivals", "late_events"]


@dataclass(frozen=True, slots=True)
class Received:
    """The time of arrival (after, until]."""

    after: datetime
    until: datetime = FAR_FUTURE


@dataclass(frozen=True, slots=True)
class LateArrival:
    """A customer's (external id) events of a name and a day, from `first` to `last`, both included; the last of them
    came or was left out at `changed_at`."""

    scope: Scope
    event_name: str
    customer_id: str
    first: datetime
    last: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class LateEvent:
    """`text` is that of the meter's property. `status` is not `counted` where it lost or was taken out, and
    `unusable_because` says why a value cannot be counted; it counts where neither is so.
    """

    event_id: str
    idempotency_key: str | None
    timestamp: datetime
    ingested_at: datetime
    text: str | None
    status: EventStatus
    unusable_because: str | None

    @property
    def counts(self) -> bool:
        return self.status is EventStatus.COUNTED and self.unusable_because is None


@dataclass(frozen=True, slots=True)
class LatePage:
    """The last received first; `next_cursor` is None at the end."""

    items: list[LateEvent]
    next_cursor: str | None


def late_arrivals(warehouse: Warehouse, received: Received, before: datetime) -> list[LateArrival]:
    """Who got or lost events of the time before `before` since a watermark, in all environments."""
    asked = {
        "from_us": to_micros(received.after),
        "to_us": to_micros(received.until),
        "before_us": to_micros(before),
    }
    return [
        LateArrival(
            Scope(row["tenant_id"], row["environment_id"]),
            row["event_name"],
            row["customer_id"],
            from_micros(row["first_us"]),
            from_micros(row["last_us"]),
            from_micros(row["changed_us"]),
        )
        for row in warehouse.rows("queries/late_arrivals", asked)
    ]


def count_late(
    warehouse: Warehouse, scope: Scope, meter: Meter, period: Period, customer_id: str, received: Received
) -> int:
    """How many events of the period fit the meter and were received then, whether they count or not."""
    asked = _asked(scope, meter, period, customer_id, received)
    return int(warehouse.rows("queries/count_late_events", asked)[0]["events"])


def late_events(
    warehouse: Warehouse,
    scope: Scope,
    meter: Meter,
    period: Period,
    customer_id: str,
    received: Received,
    *,
    cursor: str | None = None,
    limit: int = 100,
) -> LatePage:
    """A page of those events; `customer_id` is the external one. InvalidInput `cursor_invalid`."""
    before, place = (FAR_FUTURE, 0) if cursor is None else read_cursor(cursor)
    page = {"before_us": to_micros(before), "before_place": place, "row_limit": limit + 1}
    rows = warehouse.rows("queries/late_events", {**_asked(scope, meter, period, customer_id, received), **page})
    items = [
        LateEvent(
            row["event_id"],
            row["idempotency_key"],
            from_micros(row["timestamp_us"]),
            from_micros(row["ingested_us"]),
            row["text"],
            EventStatus(row["superseded_because"] or EventStatus.COUNTED),
            row["unusable_because"] or None,
        )
        for row in rows[:limit]
    ]
    last = rows[limit - 1] if len(rows) > limit else None
    return LatePage(items, None if last is None else write_cursor(last["ingested_us"], last["position"]))


def _asked(scope: Scope, meter: Meter, period: Period, customer_id: str, received: Received) -> dict[str, Any]:
    check_period(period.start, period.end)
    return {
        **meter_params(scope, meter),
        **customer_params([customer_id]),
        **hour_range(period.start, period.end),
        "start_us": to_micros(period.start),
        "end_us": to_micros(period.end),
        "after_us": to_micros(received.after),
        "until_us": to_micros(received.until),
    }
