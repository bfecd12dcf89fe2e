"""Takes an event out of every read, for good: the warehouse's part of voiding and amending."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from billing.scope import Scope
from warehouse_sql.client import Warehouse
from warehouse_sql.event_log import EventStatus, StoredEvent
from warehouse_sql.instants import from_micros, to_micros
from warehouse_sql.meters import scope_params


def take_out(
    warehouse: Warehouse,
    scope: Scope,
    event: StoredEvent,
    reason: Literal[EventStatus.VOIDED, EventStatus.AMENDED],
    winner: tuple[str, str, datetime] | None,
) -> None:
    """Leaves one received event out of every read, and makes its day dirty for the rollups that hold it.

    `winner` is event name, customer and timestamp of what takes its place, if anything. Again changes nothing.
    Raises Unavailable, after which it may have been done or not: then do it again.
    """
    winner_name, winner_customer, winner_at = winner or ("", "", from_micros(0))
    params: dict[str, Any] = {
        **scope_params(scope),
        "event_name": event.event_name,
        "identity": event.identity,
        "content_hash": int(event.content_hash),
        "customer_id": event.customer_id,
        "timestamp_us": to_micros(event.timestamp),
        "event_id": event.event_id,
        "ingested_us": to_micros(event.ingested_at),
        "reason": reason.value,
        "winner_event_name": winner_name,
        "winner_customer_id": winner_customer,
        "winner_timestamp_us": to_micros(winner_at),
        "winner_event_id": event.event_id if winner else "",
    }
    warehouse.command("queries/supersede_event", params)
    # A build may have begun after the first row was dated and before it could be seen. The second one is dated after
    # that, so such a build does not pass for clean.
    warehouse.command("queries/supersede_event", params)
