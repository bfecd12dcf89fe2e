"""Meters: what a definition may say, and its canonical JSON."""

from decimal import Decimal
from typing import Any

import pytest

from billing.errors import InvalidInput
from billing.meter import AggregationType, Filter, FilterOp, Meter, definition_to_json, parse_definition

TOKENS: dict[str, Any] = {
    "name": "Tokens",
    "event_name": "llm.call",
    "aggregation": {"type": "sum", "property": "tokens"},
    "filters": [
        {"property": "model", "op": "in", "value": ["a", "b"]},
        {"property": "cached", "op": "eq", "value": "true"},
        {"property": "tokens", "op": "gte", "value": "0.5"},
        {"property": "error", "op": "not_exists"},
    ],
    "group_by": ["model", "region"],
    "unit": "token",
    "multiplier": "0.001",
    "event_from": "2026-01-01T00:00:00Z",
}


def test_a_definition_survives_its_own_json() -> None:
    definition = parse_definition(TOKENS)
    assert definition_to_json(definition) == TOKENS
    assert parse_definition(definition_to_json(definition)) == definition


def test_a_meter_is_a_definition_with_an_id_and_a_version() -> None:
    definition = parse_definition(TOKENS)
    meter = Meter.of("meter_tokens", 3, definition)
    assert (meter.id, meter.version, meter.definition) == ("meter_tokens", 3, definition)
    assert definition_to_json(meter) == TOKENS


def test_what_a_definition_leaves_out_is_left_out_of_its_json() -> None:
    body = {"name": "Calls", "event_name": "api.request", "aggregation": {"type": "COUNT", "property": None}}
    assert definition_to_json(parse_definition({**body, "filters": None, "group_by": [], "unit": None})) == {
        "name": "Calls",
        "event_name": "api.request",
        "aggregation": {"type": "count"},
    }


def test_filter_values_are_the_text_that_events_are_stored_with() -> None:
    filters = [
        {"property": "a", "op": "EQ", "value": True},
        {"property": "b", "op": "ne", "value": 5},
        {"property": "c", "op": "in", "value": [Decimal("1.50"), "x"]},
        {"property": "d", "op": "lt", "value": "1e2"},
    ]
    assert parse_definition({**TOKENS, "filters": filters}).filters == (
        Filter("a", FilterOp.EQ, "true"),
        Filter("b", FilterOp.NE, "5"),
        Filter("c", FilterOp.IN, ("1.50", "x")),
        Filter("d", FilterOp.LT, Decimal(100)),
    )


@pytest.mark.parametrize("spelling", ["not_in", "NOT_IN", "not in", "Not In", "notIn", "not-in", "NOTIN"])
def test_an_operator_is_read_in_any_case_and_spelling(spelling: str) -> None:
    (one,) = parse_definition({**TOKENS, "filters": [{"property": "a", "op": spelling, "value": ["x"]}]}).filters
    assert one.op is FilterOp.NOT_IN


def test_a_multiplier_of_thirty_decimals_makes_gibibytes_of_bytes_and_is_kept_without_spare_zeros() -> None:
    gibibytes = parse_definition({**TOKENS, "multiplier": "0.000000000931322574615478515625"})
    assert gibibytes.multiplier == Decimal(2) ** -30
    assert str(parse_definition({**TOKENS, "multiplier": "2.50"}).multiplier) == "2.5"


def test_only_counts_and_sums_may_be_metered_in_parts() -> None:
    assert {kind for kind in AggregationType if kind.is_summable} == {AggregationType.COUNT, AggregationType.SUM}
    assert parse_definition(TOKENS).is_summable


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"name": None}, "missing_field", "name"),
        ({"name": " "}, "not_text", "name"),
        ({"name": "a\x00"}, "not_text", "name"),
        ({"event_name": "x" * 201}, "text_too_long", "event_name"),
        ({"colour": "red"}, "unknown_field", "colour"),
        ({"aggregation": "sum"}, "not_an_object", "aggregation"),
        ({"aggregation": {}}, "missing_field", "aggregation.type"),
        ({"aggregation": {"type": "median"}}, "unknown_value", "aggregation.type"),
        ({"aggregation": {"type": "sum"}}, "missing_field", "aggregation.property"),
        ({"aggregation": {"type": "count", "property": "x"}}, "field_not_for_aggregation", "aggregation.property"),
        ({"aggregation": {"type": "count", "by": "x"}}, "unknown_field", "aggregation.by"),
        ({"filters": {}}, "not_a_list", "filters"),
        ({"filters": [1]}, "not_an_object", "filters[0]"),
        ({"filters": [{"op": "eq", "value": "x"}]}, "missing_field", "filters[0].property"),
        ({"filters": [{"property": "a", "op": "like", "value": "x"}]}, "unknown_value", "filters[0].op"),
        ({"filters": [{"property": "a", "op": "eq"}]}, "bad_filter_value", "filters[0].value"),
        ({"filters": [{"property": "a", "op": "eq", "value": {}}]}, "bad_filter_value", "filters[0].value"),
        ({"filters": [{"property": "a", "op": "eq", "value": 0.5}]}, "not_a_decimal", "filters[0].value"),
        ({"filters": [{"property": "a", "op": "in", "value": []}]}, "bad_filter_value", "filters[0].value"),
        ({"filters": [{"property": "a", "op": "in", "value": "x"}]}, "not_a_list", "filters[0].value"),
        ({"filters": [{"property": "a", "op": "in", "value": ["x", {}]}]}, "bad_filter_value", "filters[0].value[1]"),
        ({"filters": [{"property": "a", "op": "exists", "value": "x"}]}, "bad_filter_value", "filters[0].value"),
        ({"filters": [{"property": "a", "op": "gt", "value": "many"}]}, "not_a_decimal", "filters[0].value"),
        ({"group_by": ["a", "b", "a"]}, "duplicate_value", "group_by[2]"),
        ({"group_by": "a"}, "not_a_list", "group_by"),
        ({"group_by": list("abcdefghijk")}, "too_many_items", "group_by"),
        ({"unit": 5}, "not_text", "unit"),
        ({"multiplier": 0.5}, "not_a_decimal", "multiplier"),
        ({"multiplier": "0"}, "out_of_range", "multiplier"),
        ({"multiplier": "-1"}, "out_of_range", "multiplier"),
        ({"multiplier": "1000000.1"}, "out_of_range", "multiplier"),
        ({"multiplier": "1e-31"}, "too_many_decimals", "multiplier"),
        ({"aggregation": {"type": "count"}}, "field_not_for_aggregation", "multiplier"),
        (
            {"aggregation": {"type": "count_unique", "property": "user"}},
            "field_not_for_aggregation",
            "multiplier",
        ),
        ({"event_from": "2026-01-01"}, "not_a_time", "event_from"),
        ({"event_from": "2100-01-01T00:00:00Z"}, "out_of_range", "event_from"),
    ],
)
def test_a_definition_that_is_wrong_is_refused_by_its_field(change: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_definition({**TOKENS, **change})
    assert (caught.value.code, caught.value.field) == (code, field)
