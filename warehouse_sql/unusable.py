"""Events that fit a meter and have no value that it can count (promise U3), page by page."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.errors import InvalidInput
from billing.meter import Meter
from billing.scope import Scope
from warehouse_sql.aggregates import check_period
from warehouse_sql.client import Warehouse
from warehouse_sql.days import hour_range
from warehouse_sql.instants import FAR_FUTURE, from_micros, to_micros
from warehouse_sql.meters import customer_params, meter_params
from warehouse_sql.reconcile import reconciled_watermark


@dataclass(frozen=True, slots=True)
class UnusableEvent:
    """`reason`: `missing`, `not_a_number`, `too_many_decimals` (over 24) or `too_large` (over 38 digits)."""

    customer_id: str
    event_id: str
    timestamp: datetime
    text: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class UnusablePage:
    """Oldest first; `counts` by reason are those of the whole list. `next_cursor` is None at the end."""

    items: list[UnusableEvent]
    counts: dict[str, int]
    next_cursor: str | None


def list_unusable(
    warehouse: Warehouse,
    scope: Scope,
    meter: Meter,
    start: datetime,
    end: datetime,
    customer_ids: Sequence[str] | None = None,
    *,
    cursor: str | None = None,
    limit: int = 100,
) -> UnusablePage:
    """A page of the events in [start, end). InvalidInput `cursor_invalid` and those of `check_period`."""
    check_period(start, end)
    after_us, after_event, after_identity = (0, "", "") if cursor is None else _read_cursor(cursor)
    rows = warehouse.rows(
        "queries/list_unusable_events",
        {
            **meter_params(scope, meter),
            **customer_params(customer_ids),
            **hour_range(start, end),
            "start_us": to_micros(start),
            "end_us": to_micros(end),
            "until_us": to_micros(FAR_FUTURE),
            "reconciled_us": to_micros(reconciled_watermark(warehouse)),
            "after_us": after_us,
            "after_event": after_event,
            "after_identity": after_identity,
            "row_limit": limit + 1,
        },
    )
    items = [
        UnusableEvent(row["customer_id"], row["event_id"], from_micros(row["timestamp_us"]), row["text"], row["reason"])
        for row in rows[:limit]
    ]
    last = rows[limit - 1] if len(rows) > limit else None
    following = None if last is None else _cursor(last["timestamp_us"], last["event_id"], last["identity"])
    return UnusablePage(items, dict(rows[0]["counts"]) if rows else {}, following)


def _cursor(timestamp_us: int, event_id: str, identity: str) -> str:
    place = json.dumps([timestamp_us, event_id, identity])
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[int, str, str]:
    try:
        at_us, event_id, identity = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if type(at_us) is int and 0 <= at_us < 2**62 and isinstance(event_id, str) and isinstance(identity, str):
            return at_us, event_id, identity
    except (binascii.Error, ValueError, TypeError):
        pass
    raise InvalidInput(
        "cursor_invalid",
        "this cursor was not made by this list",
        field="cursor",
        hint="Use next_cursor of the page before, or leave the cursor out.",
    )
