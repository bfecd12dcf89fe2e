"""Meters: how events become a number."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, WithJsonSchema

from api.schemas.common import Model, ShortName, Slug, any_case
from billing.meter import Meter, MeterDefinition, definition_to_json, parse_definition

__all__ = ["AggregationBody", "FilterBody", "MeterIn", "MeterOut"]

Property = ShortName
AggregationName = Annotated[
    Literal["count", "sum", "max", "min", "avg", "latest", "count_unique", "weighted_sum"], any_case()
]
FilterOp = Annotated[Literal["eq", "ne", "in", "not_in", "exists", "not_exists", "gt", "gte", "lt", "lte"], any_case()]

_SCALARS: list[dict[str, Any]] = [{"type": "string", "maxLength": 1000}, {"type": "number"}, {"type": "boolean"}]
# `billing.meter` knows which value fits which operator, and says so; here it only passes through.
FilterValue = Annotated[
    Any,
    WithJsonSchema(
        {"anyOf": [*_SCALARS, {"type": "array", "items": {"anyOf": _SCALARS}, "maxItems": 100}, {"type": "null"}]}
    ),
]


class AggregationBody(Model):
    """What is done with the events that match; all but `count` need the property to look at."""

    type: AggregationName
    property: Property | None = None


class FilterBody(Model):
    """Which events count. `value` is a list for `in` and `not_in`, a number for `gt`, `gte`, `lt` and `lte`."""

    property: Property
    op: FilterOp
    value: FilterValue = None


class MeterIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "meter_tokens",
                    "name": "Tokens",
                    "event_name": "llm.request",
                    "aggregation": {"type": "sum", "property": "tokens"},
                    "filters": [{"property": "region", "op": "in", "value": ["eu", "us"]}],
                    "group_by": ["model"],
                    "unit": "token",
                }
            ]
        }
    )

    id: Slug | None = Field(default=None, description="Chosen by you, or made by us.")
    name: ShortName
    event_name: ShortName
    aggregation: AggregationBody
    filters: list[FilterBody] = Field(default_factory=list, max_length=20)
    group_by: list[Property] = Field(default_factory=list, max_length=10)
    unit: ShortName | None = None

    def definition(self) -> MeterDefinition:
        """The checked definition. Errors: InvalidInput with the field."""
        return parse_definition(self.model_dump(exclude={"id"}, exclude_none=True))


class MeterOut(Model):
    id: str
    version: int
    name: str
    event_name: str
    aggregation: AggregationBody
    filters: list[FilterBody]
    group_by: list[str]
    unit: str | None

    @classmethod
    def of(cls, meter: Meter) -> Self:
        optional: dict[str, Any] = {"filters": [], "group_by": [], "unit": None}
        return cls(id=meter.id, version=meter.version, **{**optional, **definition_to_json(meter)})
