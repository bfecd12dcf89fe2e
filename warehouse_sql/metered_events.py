"""The events behind a quantity, in pages: what a meter counted of one customer in a period, up to a watermark (M4)."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from billing.errors import InvalidInput
from billing.meter import AggregationType, Meter
from billing.period import Period
from billing.scope import Scope
from warehouse_sql.aggregates import check_period
from warehouse_sql.client import Warehouse
from warehouse_sql.days import hour_range
from warehouse_sql.instants import EPOCH, from_micros, to_micros
from warehouse_sql.meters import customer_params, meter_params
from warehouse_sql.reconcile import reconciled_watermark

__all__ = ["MeteredEvent", "MeteredPage", "metered_events"]

_NO_LEVEL: Final = {"level_us": -1, "level_identity": ""}


@dataclass(frozen=True, slots=True)
class MeteredEvent:
    """`text` is that of the meter's property; None where the meter reads none."""

    customer_id: str
    event_id: str
    idempotency_key: str | None
    timestamp: datetime
    ingested_at: datetime
    text: str | None


@dataclass(frozen=True, slots=True)
class MeteredPage:
    """Newest first; `next_cursor` is None at the end."""

    items: list[MeteredEvent]
    next_cursor: str | None


def metered_events(
    warehouse: Warehouse,
    scope: Scope,
    meter: Meter,
    period: Period,
    customer_id: str,
    *,
    until: datetime,
    cursor: str | None = None,
    limit: int = 20,
) -> MeteredPage:
    """A page of exactly the events that `read_quantities` counts for the customer's external id with that watermark.

    The last one of a weighted sum may lie before the period: it set the level with which the period began. Errors:
    InvalidInput `bad_cursor`, and those of a period.
    """
    check_period(period.start, period.end)
    before_us, before_identity = (to_micros(period.end), "") if cursor is None else _read_cursor(cursor)
    asked = {
        **meter_params(scope, meter),
        **customer_params([customer_id]),
        "start_us": to_micros(period.start),
        "end_us": to_micros(period.end),
        "until_us": to_micros(until),
        "reconciled_us": to_micros(reconciled_watermark(warehouse)),
    }
    level = _level(warehouse, meter, asked, period.start)
    first = period.start if level is _NO_LEVEL else from_micros(level["level_us"])
    page = {
        **hour_range(first, period.end),
        **level,
        "before_us": before_us,
        "before_identity": before_identity,
        "row_limit": limit + 1,
    }
    rows = warehouse.rows("queries/metered_events", {**asked, **page})
    next_cursor = _cursor(rows[limit - 1]) if len(rows) > limit else None
    return MeteredPage([_event(meter, row) for row in rows[:limit]], next_cursor)


def _level(warehouse: Warehouse, meter: Meter, asked: dict[str, Any], start: datetime) -> dict[str, Any]:
    if meter.aggregation.type is not AggregationType.WEIGHTED_SUM or start <= EPOCH:
        return _NO_LEVEL
    found = warehouse.rows("queries/level_before", {**asked, **hour_range(EPOCH, start)})
    return {"level_us": found[0]["timestamp_us"], "level_identity": found[0]["identity"]} if found else _NO_LEVEL


def _event(meter: Meter, row: dict[str, Any]) -> MeteredEvent:
    return MeteredEvent(
        customer_id=row["customer_id"],
        event_id=row["event_id"],
        idempotency_key=row["idempotency_key"],
        timestamp=from_micros(row["timestamp_us"]),
        ingested_at=from_micros(row["ingested_us"]),
        text=None if meter.aggregation.property is None else row["text"],
    )


def _cursor(row: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([row["timestamp_us"], row["identity"]]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[int, str]:
    """As written by `_cursor`; the engine's times end in 2299, so a cursor that lies beyond is none of ours."""
    try:
        micros, identity = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        to_micros(from_micros(micros))
    except (binascii.Error, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _bad_cursor() from error
    if isinstance(micros, bool) or not isinstance(micros, int) or not isinstance(identity, str) or micros < 0:
        raise _bad_cursor()
    return micros, identity


def _bad_cursor() -> InvalidInput:
    return InvalidInput(
        "bad_cursor", "is not a cursor of this list", field="cursor", hint="Use the next_cursor of an earlier page."
    )
