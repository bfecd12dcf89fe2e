"""When a meter's events arrive, and how far its rollups have come: from the arrivals, without a scan of the events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from billing.meter import AggregationType, Meter
from billing.scope import Scope
from warehouse_sql.aggregates import check_period
from warehouse_sql.client import Warehouse
from warehouse_sql.instants import from_micros, to_micros
from warehouse_sql.meters import meter_params
from warehouse_sql.windows import Window, window_starts

_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """`events` of the meter's event name that were received in [start, end); `last_at` is None where there are none."""

    start: datetime
    end: datetime
    events: int
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class Freshness:
    """None stands for never. The oldest event that no rollup has seen was received within the minute `waiting_since`.

    A weighted sum has no rollups: it is always read from the events.
    """

    last_received_at: datetime | None
    last_timestamp: datetime | None
    rollup_watermark: datetime | None
    dirty_days: tuple[date, ...]
    waiting_since: datetime | None


def read_arrivals(
    warehouse: Warehouse, scope: Scope, meter: Meter, start: datetime, end: datetime, window: Window, timezone: str
) -> list[Arrivals]:
    """One entry for each window of the time of arrival, from the minute of `start` to that which holds `end`.

    Arrivals are counted by event name, before any filter, and a resend counts again. Errors: InvalidInput, TooLarge.
    """
    check_period(start, end)
    start = start.replace(second=0, microsecond=0)
    if end.second or end.microsecond:
        end = end.replace(second=0, microsecond=0) + _MINUTE
    starts = window_starts(start, end, window, timezone)
    asked = {
        **meter_params(scope, meter),
        "start_us": to_micros(start),
        "end_us": to_micros(end),
        "window_starts_us": [to_micros(at) for at in starts],
    }
    found = {from_micros(row["window_us"]): row for row in warehouse.rows("queries/meter_arrivals", asked)}
    ends: Sequence[datetime] = (*starts[1:], end)
    return [
        Arrivals(at, until, found[at]["events"], from_micros(found[at]["last_us"]))
        if at in found
        else Arrivals(at, until, 0, None)
        for at, until in zip(starts, ends, strict=True)
    ]


def read_freshness(warehouse: Warehouse, scope: Scope, meter: Meter) -> Freshness:
    """How fresh the usage of a meter is in its version."""
    row = warehouse.rows("queries/meter_freshness", meter_params(scope, meter))[0]
    rolled_up = meter.aggregation.type is not AggregationType.WEIGHTED_SUM
    return Freshness(
        last_received_at=_instant(row["received_us"]),
        last_timestamp=_instant(row["timestamp_us"]),
        rollup_watermark=_instant(row["watermark_us"]),
        dirty_days=tuple(row["dirty_days"]) if rolled_up else (),
        waiting_since=_instant(row["waiting_us"]) if rolled_up else None,
    )


def _instant(micros: int | None) -> datetime | None:
    return from_micros(micros) if micros else None
