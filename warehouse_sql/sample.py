"""What a meter makes of events that need not be stored: read one by one and summed up by the engine's own rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from billing.errors import TooLarge
from billing.meter import AggregationType, Filter, Meter
from billing.scope import Scope
from warehouse_sql.aggregates import Parts
from warehouse_sql.client import Warehouse
from warehouse_sql.instants import to_micros
from warehouse_sql.meters import meter_params
from warehouse_sql.readings import readings_of
from warehouse_sql.values import multiplied

# The texts travel as parameters of a statement.
MAX_SAMPLE_CHARACTERS: Final = 64_000
_NOWHERE: Final = Scope("", "")


@dataclass(frozen=True, slots=True)
class SampleEvent:
    customer_id: str
    timestamp: datetime
    identity: str
    properties: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the meter reads from one event. `unmet` is the first filter that it does not fit; `reason` why its value
    cannot be counted. Where both are None it counts: with `number` (times the multiplier), or for a count_unique with
    `text`.
    """

    text: str | None
    number: Decimal | None
    unmet: Filter | None
    reason: str | None
    group: dict[str, str]


def read_sample(
    warehouse: Warehouse,
    meter: Meter,
    events: Sequence[SampleEvent],
    starts: Sequence[datetime],
    end: datetime,
    held_until: datetime,
) -> tuple[list[Reading], Parts]:
    """A reading of each event; the aggregates of those from `starts[0]` to `end`, by window and the meter's groups.

    The caller has left out other event names and identities that came before. TooLarge `sample_too_large`.
    """
    if not events:
        return [], Parts(meter)
    names = sorted({meter.aggregation.property or "", *(one.property for one in meter.filters), *meter.group_by} - {""})
    texts = [[event.properties.get(name) for name in names] for event in events]
    size = sum(len(text or "") for row in texts for text in row) + sum(
        len(event.customer_id) + len(event.identity) for event in events
    )
    if size > MAX_SAMPLE_CHARACTERS:
        raise TooLarge(
            "sample_too_large",
            f"holds more than {MAX_SAMPLE_CHARACTERS} characters of what the meter reads",
            field="events",
            hint="Send fewer events, or shorter texts.",
        )
    asked: dict[str, Any] = {
        **meter_params(_NOWHERE, meter),
        "group_by": list(meter.group_by),
        "property_names": names,
        "property_texts": texts,
        "customers": [event.customer_id for event in events],
        "timestamps_us": [to_micros(event.timestamp) for event in events],
        "identities": [event.identity for event in events],
        "start_us": to_micros(starts[0]),
        "end_us": to_micros(end),
        "window_starts_us": [to_micros(at) for at in starts],
        "window_ends_us": [to_micros(at) for at in (*starts[1:], end)],
        "held_until_us": to_micros(min(end, held_until)),
    }
    levels = meter.aggregation.type is AggregationType.WEIGHTED_SUM
    readings = [_reading(meter, row) for row in readings_of(warehouse, names, texts, [meter])]
    usage = "queries/meter_sample_levels" if levels else "queries/meter_sample_usage"
    return readings, Parts(meter, [warehouse.columns(usage, asked)])


def _reading(meter: Meter, row: Mapping[str, Any]) -> Reading:
    number = None if row["number"] is None else multiplied(Decimal(row["number"]), meter.multiplier)
    measures = meter.aggregation.type not in {AggregationType.COUNT, AggregationType.COUNT_UNIQUE}
    return Reading(
        text=row["text"],
        number=number if measures else None,
        unmet=meter.filters[row["unmet"] - 1] if row["unmet"] else None,
        reason=row["reason"] or None,
        group=dict(zip(meter.group_by, row["groups"], strict=True)),
    )
