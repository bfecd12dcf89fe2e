"""Use case: what a meter would make of sample events, of which none is stored."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.errors import InvalidInput
from billing.exact import canonical
from billing.meter import AggregationType, Filter, Meter
from billing.scope import Scope
from ingestion.decode import Decoded
from ingestion.event import Event
from warehouse_sql.aggregates import check_period
from warehouse_sql.client import Warehouse
from warehouse_sql.sample import Reading, SampleEvent, read_sample
from warehouse_sql.usage import UsageQuery, UsageRow
from warehouse_sql.usage_query import UsageRows
from warehouse_sql.windows import Window, window_starts

__all__ = ["Terms", "Tried", "TriedEvent", "try_meter"]

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Terms:
    """The time of the sample's aggregate. Left out, it is from the first event to the last one, both included."""

    start_time: datetime | None = None
    end_time: datetime | None = None
    window_size: Window | None = None
    timezone: str = "UTC"


@dataclass(frozen=True)
class TriedEvent:
    """What becomes of one event; `reason` is None where it counts, with `value` as it is counted.

    `reason`: `refused` (why, in `detail`), `duplicate`, `other_event_name`, `before_event_from`, `outside_the_time`,
    `filter_not_met` (by `unmet`), or why its value cannot be counted.
    """

    index: int
    event_id: str | None
    reason: str | None
    value: str | None = None
    unmet: Filter | None = None
    detail: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    group: dict[str, str] | None = None


@dataclass(frozen=True)
class Tried:
    """The events in their order, and the rows that a usage query would answer with if these were all there are."""

    events: tuple[TriedEvent, ...]
    rows: tuple[UsageRow, ...]


def try_meter(warehouse: Warehouse, meter: Meter, decoded: Decoded, terms: Terms, now: datetime) -> Tried:
    """Read the sample by the rules of the engine. Errors: InvalidInput, TooLarge, Unavailable."""
    bad = {refused.index: refused for refused in decoded.refused}
    places = [index for index in range(len(decoded.events) + len(bad)) if index not in bad]
    events = dict(zip(places, decoded.events, strict=True))
    start, end = _time(meter, decoded.events, terms, now)
    starts = window_starts(start, end, terms.window_size, terms.timezone)
    kept = _first_of_each_identity(meter, events)
    sample = [SampleEvent(event.customer_id, event.timestamp, event.identity, event.texts()) for event in kept.values()]
    readings, parts = read_sample(warehouse, meter, sample, starts, end, now)
    read = dict(zip(kept, readings, strict=True))
    tried = [
        TriedEvent(index, None, "refused", detail=f"{bad[index].code}: {bad[index].reason}")
        if index in bad
        else _tried(meter, index, events[index], read, starts, end)
        for index in range(len(events) + len(bad))
    ]
    query = UsageQuery(Scope("", ""), meter, start, end, None, terms.window_size, terms.timezone, tuple(meter.group_by))
    return Tried(tuple(tried), tuple(UsageRows(parts, query, starts)))


def _time(meter: Meter, events: Sequence[Event], terms: Terms, now: datetime) -> tuple[datetime, datetime]:
    moments = [event.timestamp for event in events if event.event_name == meter.event_name] or [now]
    start = terms.start_time or min(moments)
    end = terms.end_time or max(*moments, start, start) + _TICK
    if end <= start:
        raise InvalidInput(
            "end_before_start", "The end must come after the start.", field="end_time", hint="Use a later end_time."
        )
    check_period(start, end)
    return start, end


def _first_of_each_identity(meter: Meter, events: Mapping[int, Event]) -> dict[int, Event]:
    """Those that the meter listens to, each identity once: the first one counts, whatever its name."""
    seen: set[str] = set()
    kept: dict[int, Event] = {}
    for index, event in events.items():
        if event.identity not in seen and event.event_name == meter.event_name:
            kept[index] = event
        seen.add(event.identity)
    return kept


def _tried(
    meter: Meter,
    index: int,
    event: Event,
    read: Mapping[int, Reading],
    starts: Sequence[datetime],
    end: datetime,
) -> TriedEvent:
    if event.event_name != meter.event_name:
        return TriedEvent(index, event.event_id, "other_event_name", detail=f"the meter counts {meter.event_name}")
    if index not in read:
        return TriedEvent(index, event.event_id, "duplicate", detail="an earlier event has the same identity")
    reading = read[index]
    if meter.event_from is not None and event.timestamp < meter.event_from:
        return TriedEvent(index, event.event_id, "before_event_from")
    if reading.unmet is not None:
        return TriedEvent(index, event.event_id, "filter_not_met", unmet=reading.unmet)
    if reading.reason is not None:
        return TriedEvent(index, event.event_id, reading.reason, value=reading.text)
    if not starts[0] <= event.timestamp < end:
        return TriedEvent(index, event.event_id, "outside_the_time", value=_value(meter, reading))
    window = bisect_right(starts, event.timestamp) - 1
    return TriedEvent(
        index,
        event.event_id,
        None,
        value=_value(meter, reading),
        start=starts[window],
        end=(*starts[1:], end)[window],
        group=reading.group or None,
    )


def _value(meter: Meter, reading: Reading) -> str | None:
    if meter.aggregation.type is AggregationType.COUNT:
        return "1"
    return reading.text if reading.number is None else canonical(reading.number)
