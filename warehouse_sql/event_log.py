"""Single events as they were received: all copies of an identity with what became of each, and pages of a tenant's
events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from billing.scope import Scope
from warehouse_sql.client import Warehouse
from warehouse_sql.cursors import read_cursor, write_cursor
from warehouse_sql.instants import EPOCH, FAR_FUTURE, from_micros, to_micros
from warehouse_sql.meters import customer_params, scope_params
from warehouse_sql.reconcile import LOOKBACK, reconciled_watermark

MOST_COPIES: Final = 1000
# A page is looked for in days of together about so many events, then in the days before them.
_EVENTS_AT_ONCE: Final = 200_000


class EventStatus(StrEnum):
    """`duplicate` and `conflict` lost against an earlier received event of their identity; `voided` and `amended` were
    taken out by somebody, and keep their identity.
    """

    COUNTED = "counted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    VOIDED = "voided"
    AMENDED = "amended"

    @property
    def holds_identity(self) -> bool:
        """Whether later events of the same identity lose against this one."""
        return self not in {EventStatus.DUPLICATE, EventStatus.CONFLICT}


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it was received. `texts` are its properties with the dotted paths to the leaves of nested objects,
    as meters read them; `properties` only what was sent. `timed` is false where it came without a timestamp.
    """

    event_id: str
    identity: str
    event_name: str
    customer_id: str
    timestamp: datetime
    timed: bool
    texts: dict[str, str | None]
    idempotency_key: str | None
    source: str
    ingested_at: datetime
    content_hash: str
    status: EventStatus
    superseded_at: datetime | None

    @property
    def properties(self) -> dict[str, str | None]:
        objects = tuple(f"{key}." for key, text in self.texts.items() if text is not None and text.startswith("{"))
        return {key: text for key, text in self.texts.items() if not (objects and key.startswith(objects))}

    @property
    def key(self) -> tuple[str, str, str, datetime]:
        """What names one row of `events` in its environment: rows of equal key are one event received again."""
        hour = self.timestamp.replace(minute=0, second=0, microsecond=0)
        return self.event_name, self.identity, self.content_hash, hour


@dataclass(frozen=True, slots=True)
class EventFilters:
    """`customer_id` is the caller's own (external) id; the time is [start, end) of the event's own timestamp."""

    event_id: str | None = None
    event_name: str | None = None
    customer_id: str | None = None
    source: str | None = None
    property: str | None = None
    property_value: str | None = None
    superseded: bool | None = None
    start: datetime = EPOCH
    end: datetime = FAR_FUTURE


@dataclass(frozen=True, slots=True)
class EventPage:
    """Newest first; `next_cursor` is None at the end."""

    items: list[StoredEvent]
    next_cursor: str | None


def identities_of(warehouse: Warehouse, scope: Scope, event_id: str) -> list[str]:
    """The identities under which events of this id were received, at most MOST_COPIES of them."""
    asked = {**scope_params(scope), "event_id": event_id, "row_limit": MOST_COPIES}
    return [row["identity"] for row in warehouse.rows("queries/identities_of_event", asked)]


def received_events(warehouse: Warehouse, scope: Scope, identities: Sequence[str]) -> list[StoredEvent]:
    """Everything received under these identities, in the order received, each with what became of it.

    What the reconcile step has not compared yet is compared here. At most MOST_COPIES, the first received ones.
    """
    asked = {**scope_params(scope), "identities": list(identities), "row_limit": MOST_COPIES}
    rows = warehouse.rows("queries/received_events", asked) if identities else []
    return list(_compared(_stored(row) for row in rows))


def list_events(
    warehouse: Warehouse, scope: Scope, filters: EventFilters, *, cursor: str | None = None, limit: int = 20
) -> EventPage:
    """A page of the events that fit all filters, newest first by their own timestamps. InvalidInput `cursor_invalid`.

    `superseded` goes by what the reconcile step has seen.
    """
    start = filters.start.astimezone(UTC)
    before, place = (filters.end.astimezone(UTC), 0) if cursor is None else read_cursor(cursor)
    asked = {
        **scope_params(scope),
        **customer_params(None if filters.customer_id is None else [filters.customer_id]),
        "all_names": filters.event_name is None,
        "event_name": filters.event_name or "",
        "all_ids": filters.event_id is None,
        "event_id": filters.event_id or "",
        "all_sources": filters.source is None,
        "source": filters.source or "",
        "all_properties": filters.property is None,
        "property": filters.property or "",
        "property_value": filters.property_value or "",
        "superseded_or_not": filters.superseded is None,
        "superseded": bool(filters.superseded),
        "start_us": to_micros(start),
        "before_us": to_micros(before),
        "before_place": place,
    }
    found: list[dict[str, Any]] = []
    for first_day, last_day in _spans(warehouse, asked, start.date(), before.date()):
        span = {"first_day": first_day, "last_day": last_day, "row_limit": limit + 1 - len(found)}
        found += warehouse.rows("queries/list_events", {**asked, **span})
        if len(found) > limit:
            break
    more = len(found) > limit
    kept = found[:limit]
    items = _compared_with_all(warehouse, scope, [_stored(row) for row in kept])
    return EventPage(items, write_cursor(kept[-1]["timestamp_us"], kept[-1]["position"]) if more else None)


def _compared_with_all(warehouse: Warehouse, scope: Scope, events: list[StoredEvent]) -> list[StoredEvent]:
    """The events with what became of them; those that the reconcile step has not seen are compared at once."""
    reconciled = reconciled_watermark(warehouse)
    fresh = {event.identity for event in events if event.ingested_at > reconciled}
    known = {event.key: event.status for event in received_events(warehouse, scope, sorted(fresh))}
    return [replace(event, status=known.get(event.key, event.status)) for event in events]


def _compared(events: Iterable[StoredEvent]) -> Iterator[StoredEvent]:
    """In the order received: an event loses against one of its identity that came within LOOKBACK before it."""
    holders: defaultdict[str, StoredEvent | None] = defaultdict(lambda: None)
    for event in events:
        holder, status = holders[event.identity], event.status
        if status is EventStatus.COUNTED and holder is not None and event.ingested_at - holder.ingested_at < LOOKBACK:
            same = event.content_hash == holder.content_hash
            status = EventStatus.DUPLICATE if same else EventStatus.CONFLICT
        if status.holds_identity:
            holders[event.identity] = event
        yield replace(event, status=status)


def _spans(
    warehouse: Warehouse, asked: Mapping[str, Any], first_day: date, last_day: date
) -> Iterator[tuple[date, date]]:
    """Spans of days that have events, the newest first, each of about _EVENTS_AT_ONCE of them."""
    while last_day >= first_day:
        days = warehouse.rows("queries/event_days", {**asked, "first_day": first_day, "last_day": last_day})
        if not days:
            return
        newest, events = days[0]["day"], 0
        for row in days:
            events += row["events"]
            if events >= _EVENTS_AT_ONCE or row is days[-1]:
                yield row["day"], newest
                newest, events = row["day"] - timedelta(days=1), 0
        last_day = days[-1]["day"] - timedelta(days=1)


def _stored(row: Mapping[str, Any]) -> StoredEvent:
    reason = row["superseded_because"]
    return StoredEvent(
        event_id=row["event_id"],
        identity=row["identity"],
        event_name=row["event_name"],
        customer_id=row["customer_id"],
        timestamp=from_micros(row["timestamp_us"]),
        timed=row["timed"],
        texts=row["properties"],
        idempotency_key=row["idempotency_key"],
        source=row["source"],
        ingested_at=from_micros(row["ingested_us"]),
        content_hash=row["content"],
        status=EventStatus(reason) if reason else EventStatus.COUNTED,
        superseded_at=from_micros(row["superseded_us"]) if reason else None,
    )
