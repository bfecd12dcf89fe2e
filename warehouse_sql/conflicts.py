"""Identities that came again with other content: which event counts, which was left out, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from billing.scope import Scope
from warehouse_sql.client import Warehouse
from warehouse_sql.cursors import read_cursor, write_cursor
from warehouse_sql.event_log import StoredEvent, received_events
from warehouse_sql.instants import EPOCH, FAR_FUTURE, from_micros, to_micros
from warehouse_sql.meters import customer_params, scope_params
from warehouse_sql.reconcile import reconciled_watermark


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that differs, properties as `properties.<key>`; None where an event has no such property, or null."""

    field: str
    winner: str | None
    loser: str | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """`loser` came under the identity of `winner`, which had been received before: it is never billed."""

    winner: StoredEvent
    loser: StoredEvent

    @property
    def differences(self) -> list[Difference]:
        return differences(self.winner, self.loser)


@dataclass(frozen=True, slots=True)
class ConflictPage:
    """Newest first by the time received; whatever was received up to `reconciled_until` has been compared."""

    items: list[Conflict]
    next_cursor: str | None
    reconciled_until: datetime


def list_conflicts(
    warehouse: Warehouse,
    scope: Scope,
    *,
    customer_id: str | None = None,
    start: datetime = EPOCH,
    end: datetime = FAR_FUTURE,
    cursor: str | None = None,
    limit: int = 20,
) -> ConflictPage:
    """A page of the conflicts whose loser has `start` <= timestamp < `end`; of a customer, whichever side it is on.

    InvalidInput `cursor_invalid`.
    """
    until = reconciled_watermark(warehouse)
    before, place = (FAR_FUTURE, 0) if cursor is None else read_cursor(cursor)
    asked = {
        **scope_params(scope),
        **customer_params(None if customer_id is None else [customer_id]),
        "start_us": to_micros(start),
        "end_us": to_micros(end),
        "before_us": to_micros(before),
        "before_place": place,
        "row_limit": limit + 1,
    }
    rows = warehouse.rows("queries/list_conflicts", asked)
    kept = rows[:limit]
    received = received_events(warehouse, scope, sorted({row["identity"] for row in kept}))
    more = write_cursor(kept[-1]["ingested_us"], kept[-1]["position"]) if len(rows) > limit else None
    found = (_conflict(row, received) for row in kept)
    return ConflictPage([one for one in found if one is not None], more, until)


def differences(winner: StoredEvent, loser: StoredEvent) -> list[Difference]:
    """Where two events differ in what was sent, in the order of the fields."""
    sides = [_shown(winner), _shown(loser)]
    fields = dict.fromkeys([*sides[0], *sides[1]])
    return [
        Difference(field, *(side.get(field) for side in sides))
        for field in fields
        if sides[0].get(field, "") != sides[1].get(field, "") or (field in sides[0]) != (field in sides[1])
    ]


def _shown(event: StoredEvent) -> dict[str, str | None]:
    return {
        "event_name": event.event_name,
        "customer_id": event.customer_id,
        "timestamp": event.timestamp.isoformat() if event.timed else None,
        **{f"properties.{key}": text for key, text in sorted(event.properties.items())},
    }


def _conflict(row: Mapping[str, Any], received: list[StoredEvent]) -> Conflict | None:
    """None where the rows were not among the copies that are read at once."""
    hour = datetime.fromtimestamp(row["hour_s"], UTC)
    loser_key = (row["event_name"], row["identity"], row["content"], hour)
    winner = (row["winner_event_name"], row["winner_customer_id"], from_micros(row["winner_timestamp_us"]))
    losers = [event for event in received if event.key == loser_key]
    winners = [
        event
        for event in received
        if event.identity == row["identity"] and (event.event_name, event.customer_id, event.timestamp) == winner
    ]
    return Conflict(winners[0], losers[0]) if winners and losers else None
