"""Meters: how events become a number."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from api.schemas.common import DecimalIn, DecimalOut, Instant, Model, ShortName, Slug, any_case
from billing.meter import MeterDefinition, definition_to_json, parse_definition, spell_filter_op
from ledger.store.meters import MeterRecord

__all__ = ["AggregationBody", "FilterBody", "MeterBody", "MeterChangesIn", "MeterIn", "MeterOut"]

Property = ShortName
AggregationName = Annotated[
    Literal["count", "sum", "max", "min", "avg", "latest", "count_unique", "weighted_sum"], any_case()
]
FilterOp = Annotated[
    Literal["eq", "ne", "in", "not_in", "exists", "not_exists", "gt", "gte", "lt", "lte"],
    BeforeValidator(lambda value: spell_filter_op(value) if isinstance(value, str) else value),
]

_SCALARS: list[dict[str, Any]] = [{"type": "string", "maxLength": 1000}, {"type": "number"}, {"type": "boolean"}]
# `billing.meter` knows which value fits which operator, and says so; here it only passes through.
FilterValue = Annotated[
    Any,
    WithJsonSchema(
        {"anyOf": [*_SCALARS, {"type": "array", "items": {"anyOf": _SCALARS}, "maxItems": 100}, {"type": "null"}]}
    ),
]


class AggregationBody(Model):
    """What is done with the events that match; all but `count` need the property to look at. `a.b` looks into `a`."""

    type: AggregationName
    property: Property | None = None


class FilterBody(Model):
    """Which events count. `value` is a list for `in` and `not_in`, a number for `gt`, `gte`, `lt` and `lte`.

    `not in`, `notIn` and the like are read as `not_in`.
    """

    property: Property
    op: FilterOp
    value: FilterValue = None


Filters = Annotated[list[FilterBody], Field(max_length=20)]
GroupBy = Annotated[list[Property], Field(max_length=10)]
Multiplier = Annotated[
    DecimalIn,
    Field(
        description="What every value is multiplied with, exactly: above 0, at most 1000000, at most 30 decimals. "
        "Not for `count` and `count_unique`."
    ),
]
EventFrom = Annotated[Instant, Field(description="Events with a timestamp before it never count.")]

_TOKENS: dict[str, Any] = {
    "name": "Tokens",
    "event_name": "llm.request",
    "aggregation": {"type": "sum", "property": "usage.tokens"},
    "filters": [{"property": "region", "op": "in", "value": ["eu", "us"]}],
    "group_by": ["model"],
    "unit": "thousand tokens",
    "multiplier": "0.001",
    "event_from": "2024-01-01T00:00:00Z",
}


class MeterBody(Model):
    """What a meter says."""

    name: ShortName
    event_name: ShortName
    aggregation: AggregationBody
    filters: Filters = Field(default_factory=list)
    group_by: GroupBy = Field(default_factory=list)
    unit: ShortName | None = None
    multiplier: Multiplier | None = None
    event_from: EventFrom | None = None

    def definition(self) -> MeterDefinition:
        """The checked definition. Errors: InvalidInput with the field."""
        return parse_definition(self.model_dump(exclude={"id"}, exclude_none=True))


class MeterIn(MeterBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "meter_tokens", **_TOKENS}]})

    id: Slug | None = Field(default=None, description="Chosen by you, or made by us.")


class MeterChangesIn(Model):
    """What is left out stays; null takes away what may be missing."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"multiplier": "0.000001", "unit": "million tokens"}]})

    name: ShortName | None = None
    event_name: ShortName | None = None
    aggregation: AggregationBody | None = None
    filters: Filters | None = None
    group_by: GroupBy | None = None
    unit: ShortName | None = None
    multiplier: Multiplier | None = None
    event_from: EventFrom | None = None

    def changes(self) -> dict[str, Any]:
        """The fields that were sent."""
        return self.model_dump(exclude_unset=True)


class MeterOut(Model):
    id: str
    version: int
    name: str
    event_name: str
    aggregation: AggregationBody
    filters: list[FilterBody]
    group_by: list[str]
    unit: str | None
    multiplier: DecimalOut | None
    event_from: Instant | None
    status: str
    created_at: Instant
    effective_from: Instant = Field(description="When this version was made.")

    @classmethod
    def of(cls, record: MeterRecord) -> Self:
        optional: dict[str, Any] = {
            "filters": [],
            "group_by": [],
            "unit": None,
            "multiplier": None,
            "event_from": None,
            **definition_to_json(record.meter),
        }
        if record.meter.multiplier is not None:
            optional["multiplier"] = record.meter.multiplier
        return cls(
            id=record.meter.id,
            version=record.meter.version,
            status=record.status,
            created_at=record.created_at,
            effective_from=record.effective_from,
            **optional,
        )
