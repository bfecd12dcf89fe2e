"""What a meter makes of events: samples that are tried, events it cannot count, arrivals, and how fresh it all is."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, date, datetime
from typing import Any

import pytest

from ledger.store import meters
from tests.support.api_stack import Stack, Tenant
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse
from warehouse_sql.rollups import build_days

METER: dict[str, Any] = {
    "name": "Tokens",
    "event_name": "llm.request",
    "aggregation": {"type": "sum", "property": "usage.tokens"},
    "filters": [{"property": "region", "op": "in", "value": ["eu", "us"]}, {"property": "test", "op": "not_exists"}],
    "group_by": ["model"],
    "multiplier": "0.001",
    "event_from": "2024-03-01T08:00:00Z",
}
DAY = "2024-03-01T00:00:00Z"
RANGE = {"start_time": DAY, "end_time": "2024-03-02T00:00:00Z"}


def _event(event_id: str, at: str = "10:00:00", name: str = "llm.request", **properties: Any) -> dict[str, Any]:
    timestamp = f"2024-03-01T{at}Z"
    filled = {"region": "eu", "model": "small", **properties}
    return {
        "event_id": event_id,
        "event_name": name,
        "customer_id": "acme",
        "timestamp": timestamp,
        "properties": filled,
    }


SAMPLE = [
    _event("a", usage={"tokens": 1500}),
    _event("b", usage={"tokens": "0.000000000000000000000001"}, model="large"),
    _event("c", usage={"tokens": 7}, region="asia"),
    _event("d", usage={"tokens": 7}, test=True),
    _event("e", usage={}),
    _event("f", usage={"tokens": "many"}),
    _event("g", "07:59:59", usage={"tokens": 7}),
    _event("h", name="other", usage={"tokens": 7}),
    _event("a", "11:00:00", usage={"tokens": 7}),
    {"event_name": "llm.request"},
    _event("i", "12:30:00", usage={"tokens": 500}),
]


def test_a_sample_is_told_event_by_event_and_summed_up_and_nothing_is_stored(tenant: Tenant) -> None:
    tried = tenant.make("meters/test", {"meter": METER, "events": SAMPLE, "window_size": "HOUR"})
    told = [(each["event_id"], each["counts"], each["value"], each["reason"]) for each in tried["events"]]
    assert told == [
        ("a", True, "1.5", None),
        ("b", True, "0.000000000000000000000000001", None),
        ("c", False, None, "filter_not_met"),
        ("d", False, None, "filter_not_met"),
        ("e", False, None, "missing"),
        ("f", False, "many", "not_a_number"),
        ("g", False, None, "before_event_from"),
        ("h", False, None, "other_event_name"),
        ("a", False, None, "duplicate"),
        (None, False, None, "refused"),
        ("i", True, "0.5", None),
    ]
    unmet = [each["filter"] for each in tried["events"][2:4]]
    assert unmet == [METER["filters"][0], {"property": "test", "op": "not_exists", "value": None}]
    first = tried["events"][0]
    assert (first["start_time"], first["end_time"], first["group"]) == (
        "2024-03-01T10:00:00Z",
        "2024-03-01T11:00:00Z",
        {"model": "small"},
    )
    rows = [(row["start_time"][11:16], row["group"]["model"], row["value"], row["unusable"]) for row in tried["data"]]
    assert rows == [
        ("10:00", "large", "0.000000000000000000000000001", 0),
        ("10:00", "small", "1.5", 2),
        ("12:00", "small", "0.5", 0),
    ]
    made = tenant.make("meters", METER)
    assert tenant.make("events/usage/meter", {"meter_id": made["id"], **RANGE})["data"] == []


@pytest.mark.parametrize("kind", ["count", "sum", "max", "min", "avg", "latest", "count_unique", "weighted_sum"])
def test_a_sample_adds_up_to_what_usage_says_once_it_is_sent(tenant: Tenant, kind: str) -> None:
    aggregation = {"type": kind} if kind == "count" else {"type": kind, "property": "usage.tokens"}
    plain = {**METER, "aggregation": aggregation}
    if kind.startswith("count"):
        del plain["multiplier"]
    made = tenant.make("meters", plain)
    tried = tenant.make("meters/test", {"meter": made["id"], "events": SAMPLE, **RANGE, "window_size": "hour"})
    tenant.make("events/bulk", {"events": SAMPLE})
    question = {"meter_id": made["id"], **RANGE, "window_size": "hour", "group_by": ["model"]}
    usage = tenant.make("events/usage/meter", question)
    assert tried["data"] == usage["data"] != []
    counted = sum(row["events"] for row in usage["data"])
    assert sum(each["counts"] for each in tried["events"]) == counted


def test_odd_texts_and_numbers_reach_the_engine_as_they_were_sent(tenant: Tenant) -> None:
    odd = ["it's", '"', "\\", "\\N", "NULL", "a\tb\nc", "{x:String}", "', ''", "日本 🎉", "", "[1, 'a']", "%s %(a)s"]
    meter = {**METER, "filters": [{"property": "model", "op": "in", "value": odd}], "multiplier": None}
    made = tenant.make("meters", {**meter, "event_from": None})
    events = [
        {**_event(f"id{n}", usage={"tokens": "T"}, model=text), "customer_id": f"c{n}"} for n, text in enumerate(odd)
    ]
    # Digits that no float holds, as a JSON number.
    body = json.dumps({"meter": made["id"], "events": events, **RANGE}).replace(
        '"T"', "12345678901234567890.100000000001"
    )
    headers = {"Content-Type": "application/json"}
    tried = tenant.http.post("/api/v1/meters/test", content=body, headers=headers).json()
    assert [(each["counts"], each["value"]) for each in tried["events"]] == [
        (True, "12345678901234567890.100000000001")
    ] * len(odd)
    assert {row["group"]["model"] for row in tried["data"]} == set(odd)
    stored = json.dumps({"events": events}).replace('"T"', "12345678901234567890.100000000001")
    assert tenant.http.post("/api/v1/events/bulk", content=stored, headers=headers).json()["refused"] == []
    question = {"meter_id": made["id"], **RANGE, "group_by": ["model"]}
    assert tenant.make("events/usage/meter", question)["data"] == tried["data"]


def test_half_a_character_is_refused_and_breaks_nothing(tenant: Tenant) -> None:
    body = json.dumps({"meter": METER, "events": [_event("a", model="HALF")]}).replace("HALF", "\\ud800")
    answer = tenant.http.post("/api/v1/meters/test", content=body, headers={"Content-Type": "application/json"})
    refused = answer.json()["events"][0]["reason"] if answer.is_success else answer.json()["code"]
    assert (answer.status_code, refused) in [(200, "refused"), (422, "not_unicode")]


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"meter": "none"}, 422, "meter_not_found", "meter"),
        ({"meter": 5}, 422, "not_an_object", "meter"),
        ({"meter": {**METER, "multiplier": "0"}}, 422, "out_of_range", "meter.multiplier"),
        ({"events": []}, 422, "too_few_items", "events"),
        ({"events": SAMPLE * 10}, 422, "too_many_items", "events"),
        ({"events": [_event(f"{n}", model="x" * 16_000) for n in range(5)]}, 413, "sample_too_large", "events"),
        ({"start_time": "2025-01-01T00:00:00Z", "end_time": DAY}, 422, "end_before_start", "end_time"),
        ({"window_size": "second"}, 422, "not_one_of", "window_size"),
    ],
)
def test_a_test_that_is_wrong_is_refused_by_its_field(
    tenant: Tenant, change: dict[str, Any], status: int, code: str, field: str
) -> None:
    answer = tenant.post("meters/test", {"meter": METER, "events": SAMPLE[:1], **change})
    assert (answer.status_code, answer.json()["code"], answer.json().get("field")) == (status, code, field), answer.text


def test_U3_unusable_events_are_listed_page_by_page_with_their_reasons(tenant: Tenant) -> None:
    tenant.make("meters", {**METER, "id": "meter_tokens"})
    tenant.make("events/bulk", {"events": SAMPLE})
    others = [{**_event(f"x{n}", usage={"tokens": "1e99"}), "customer_id": "beta"} for n in range(3)]
    tenant.make("events/bulk", {"events": others})
    path = "meters/meter_tokens/unusable-events"
    page = tenant.get(path, params={**RANGE, "limit": 2}).json()
    found, counts = list(page["items"]), page["counts"]
    while page["next_cursor"]:
        page = tenant.get(path, params={**RANGE, "limit": 2, "cursor": page["next_cursor"]}).json()
        found += page["items"]
        assert page["counts"] == counts
    assert [(each["event_id"], each["text"], each["reason"]) for each in found] == [
        ("e", None, "missing"),
        ("f", "many", "not_a_number"),
        *((f"x{n}", "1e99", "too_large") for n in range(3)),
    ]
    assert counts == {"missing": 1, "not_a_number": 1, "too_large": 3}
    beta = tenant.get(path, params={**RANGE, "customer_id": "beta"}).json()
    assert (beta["counts"], beta["next_cursor"]) == ({"too_large": 3}, None)
    assert tenant.get(path, params={**RANGE, "customer_id": "nobody"}).json()["code"] == "customer_not_found"
    assert tenant.get(path, params={**RANGE, "cursor": "x"}).json()["code"] == "cursor_invalid"


def test_arrivals_are_counted_by_the_time_of_arrival(tenant: Tenant) -> None:
    tenant.make("meters", {**METER, "id": "meter_tokens"})
    before = datetime.now(UTC)
    tenant.make("events/bulk", {"events": SAMPLE})
    tenant.make("events/bulk", {"events": SAMPLE[:1]})
    day = {"start_time": before.isoformat(), "end_time": datetime.now(UTC).isoformat()}
    for size in ("minute", "Hour", "day"):
        answer = tenant.get("meters/meter_tokens/arrivals", params={**day, "window_size": size})
        assert answer.status_code == 200, answer.text
        # Eight of the name in the sample, one of them again: an identity that came twice in one batch arrived once.
        assert sum(row["events"] for row in answer.json()["data"]) == 9
    last = max(row["last_received_at"] for row in answer.json()["data"] if row["last_received_at"])
    assert last >= before.isoformat()[:19]
    ago = {"start_time": "2024-01-01T00:00:00Z", "end_time": "2024-01-01T03:00:00Z"}
    quiet = tenant.get("meters/meter_tokens/arrivals", params=ago).json()["data"]
    assert [(row["events"], row["last_received_at"]) for row in quiet] == [(0, None)] * 3
    wrong = tenant.get("meters/meter_tokens/arrivals", params={**ago, "end_time": ago["start_time"]})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "end_before_start")


def test_freshness_says_what_was_received_and_which_days_no_rollup_has_seen(
    stack: Stack, tenant: Tenant, warehouse_process: WarehouseProcess
) -> None:
    tenant.make("meters", {**METER, "id": "meter_tokens"})
    never = tenant.get("meters/meter_tokens/freshness").json()
    assert (never["last_received_at"], never["rollup_watermark"], never["dirty_days"], never["lag_seconds"]) == (
        *(None, None),
        [],
        0,
    )
    tenant.make("events/bulk", {"events": SAMPLE})
    waiting = tenant.get("meters/meter_tokens/freshness").json()
    assert (waiting["last_timestamp"], waiting["rollup_watermark"]) == ("2024-03-01T12:30:00Z", None)
    assert (waiting["dirty_days"], waiting["dirty_day_count"]) == (["2024-03-01"], 1)
    with stack.ledger.read() as session:
        meter = meters.get_meter(session, tenant.scope, "meter_tokens")
    with closing(Warehouse(warehouse_process.url, warehouse_process.user, warehouse_process.password)) as warehouse:
        build_days(warehouse, [date(2024, 3, 1)], [(tenant.scope, meter)], datetime.now(UTC))
    built = tenant.get("meters/meter_tokens/freshness").json()
    assert built["rollup_watermark"] >= built["last_received_at"]
    assert (built["dirty_days"], built["lag_seconds"]) == ([], 0)
    tenant.make("events", {**_event("late", usage={"tokens": 1}), "timestamp": "2024-03-05T10:00:00Z"})
    late = tenant.get("meters/meter_tokens/freshness").json()
    assert (late["dirty_days"], late["last_timestamp"]) == (["2024-03-05"], "2024-03-05T10:00:00Z")
