"""How events become a number: which event, property and aggregation. Reading the events is the warehouse's part."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from billing.body import read_enum, read_list, read_object, read_text, refuse_unknown, required
from billing.errors import InvalidInput, join
from billing.exact import canonical, format_decimal, parse_decimal
from billing.instant import as_utc, format_instant, parse_instant

MAX_FILTERS: Final = 20
MAX_FILTER_VALUES: Final = 100
MAX_GROUP_BY: Final = 10
LONGEST_NAME: Final = 200
LONGEST_VALUE: Final = 1000
MAX_MULTIPLIER: Final = Decimal(1_000_000)
# 2^-30, which makes gibibytes of bytes, has thirty.
MAX_MULTIPLIER_DECIMALS: Final = 30
_EVENT_FROM_BETWEEN: Final = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))

_FIELDS: Final = frozenset(
    {"name", "event_name", "aggregation", "filters", "group_by", "unit", "multiplier", "event_from"}
)


class AggregationType(StrEnum):
    COUNT = "count"
    SUM = "sum"
    MAX = "max"
    MIN = "min"
    AVG = "avg"
    LATEST = "latest"
    COUNT_UNIQUE = "count_unique"
    WEIGHTED_SUM = "weighted_sum"

    @property
    def is_summable(self) -> bool:
        """True where the quantities of two windows side by side add up to that of both together.

        Only then may a period be metered in parts and the parts be summed before they are rated. A weighted sum is left
        out: what was running when a window began weighs in it without an event of its own.
        """
        return self in {AggregationType.COUNT, AggregationType.SUM}


class FilterOp(StrEnum):
    EQ = "eq"
    NE = "ne"
    IN = "in"
    NOT_IN = "not_in"
    EXISTS = "exists"
    NOT_EXISTS = "not_exists"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"


_LIST_OPS: Final = frozenset({FilterOp.IN, FilterOp.NOT_IN})
_PRESENCE_OPS: Final = frozenset({FilterOp.EXISTS, FilterOp.NOT_EXISTS})
_NUMBER_OPS: Final = frozenset({FilterOp.GT, FilterOp.GTE, FilterOp.LT, FilterOp.LTE})

FilterValue = str | Decimal | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Aggregation:
    """`property` names a key of the event's properties, or the dotted path to a leaf inside of one (`usage.tokens`).

    Every aggregation but the count reads one.
    """

    type: AggregationType
    property: str | None = None

    def __post_init__(self) -> None:
        counts = self.type is AggregationType.COUNT
        if counts and self.property is not None:
            raise InvalidInput(
                "field_not_for_aggregation",
                "is not read by a count",
                field="aggregation.property",
                hint="Leave it out, or count distinct values with count_unique.",
            )
        if not counts and self.property is None:
            raise InvalidInput("missing_field", f"is required for {self.type}", field="aggregation.property")


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on an event's property; all filters of a meter must hold.

    A property is compared as the text that the sender wrote: `eq` and `ne` hold a text, `in` and `not_in` a tuple of
    texts. `gt`, `gte`, `lt`, `lte` compare it as a decimal, `exists` and `not_exists` hold None.
    """

    property: str
    op: FilterOp
    value: FilterValue = None

    def __post_init__(self) -> None:
        if self.op in _PRESENCE_OPS:
            fits = self.value is None
        elif self.op in _NUMBER_OPS:
            fits = isinstance(self.value, Decimal)
        elif self.op in _LIST_OPS:
            fits = isinstance(self.value, tuple) and bool(self.value)
        else:
            fits = isinstance(self.value, str)
        if not fits:
            raise InvalidInput("bad_filter_value", f"does not fit the operator {self.op}", field="value")


@dataclass(frozen=True, slots=True)
class MeterDefinition:
    """What a meter says, without its id and version.

    `multiplier` turns what is measured into the unit that is shown and billed (bytes into gigabytes). The aggregate is
    multiplied, exactly; for every aggregation that takes one this is the aggregate of the values multiplied one by one.
    Events with a timestamp before `event_from` never count.
    """

    name: str
    event_name: str
    aggregation: Aggregation
    filters: tuple[Filter, ...] = ()
    group_by: tuple[str, ...] = ()
    unit: str | None = None
    multiplier: Decimal | None = None
    event_from: datetime | None = None

    def __post_init__(self) -> None:
        counts = self.aggregation.type in {AggregationType.COUNT, AggregationType.COUNT_UNIQUE}
        if self.multiplier is not None and counts:
            raise InvalidInput(
                "field_not_for_aggregation",
                f"is not for {self.aggregation.type}, which counts and measures nothing",
                field="multiplier",
                hint="Leave it out, or convert the quantity with the price's transform_quantity.",
            )

    @property
    def is_summable(self) -> bool:
        return self.aggregation.type.is_summable


@dataclass(frozen=True, slots=True)
class Meter:
    """One version of a meter. A version never changes, so an invoice can name what it was counted by."""

    id: str
    version: int
    name: str
    event_name: str
    aggregation: Aggregation
    filters: tuple[Filter, ...] = ()
    group_by: tuple[str, ...] = ()
    unit: str | None = None
    multiplier: Decimal | None = None
    event_from: datetime | None = None

    @staticmethod
    def of(meter_id: str, version: int, definition: MeterDefinition) -> "Meter":
        return Meter(
            meter_id,
            version,
            definition.name,
            definition.event_name,
            definition.aggregation,
            definition.filters,
            definition.group_by,
            definition.unit,
            definition.multiplier,
            definition.event_from,
        )

    @property
    def definition(self) -> MeterDefinition:
        return MeterDefinition(
            self.name,
            self.event_name,
            self.aggregation,
            self.filters,
            self.group_by,
            self.unit,
            self.multiplier,
            self.event_from,
        )

    @property
    def is_summable(self) -> bool:
        return self.aggregation.type.is_summable


def parse_definition(body: Mapping[str, Any]) -> MeterDefinition:
    """A meter's definition out of its JSON (without `id`); null counts as absent, enums are read in any case.

    Errors: InvalidInput with the path of the field.

    >>> parse_definition({"name": "Tokens", "event_name": "llm.call",
    ...                   "aggregation": {"type": "SUM", "property": "tokens"}}).aggregation
    Aggregation(type=<AggregationType.SUM: 'sum'>, property='tokens')
    """
    refuse_unknown(read_object(body, ""), _FIELDS)
    unit = body.get("unit")
    return MeterDefinition(
        name=read_text(required(body, "name", ""), "name", longest=LONGEST_NAME),
        event_name=read_text(required(body, "event_name", ""), "event_name", longest=LONGEST_NAME),
        aggregation=_parse_aggregation(read_object(required(body, "aggregation", ""), "aggregation")),
        filters=parse_filters(body.get("filters")),
        group_by=_parse_group_by(_optional_list(body, "group_by", MAX_GROUP_BY)),
        unit=None if unit is None else read_text(unit, "unit", longest=LONGEST_NAME),
        multiplier=_parse_multiplier(body.get("multiplier")),
        event_from=_parse_event_from(body.get("event_from")),
    )


def parse_filters(items: object, field: str = "filters") -> tuple[Filter, ...]:
    """Conditions out of their JSON list; None is none of them. InvalidInput with the path of the field.

    >>> parse_filters([{"property": "region", "op": "NOT IN", "value": ["eu"]}])
    (Filter(property='region', op=<FilterOp.NOT_IN: 'not_in'>, value=('eu',)),)
    """
    if items is None:
        return ()
    return tuple(
        _parse_filter(item, f"{field}[{i}]") for i, item in enumerate(read_list(items, field, longest=MAX_FILTERS))
    )


def spell_filter_op(name: str) -> str:
    """An operator in the spelling that is kept: `NOT IN`, `notIn` and `not-in` are `not_in`.

    >>> spell_filter_op("NOT IN"), spell_filter_op("notExists"), spell_filter_op("gte")
    ('not_in', 'not_exists', 'gte')
    """
    letters = re.sub(r"[ _-]", "", name).lower()
    return next((op.value for op in FilterOp if op.value.replace("_", "") == letters), name.lower())


def definition_to_json(definition: MeterDefinition | Meter) -> dict[str, Any]:
    """The canonical JSON of a definition: only what is set, decimals as strings; `parse_definition` reads it back."""
    aggregation: dict[str, Any] = {"type": definition.aggregation.type.value}
    if definition.aggregation.property is not None:
        aggregation["property"] = definition.aggregation.property
    body: dict[str, Any] = {
        "name": definition.name,
        "event_name": definition.event_name,
        "aggregation": aggregation,
    }
    if definition.filters:
        body["filters"] = [_filter_to_json(item) for item in definition.filters]
    if definition.group_by:
        body["group_by"] = list(definition.group_by)
    if definition.unit is not None:
        body["unit"] = definition.unit
    if definition.multiplier is not None:
        body["multiplier"] = format_decimal(definition.multiplier)
    if definition.event_from is not None:
        body["event_from"] = format_instant(definition.event_from)
    return body


def _parse_aggregation(spec: Mapping[str, Any]) -> Aggregation:
    refuse_unknown(spec, {"type", "property"}, "aggregation")
    kind = read_enum(AggregationType, required(spec, "type", "aggregation"), "aggregation.type")
    name = spec.get("property")
    return Aggregation(kind, None if name is None else _property(name, "aggregation.property"))


def _parse_filter(value: object, field: str) -> Filter:
    spec = read_object(value, field)
    refuse_unknown(spec, {"property", "op", "value"}, field)
    name = _property(required(spec, "property", field), join(field, "property"))
    sent = required(spec, "op", field)
    op = read_enum(FilterOp, spell_filter_op(sent) if isinstance(sent, str) else sent, join(field, "op"))
    operand = _filter_value(op, spec.get("value"), join(field, "value"))
    try:
        return Filter(name, op, operand)
    except InvalidInput as error:
        raise error.within(field) from None


def _filter_value(op: FilterOp, value: object, field: str) -> FilterValue:
    if value is None:
        return None
    if op in _NUMBER_OPS:
        return parse_decimal(value, field)
    if op in _LIST_OPS:
        items = read_list(value, field, longest=MAX_FILTER_VALUES)
        return tuple(_as_text(item, f"{field}[{i}]") for i, item in enumerate(items))
    return _as_text(value, field)


def _parse_multiplier(value: object) -> Decimal | None:
    if value is None:
        return None
    number = parse_decimal(value, "multiplier", max_decimals=MAX_MULTIPLIER_DECIMALS, maximum=MAX_MULTIPLIER)
    if number <= 0:
        # Below zero the highest value would become the lowest; what is taken back is sent as a value below zero.
        raise InvalidInput("out_of_range", f"must be above 0 and at most {MAX_MULTIPLIER}", field="multiplier")
    return Decimal(canonical(number))


def _parse_event_from(value: object) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        at = as_utc(value, "event_from")
    else:
        at = parse_instant(read_text(value, "event_from"), "event_from")
    earliest, latest = _EVENT_FROM_BETWEEN
    if not earliest <= at < latest:
        raise InvalidInput("out_of_range", "must lie between 1970 and 2100", field="event_from")
    return at


def _as_text(value: object, field: str) -> str:
    """The text that a property of this value is stored with."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal | float):
        return format_decimal(parse_decimal(value, field))
    if isinstance(value, str) and len(value) <= LONGEST_VALUE:
        return value
    raise InvalidInput(
        "bad_filter_value", f"must be a text of at most {LONGEST_VALUE} characters, a number or a boolean", field=field
    )


def _optional_list(body: Mapping[str, Any], name: str, longest: int) -> Sequence[Any]:
    value = body.get(name)
    return () if value is None else read_list(value, name, longest=longest)


def _parse_group_by(items: Sequence[Any]) -> tuple[str, ...]:
    names = tuple(_property(item, f"group_by[{i}]") for i, item in enumerate(items))
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InvalidInput("duplicate_value", "is named twice", field=f"group_by[{i}]")
    return names


def _property(value: object, field: str) -> str:
    return read_text(value, field, longest=LONGEST_NAME)


def _filter_to_json(item: Filter) -> dict[str, Any]:
    body: dict[str, Any] = {"property": item.property, "op": item.op.value}
    if isinstance(item.value, Decimal):
        body["value"] = format_decimal(item.value)
    elif isinstance(item.value, tuple):
        body["value"] = list(item.value)
    elif item.value is not None:
        body["value"] = item.value
    return body
