"""What meters read from one event, whether it is stored or not, by the rules of the usage queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing.meter import AggregationType, Filter, Meter
from warehouse_sql.client import Warehouse
from warehouse_sql.meters import filters_of


@dataclass(frozen=True, slots=True)
class Reading:
    """`text` is that of the meter's property. `reason` says why the event does not count: `before_event_from`,
    `filter_not_met` (by `unmet`), `missing`, `not_a_number`, `too_many_decimals`, `too_large`; None where it does.
    """

    text: str | None
    reason: str | None
    unmet: Filter | None

    @property
    def fits(self) -> bool:
        """Whether the meter takes the event, with a usable value or not."""
        return self.reason not in {"before_event_from", "filter_not_met"}


def read_event(
    warehouse: Warehouse, timestamp: datetime, texts: Mapping[str, str | None], meters: Sequence[Meter]
) -> list[Reading]:
    """One reading for each meter, in their order. `texts` are the event's properties as meters read them."""
    rows = readings_of(warehouse, list(texts), [list(texts.values())], meters)
    return [
        _reading(meter, timestamp, row["unmet"], row["text"], row["reason"])
        for meter, row in zip(meters, rows, strict=True)
    ]


def readings_of(
    warehouse: Warehouse, names: Sequence[str], texts: Sequence[Sequence[str | None]], meters: Sequence[Meter]
) -> list[dict[str, Any]]:
    """A row of `meter_readings.sql` for each event and meter; `texts` are those of the properties `names`, by event."""
    if not texts or not meters:
        return []
    return warehouse.rows(
        "queries/meter_readings",
        {
            "property_names": names,
            "property_texts": texts,
            "aggregations": [meter.aggregation.type.value for meter in meters],
            "meter_properties": [meter.aggregation.property or "" for meter in meters],
            "filters": [filters_of(meter) for meter in meters],
            "group_by": [list(meter.group_by) for meter in meters],
        },
    )


def _reading(meter: Meter, timestamp: datetime, unmet: int, text: str | None, reason: str) -> Reading:
    shown = None if meter.aggregation.type is AggregationType.COUNT else text
    if meter.event_from is not None and timestamp < meter.event_from:
        return Reading(shown, "before_event_from", None)
    if unmet:
        return Reading(shown, "filter_not_met", meter.filters[unmet - 1])
    return Reading(shown, reason or None, None)
