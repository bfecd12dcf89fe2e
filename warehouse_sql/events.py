"""Reads single events: by id, in pages, and those that a meter has not seen in time, or that conflict."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from billing.errors import InvalidInput, NotFound
from billing.meter import Meter
from billing.scope import Scope
from warehouse_sql.aggregates import check_period
from warehouse_sql.client import Warehouse
from warehouse_sql.days import hour_range
from warehouse_sql.instants import FAR_FUTURE, from_micros, to_micros
from warehouse_sql.meters import customer_params, meter_params, scope_params
from warehouse_sql.reconcile import reconciled_watermark

MOST_AT_ONCE: Final = 1000
# A page is looked for in days of together about so many events, then in the days before them.
_EVENTS_AT_ONCE: Final = 200_000
_EARLIEST: Final = from_micros(0)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it was sent, properties as texts. `superseded_because` (`duplicate`, `conflict`) says that an earlier
    received one with the same identity counts in its place.
    """

    event_id: str
    event_name: str
    customer_id: str
    timestamp: datetime
    properties: dict[str, str | None]
    idempotency_key: str | None
    source: str
    ingested_at: datetime
    superseded_because: str | None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Newest first; `next_cursor` is None at the end."""

    items: list[StoredEvent]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class LateEvent:
    """`text` is that of the meter's property."""

    customer_id: str
    event_id: str
    timestamp: datetime
    ingested_at: datetime
    text: str | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """An event whose identity had come before with other content: never billed. The `winner_…` is the one that
    counts.
    """

    identity: str
    event_name: str
    customer_id: str
    event_id: str
    timestamp: datetime
    ingested_at: datetime
    winner_event_name: str
    winner_customer_id: str
    winner_event_id: str
    winner_timestamp: datetime


def get_event(warehouse: Warehouse, scope: Scope, event_id: str) -> StoredEvent:
    """The first received event of that id. NotFound `event_not_found`."""
    rows = warehouse.rows("queries/event_by_id", {**scope_params(scope), "event_id": event_id})
    if not rows:
        raise NotFound("event_not_found", "There is no such event.", field="event_id")
    return _stored(rows[0])


def list_events(
    warehouse: Warehouse,
    scope: Scope,
    *,
    event_name: str | None = None,
    customer_id: str | None = None,
    start: datetime = _EARLIEST,
    end: datetime = FAR_FUTURE,
    cursor: str | None = None,
    limit: int = 20,
) -> EventPage:
    """A page of the events with `start` <= timestamp < `end`, newest first. InvalidInput `bad_cursor`."""
    before, before_id = (end, "") if cursor is None else _read_cursor(cursor)
    before = min(before, end)
    asked = {
        **scope_params(scope),
        **customer_params(None if customer_id is None else [customer_id]),
        "all_names": event_name is None,
        "event_name": event_name or "",
        "start_us": to_micros(start),
        "before_us": to_micros(before),
        "before_id": before_id,
    }
    found: list[StoredEvent] = []
    for first_day, last_day in _spans(warehouse, asked, start.astimezone(UTC).date(), before.astimezone(UTC).date()):
        wanted = limit + 1 - len(found)
        span = {"first_day": first_day, "last_day": last_day, "row_limit": wanted}
        found += [_stored(row) for row in warehouse.rows("queries/list_events", {**asked, **span})]
        if len(found) > limit:
            last = found[limit - 1]
            return EventPage(found[:limit], _cursor(last.timestamp, last.event_id))
    return EventPage(found, None)


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


def conflicts(
    warehouse: Warehouse, scope: Scope, first_day: date, last_day: date, limit: int = MOST_AT_ONCE
) -> list[Conflict]:
    """Events of these UTC days that came again with other content, as received; known from the last reconcile run
    on.
    """
    asked = {**scope_params(scope), "first_day": first_day, "last_day": last_day, "row_limit": limit}
    return [Conflict(**row) for row in warehouse.rows("checks/events_conflict", asked)]


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
    return StoredEvent(
        event_id=row["event_id"],
        event_name=row["event_name"],
        customer_id=row["customer_id"],
        timestamp=from_micros(row["timestamp_us"]),
        properties=_as_sent(row["properties"]),
        idempotency_key=row["idempotency_key"],
        source=row["source"],
        ingested_at=from_micros(row["ingested_us"]),
        superseded_because=row["superseded_because"] or None,
    )


def _as_sent(properties: Mapping[str, str | None]) -> dict[str, str | None]:
    """Without the dotted paths that ingestion adds for the leaves of nested objects."""
    objects = tuple(f"{key}." for key, text in properties.items() if text is not None and text.startswith("{"))
    return {key: text for key, text in properties.items() if not (objects and key.startswith(objects))}


def _cursor(timestamp: datetime, event_id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([to_micros(timestamp), event_id]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        micros, event_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        at = from_micros(micros)
    except (binascii.Error, ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(
            "bad_cursor", "is not a cursor of this list", field="cursor", hint="Use the next_cursor of an earlier page."
        ) from error
    if not isinstance(event_id, str) or not _EARLIEST <= at <= FAR_FUTURE:
        raise InvalidInput("bad_cursor", "is not a cursor of this list", field="cursor")
    return at, event_id
