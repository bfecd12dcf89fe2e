"""Meters over HTTP: versions, archiving, and definitions in every spelling, down to what they count."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api_stack import Tenant

TOKENS: dict[str, Any] = {
    "id": "meter_tokens",
    "name": "Tokens",
    "event_name": "llm.request",
    "aggregation": {"type": "SUM", "property": "usage.tokens"},
}
DAY = {"start_time": "2024-03-01T00:00:00Z", "end_time": "2024-03-02T00:00:00Z"}


def _event(event_id: str, hour: int = 10, **properties: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "event_name": "llm.request",
        "customer_id": "acme",
        "timestamp": f"2024-03-01T{hour:02}:00:00Z",
        "properties": properties,
    }


def _value(tenant: Tenant, **more: Any) -> str:
    question = {"meter_id": "meter_tokens", "customer_id": "acme", **DAY, **more}
    [row] = tenant.make("events/usage/meter", question)["data"]
    value: str = row["value"]
    return value


@pytest.fixture
def counted(tenant: Tenant) -> Tenant:
    tenant.make("meters", TOKENS)
    batch = [
        _event("a", 9, usage={"tokens": 1, "by": {"model": "small"}}, region="eu"),
        _event("b", 10, usage={"tokens": "2.5", "by": {"model": "large"}}, region="us"),
        _event("c", 11, usage={"tokens": 4}),
        _event("d", 12, region="eu"),
    ]
    tenant.make("events/bulk", {"events": batch})
    return tenant


def test_dotted_paths_reach_values_filters_and_groups_inside_of_objects(counted: Tenant) -> None:
    assert _value(counted) == "7.5"
    grouped = counted.make("events/usage/meter", {"meter_id": "meter_tokens", **DAY, "group_by": ["usage.by.model"]})[
        "data"
    ]
    assert {row["group"]["usage.by.model"]: (row["value"], row["unusable"]) for row in grouped} == {
        "": ("4", 1),
        "large": ("2.5", 0),
        "small": ("1", 0),
    }


@pytest.mark.parametrize(
    ("one", "value"),
    [
        ({"property": "region", "op": "EQ", "value": "eu"}, "1"),
        ({"property": "region", "op": "in", "value": ["eu", "us"]}, "3.5"),
        ({"property": "region", "op": "not in", "value": ["eu"]}, "6.5"),
        ({"property": "region", "op": "NotIn", "value": ["eu"]}, "6.5"),
        ({"property": "region", "op": "not_in", "value": ["eu"]}, "6.5"),
        ({"property": "region", "op": "ne", "value": "us"}, "5"),
        ({"property": "usage.by.model", "op": "exists"}, "3.5"),
        ({"property": "usage.by.model", "op": "Not Exists"}, "4"),
        ({"property": "usage.tokens", "op": "GTE", "value": "2.50"}, "6.5"),
        ({"property": "usage.tokens", "op": "lt", "value": 2.5}, "1"),
    ],
)
def test_a_filter_works_alike_in_a_meter_and_in_a_change_of_it(
    counted: Tenant, one: dict[str, Any], value: str
) -> None:
    counted.make("meters", {**TOKENS, "id": "meter_filtered", "filters": [one]})
    assert _value(counted, meter_id="meter_filtered") == value
    changed = counted.http.patch("/api/v1/meters/meter_tokens", json={"filters": [one]})
    assert changed.status_code == 200, changed.text
    assert _value(counted) == value


def test_a_change_is_a_new_version_that_counts_at_once_and_says_since_when(counted: Tenant) -> None:
    first = counted.get("meters/meter_tokens").json()
    changes = {"multiplier": 0.001, "unit": "thousand tokens", "event_from": "2024-03-01T10:00:00Z"}
    changed = counted.http.patch("/api/v1/meters/meter_tokens", json=changes)
    assert changed.status_code == 200
    assert {"version": 2, "multiplier": "0.001", "event_from": "2024-03-01T10:00:00Z", "name": "Tokens"}.items() <= (
        changed.json().items()
    )
    assert changed.json()["effective_from"] > first["effective_from"] == first["created_at"]
    assert _value(counted) == "0.0065"
    again = counted.http.patch("/api/v1/meters/meter_tokens", json=changes).json()
    assert again["version"] == 2
    back = counted.http.patch("/api/v1/meters/meter_tokens", json={"multiplier": None, "event_from": None}).json()
    assert (back["version"], back["multiplier"], back["event_from"]) == (3, None, None)
    assert _value(counted) == "7.5"
    page = counted.get("meters/meter_tokens/versions", params={"limit": 2}).json()
    rest = counted.get("meters/meter_tokens/versions", params={"cursor": page["next_cursor"]}).json()
    assert [each["version"] for each in [*page["items"], *rest["items"]]] == [3, 2, 1]
    assert rest["items"] == [first]
    assert counted.get("meters").json()["items"] == [back]


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"aggregation": {"type": "sum"}}, "missing_field", "aggregation.property"),
        ({"name": None}, "missing_field", "name"),
        ({"multiplier": "0"}, "out_of_range", "multiplier"),
        ({"multiplier": "1e-31"}, "not_a_decimal", "multiplier"),
        ({"event_from": "2150-01-01T00:00:00Z"}, "out_of_range", "event_from"),
        ({"filters": [{"property": "a", "op": "like", "value": "x"}]}, "not_one_of", "filters[0].op"),
        ({"id": "meter_other"}, "unknown_field", "id"),
    ],
)
def test_a_change_that_is_wrong_is_refused_by_its_field(
    counted: Tenant, changes: dict[str, Any], code: str, field: str
) -> None:
    answer = counted.http.patch("/api/v1/meters/meter_tokens", json=changes)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, code, field)
    assert counted.get("meters/meter_tokens").json()["version"] == 1


def test_an_archived_meter_goes_on_counting_and_takes_no_change_and_no_new_feature(counted: Tenant) -> None:
    feature = {"name": "Tokens", "key": "tokens", "feature_type": "metered", "meter_id": "meter_tokens"}
    counted.make("features", feature)
    archived = counted.post("meters/meter_tokens/archive")
    assert (archived.status_code, archived.json()["status"]) == (200, "archived")
    assert counted.post("meters/meter_tokens/archive").status_code == 200
    assert _value(counted) == "7.5"
    for refused in (
        counted.http.patch("/api/v1/meters/meter_tokens", json={"name": "x"}),
        counted.post("features", {**feature, "key": "other"}),
    ):
        assert (refused.status_code, refused.json()["code"]) == (409, "meter_archived")
    assert counted.get("meters/none/versions").json()["code"] == "meter_not_found"
