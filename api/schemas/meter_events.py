"""What a meter makes of events: of samples, of those that it cannot count, and of those that arrive."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, WithJsonSchema

from api.schemas.common import CustomerRef, Instant, Model, ShortName, TimezoneName, any_case
from api.schemas.meters import FilterBody
from api.schemas.paging import Paging
from api.schemas.usage import UsageRowOut
from billing.errors import InvalidInput
from billing.meter import Meter, definition_to_json
from pipelines.steps.try_meter import Terms, Tried, TriedEvent
from warehouse_sql.freshness import Arrivals, Freshness
from warehouse_sql.unusable import UnusablePage

__all__ = [
    "ArrivalsAsked",
    "ArrivalsOut",
    "FreshnessOut",
    "MeterTestIn",
    "MeterTestOut",
    "UnusableAsked",
    "UnusableEventsOut",
]

_MOST_DAYS = 366

# `ingestion.decode` and `billing.meter` read these, as they read events and meters that are kept.
SampleEvents = Annotated[
    list[Any],
    Field(min_length=1, max_length=100),
    WithJsonSchema(
        {"type": "array", "items": {"$ref": "#/components/schemas/EventIn"}, "minItems": 1, "maxItems": 100}
    ),
]
MeterOrId = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/components/schemas/MeterBody"}],
            "description": "The id of a meter, or what a meter says.",
        }
    ),
]


class MeterTestIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "meter": {
                        "name": "Tokens",
                        "event_name": "llm.request",
                        "aggregation": {"type": "sum", "property": "tokens"},
                        "filters": [{"property": "region", "op": "eq", "value": "eu"}],
                    },
                    "events": [
                        {
                            "event_id": "a",
                            "event_name": "llm.request",
                            "customer_id": "acme_corp_001",
                            "timestamp": "2024-01-21T14:30:00Z",
                            "properties": {"tokens": 12.5, "region": "eu"},
                        },
                        {
                            "event_id": "b",
                            "event_name": "llm.request",
                            "customer_id": "acme_corp_001",
                            "timestamp": "2024-01-21T14:31:00Z",
                            "properties": {"tokens": 4, "region": "us"},
                        },
                    ],
                }
            ]
        }
    )

    meter: MeterOrId
    events: SampleEvents
    start_time: Instant | None = Field(default=None, description="The first event when left out.")
    end_time: Instant | None = Field(default=None, description="Right after the last event when left out.")
    window_size: Annotated[Literal["minute", "hour", "day", "week", "month"], any_case()] | None = None
    timezone: TimezoneName = "UTC"

    @property
    def terms(self) -> Terms:
        return Terms(self.start_time, self.end_time, self.window_size, self.timezone)


class TriedEventOut(Model):
    """`reason` says why an event does not count; `value` is what it counts with, or the text that cannot be read."""

    index: int
    event_id: str | None
    counts: bool
    value: str | None
    reason: str | None = Field(
        description="`refused`, `duplicate`, `other_event_name`, `before_event_from`, `outside_the_time`, "
        "`filter_not_met`, `missing`, `not_a_number`, `too_many_decimals` or `too_large`; null where it counts.",
    )
    filter: FilterBody | None = Field(description="The first filter that is not met.")
    detail: str | None
    start_time: Instant | None = Field(description="The window in which it counts.")
    end_time: Instant | None
    group: dict[str, str] | None

    @classmethod
    def of(cls, meter: Meter, tried: TriedEvent) -> Self:
        unmet = None
        if tried.unmet is not None:
            unmet = FilterBody(**definition_to_json(meter)["filters"][meter.filters.index(tried.unmet)])
        return cls(
            index=tried.index,
            event_id=tried.event_id,
            counts=tried.reason is None,
            value=tried.value,
            reason=tried.reason,
            filter=unmet,
            detail=tried.detail,
            start_time=tried.start,
            end_time=tried.end,
            group=tried.group,
        )


class MeterTestOut(Model):
    """`data` is what a usage query would answer, grouped by the meter's `group_by`, if these events were all."""

    events: list[TriedEventOut]
    data: list[UsageRowOut]

    @classmethod
    def of(cls, meter: Meter, tried: Tried) -> Self:
        return cls(
            events=[TriedEventOut.of(meter, event) for event in tried.events],
            data=[UsageRowOut.of(row, row.customer_id) for row in tried.rows],
        )


class UnusableAsked(Paging):
    """Which events: those in [start_time, end_time), of one customer or of all."""

    start_time: Instant
    end_time: Instant
    customer_id: CustomerRef | None = None


class UnusableEventOut(Model):
    customer_id: str
    event_id: str
    timestamp: Instant
    text: str | None = Field(description="What the event has for the property; null where it has none.")
    reason: str = Field(description="`missing`, `not_a_number`, `too_many_decimals` (24) or `too_large` (38 digits).")


class UnusableEventsOut(Model):
    """Oldest first. `counts` are those of the whole list, by reason."""

    items: list[UnusableEventOut]
    counts: dict[str, int]
    next_cursor: str | None = Field(description="Pass it as `cursor` to read on; null at the end.")

    @classmethod
    def of(cls, page: UnusablePage) -> Self:
        items = [UnusableEventOut.model_validate(event, from_attributes=True) for event in page.items]
        return cls(items=items, counts=page.counts, next_cursor=page.next_cursor)


class ArrivalsAsked(Model):
    """The time of arrival, by whole minutes."""

    start_time: Instant
    end_time: Instant
    window_size: Annotated[Literal["minute", "hour", "day"], any_case()] = "hour"
    timezone: TimezoneName = "UTC"

    def require_consistent(self) -> None:
        """InvalidInput `end_before_start`."""
        if self.end_time <= self.start_time:
            raise InvalidInput(
                "end_before_start", "The end must come after the start.", field="end_time", hint="Use a later end_time."
            )


class ArrivalsRowOut(Model):
    start_time: Instant
    end_time: Instant
    events: int
    last_received_at: Instant | None


class ArrivalsOut(Model):
    """Events of the meter's event name by the time of their arrival, before any filter; a resend counts again."""

    event_name: ShortName
    data: list[ArrivalsRowOut]

    @classmethod
    def of(cls, meter: Meter, arrivals: list[Arrivals]) -> Self:
        data = [
            ArrivalsRowOut(start_time=one.start, end_time=one.end, events=one.events, last_received_at=one.last_at)
            for one in arrivals
        ]
        return cls(event_name=meter.event_name, data=data)


class FreshnessOut(Model):
    """Usage answers are always fresh: what a rollup has not seen is read from the events."""

    meter_id: str
    version: int
    last_received_at: Instant | None = Field(description="When the last event of this name was received.")
    last_timestamp: Instant | None = Field(description="The latest timestamp of an event.")
    rollup_watermark: Instant | None = Field(description="Up to when the newest rollup has seen events.")
    dirty_days: list[date] = Field(description="UTC days that hold something no rollup has seen; the newest 366.")
    dirty_day_count: int
    lag_seconds: int = Field(description="How long the oldest event that no rollup has seen has waited, to a minute.")

    @classmethod
    def of(cls, meter: Meter, fresh: Freshness, now: datetime) -> Self:
        waiting = fresh.waiting_since
        return cls(
            meter_id=meter.id,
            version=meter.version,
            last_received_at=fresh.last_received_at,
            last_timestamp=fresh.last_timestamp,
            rollup_watermark=fresh.rollup_watermark,
            dirty_days=list(fresh.dirty_days[-_MOST_DAYS:]),
            dirty_day_count=len(fresh.dirty_days),
            lag_seconds=0 if waiting is None else max(0, int((now - waiting).total_seconds())),
        )
