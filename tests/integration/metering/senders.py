"""Builders with plain defaults: events, meters, queries, and the write that a request would do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.meter import Aggregation, AggregationType, Filter, FilterOp, Meter
from billing.scope import Scope
from ingestion.event import Event
from ingestion.writer import EventWriter
from warehouse_sql.client import Warehouse
from warehouse_sql.usage import UsageQuery, UsageRow, read_usage


def at(text: str) -> datetime:
    """`2026-01-05`, `2026-01-05 10:30` or a full time, in UTC where it has no offset."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else datetime.fromisoformat(f"{moment.isoformat()}+00:00")


def an_event(
    identity: str,
    timestamp: str | datetime = "2026-01-05 10:00",
    *,
    customer_id: str = "acme",
    event_name: str = "api.request",
    timed: bool = True,
    key: str | None = None,
    **properties: str | None,
) -> Event:
    moment = at(timestamp) if isinstance(timestamp, str) else timestamp
    return Event(event_name, customer_id, identity, moment, key, {**properties}, timed)


def a_meter(
    aggregation: str = "sum",
    prop: str | None = "n",
    *,
    event_name: str = "api.request",
    filters: Sequence[tuple[str, str, Any]] = (),
    group_by: tuple[str, ...] = (),
    meter_id: str = "meter_requests",
    version: int = 1,
    multiplier: str | None = None,
    event_from: str | None = None,
) -> Meter:
    return Meter(
        id=meter_id,
        version=version,
        name="Requests",
        event_name=event_name,
        aggregation=Aggregation(AggregationType(aggregation), None if aggregation == "count" else prop),
        filters=tuple(Filter(name, FilterOp(op), value) for name, op, value in filters),
        group_by=group_by,
        multiplier=None if multiplier is None else Decimal(multiplier),
        event_from=None if event_from is None else at(event_from),
    )


def send(warehouse: Warehouse, scope: Scope, *events: Event) -> None:
    EventWriter(warehouse).write(scope, events)


def usage(
    warehouse: Warehouse,
    scope: Scope,
    meter: Meter,
    start: str = "2026-01-01",
    end: str = "2026-02-01",
    *,
    customers: tuple[str, ...] | None = ("acme",),
    source: Any = "auto",
    **more: Any,
) -> Sequence[UsageRow]:
    query = UsageQuery(scope, meter, at(start), at(end), customers, **more)
    return read_usage(warehouse, query, source).rows


def values(rows: Sequence[UsageRow]) -> list[str | None]:
    """The values alone, as plain text."""
    return [None if row.value is None else format(row.value, "f") for row in rows]
