"""Usage over HTTP: filtered, grouped, in windows, ordered, the top few, page by page, of several meters at once."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime
from typing import Any

import pytest

from ledger.store import meters
from tests.support.api_stack import Stack, Tenant
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse
from warehouse_sql.rollups import build_days

TOKENS: dict[str, Any] = {
    "id": "meter_tokens",
    "name": "Tokens",
    "event_name": "llm.request",
    "aggregation": {"type": "sum", "property": "tokens"},
    "group_by": ["model", "region"],
}
DAYS = {"start_time": "2024-03-01T00:00:00Z", "end_time": "2024-03-04T00:00:00Z"}


def _event(number: int, customer: str, day: int, tokens: str, model: str | None, region: str | None) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "event_name": "llm.request",
        "customer_id": customer,
        "timestamp": f"2024-03-0{day}T10:00:00Z",
        "properties": {"tokens": tokens, "model": model, "region": region, "tier": "gold" if number % 2 else ""},
    }


EVENTS = [
    _event(1, "acme", 1, "1", "small", "eu"),
    _event(2, "acme", 2, "20", "large", "us"),
    _event(3, "beta", 1, "300", "small", "us"),
    _event(4, "beta", 3, "5", "", None),
    _event(5, "gamma", 2, "20", None, "eu"),
    _event(6, "gamma", 3, "1", "large", "eu"),
    _event(7, "delta", 3, "none", "large", "eu"),
]


@pytest.fixture(scope="module", params=["raw", "rollups"])
def counted(stack: Stack, warehouse_process: WarehouseProcess, request: pytest.FixtureRequest) -> Tenant:
    """The same events twice: once as they came, once with every day in rollups."""
    tenant = stack.tenant()
    tenant.make("meters", TOKENS)
    tenant.make("events/bulk", {"events": EVENTS})
    if request.param == "rollups":
        with stack.ledger.read() as session:
            meter = meters.get_meter(session, tenant.scope, "meter_tokens")
        with closing(Warehouse(warehouse_process.url, warehouse_process.user, warehouse_process.password)) as warehouse:
            days = [date(2024, 3, day) for day in (1, 2, 3)]
            build_days(warehouse, days, [(tenant.scope, meter)], datetime(2026, 1, 1, tzinfo=UTC))
    return tenant


def _ask(tenant: Tenant, **more: Any) -> dict[str, Any]:
    return tenant.make("events/usage/meter", {"meter_id": "meter_tokens", **DAYS, **more})


def _values(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(row["customer_id"], *(row["group"] or {}).values(), row["value"]) for row in answer["data"]]


def _where(prop: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"property": prop, "op": op} if value is None else {"property": prop, "op": op, "value": value}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([_where("region", "eq", "eu")], {"acme": "1", "delta": "0", "gamma": "21"}),
        ([_where("region", "NOT IN", ["us"])], {"acme": "1", "beta": "5", "delta": "0", "gamma": "21"}),
        ([_where("model", "in", ["", "small"])], {"acme": "1", "beta": "305"}),
        ([_where("model", "not_in", ["", "small"])], {"acme": "20", "delta": "0", "gamma": "21"}),
        ([_where("model", "exists")], {"acme": "21", "beta": "305", "delta": "0", "gamma": "1"}),
        ([_where("model", "not_exists")], {"gamma": "20"}),
        ([_where("tier", "eq", "gold")], {"acme": "1", "beta": "300", "delta": "0", "gamma": "20"}),
        ([_where("tokens", "gte", 20)], {"acme": "20", "beta": "300", "gamma": "20"}),
        ([_where("region", "eq", "eu"), _where("model", "ne", "large")], {"acme": "1", "gamma": "20"}),
    ],
)
def test_U1_a_filter_of_the_question_counts_the_same_from_rollups_as_from_events(
    counted: Tenant, filters: list[dict[str, Any]], expected: dict[str, str]
) -> None:
    assert dict(_values(_ask(counted, filters=filters))) == expected


def test_rollups_serve_what_their_groups_tell_and_events_the_rest(counted: Tenant) -> None:
    served = _ask(counted)["served_by"]
    built = served["rollup_days"] == 3
    told = _ask(counted, filters=[{"property": "region", "op": "eq", "value": "eu"}])["served_by"]
    assert told == served == {"rollup_days": 3 if built else 0, "raw_days": 0 if built else 3}
    for untold in (
        {"filters": [{"property": "model", "op": "exists"}]},
        {"filters": [{"property": "tier", "op": "eq", "value": "gold"}]},
        {"group_by": ["tier"]},
    ):
        assert _ask(counted, **untold)["served_by"] == {"rollup_days": 0, "raw_days": 3}


def test_the_top_few_by_the_value_of_the_whole_time_keep_all_their_windows(counted: Tenant) -> None:
    top = _ask(counted, order_by="value", limit=2, window_size="day")
    assert [(row["customer_id"], row["start_time"][:10], row["value"]) for row in top["data"]] == [
        ("beta", "2024-03-01", "300"),
        ("beta", "2024-03-03", "5"),
        ("acme", "2024-03-01", "1"),
        ("acme", "2024-03-02", "20"),
    ]
    named = _ask(
        counted, order_by="VALUE", order="ASC", limit=2, window_size="day", customer_ids=["beta", "acme", "gamma"]
    )
    assert [(row["customer_id"], row["value"]) for row in named["data"]] == [
        *[("acme", "1"), ("acme", "20"), ("acme", "0")],
        *[("gamma", "0"), ("gamma", "20"), ("gamma", "1")],
    ]  # fmt: skip


def test_the_top_groups_of_a_customer_and_of_everybody(counted: Tenant) -> None:
    everybody = _ask(counted, order_by="value", limit=3, group_by=["model"])
    assert _values(everybody) == [("beta", "small", "300"), ("acme", "large", "20"), ("gamma", "", "20")]
    one = _ask(counted, order_by="value", limit=1, group_by=["model"], customer_id="beta", window_size="day")
    assert _values(one) == [("beta", "small", "300"), ("beta", "small", "0"), ("beta", "small", "0")]


def test_order_by_customer_and_time_either_way(counted: Tenant) -> None:
    assert [name for name, _ in _values(_ask(counted, order_by="customer", order="desc"))] == [
        *("gamma", "delta", "beta", "acme")
    ]  # fmt: skip
    by_time = _ask(counted, order_by="time", order="desc", window_size="day")["data"]
    assert [(row["start_time"][8:10], row["customer_id"]) for row in by_time] == [
        ("03", "beta"),
        ("03", "delta"),
        ("03", "gamma"),
        ("02", "acme"),
        ("02", "gamma"),
        ("01", "acme"),
        ("01", "beta"),
    ]


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"order_by": "customer", "order": "desc"},
        {"order_by": "value"},
        {"order_by": "value", "order": "asc", "group_by": ["region"]},
        {"group_by": ["model"], "window_size": "day"},
        {"customer_ids": ["gamma", "acme", "beta", "delta"]},
    ],
)
def test_pages_together_are_the_whole_answer_as_of_their_first_moment(tenant: Tenant, terms: dict[str, Any]) -> None:
    tenant.make("meters", TOKENS)
    tenant.make("events/bulk", {"events": EVENTS})
    whole = _ask(tenant, **terms, limit=100)
    page = _ask(tenant, **terms, limit=1)
    rows, moments = list(page["data"]), {page["as_of"]}
    # Before all others by name and by value, and in everybody's group: no page that follows may show them.
    late = [{**EVENTS[0], "event_id": f"late-{name}", "customer_id": name} for name in ("aardvark", "acme", "beta")]
    tenant.make("events/bulk", {"events": late})
    while page["next_cursor"]:
        page = _ask(tenant, **terms, limit=1, cursor=page["next_cursor"])
        rows += page["data"]
        moments.add(page["as_of"])
    assert (rows, whole["next_cursor"], len(moments)) == (whole["data"], None, 1)
    assert _ask(tenant, **terms, limit=100)["data"] != rows


def test_a_cursor_of_another_question_is_refused(counted: Tenant) -> None:
    cursor = _ask(counted, limit=1)["next_cursor"]
    for change in ({"limit": 1, "order_by": "value"}, {"limit": 1, "timezone": "Europe/Berlin"}, {"limit": 2}):
        answer = counted.post("events/usage/meter", {"meter_id": "meter_tokens", **DAYS, **change, "cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (422, "cursor_invalid")


@pytest.mark.parametrize(
    ("terms", "status", "code", "field"),
    [
        ({"limit": 0}, 422, "out_of_range", "limit"),
        ({"limit": 1001}, 422, "out_of_range", "limit"),
        ({"cursor": "x"}, 422, "missing_field", "limit"),
        ({"cursor": "x", "limit": 5}, 422, "cursor_invalid", "cursor"),
        ({"order_by": "size"}, 422, "not_one_of", "order_by"),
        ({"order": "up"}, 422, "not_one_of", "order"),
        ({"filters": [{"property": "a", "op": "eq"}]}, 422, "bad_filter_value", "filters[0].value"),
        ({"filters": [{"property": "a", "op": "exists"}] * 21}, 422, "too_many_items", "filters"),
        ({"group_by": ["a", "a"]}, 422, "duplicate_value", "group_by"),
        ({"window_size": "minute"}, 413, "too_many_windows", "window_size"),
        ({"window_size": "minutes"}, 422, "not_one_of", "window_size"),
        ({"end_time": "2044-03-01T00:00:00Z"}, 413, "period_too_long", "end_time"),
    ],
)
def test_a_question_without_an_answer_is_refused_by_its_field(
    counted: Tenant, terms: dict[str, Any], status: int, code: str, field: str
) -> None:
    answer = counted.post("events/usage/meter", {"meter_id": "meter_tokens", **DAYS, **terms})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (status, code, field), answer.text


def test_several_meters_are_answered_at_once_and_one_that_cannot_be_says_why(counted: Tenant) -> None:
    largest = {**TOKENS, "aggregation": {"type": "max", "property": "tokens"}, "group_by": []}
    counted.make("meters", {**largest, "id": "meter_largest"})
    body = {"meter_ids": ["meter_tokens", "none", "meter_largest"], **DAYS, "customer_id": "beta"}
    tokens, none, most = counted.make("events/usage", body)["results"]
    assert (tokens["meter_id"], tokens["error"], _values(tokens["usage"])) == ("meter_tokens", None, [("beta", "305")])
    assert (most["meter_id"], _values(most["usage"])) == ("meter_largest", [("beta", "300")])
    assert (none["usage"], none["error"]["code"], none["error"]["field"]) == (None, "meter_not_found", "meter_id")
    twice = counted.post("events/usage", {**body, "meter_ids": ["meter_tokens", "meter_tokens"]})
    assert (twice.status_code, twice.json()["field"]) == (422, "meter_ids")


def test_U2_windows_of_the_month_without_usage_are_zero_or_null_by_aggregation(counted: Tenant) -> None:
    question = {"start_time": "2024-01-15T00:00:00Z", "end_time": "2024-04-15T00:00:00Z", "window_size": "Month"}
    months = _ask(counted, customer_id="beta", timezone="Europe/Berlin", **question)["data"]
    assert [(row["start_time"], row["value"]) for row in months] == [
        ("2024-01-15T00:00:00Z", "0"),
        ("2024-01-31T23:00:00Z", "0"),
        ("2024-02-29T23:00:00Z", "305"),
        ("2024-03-31T22:00:00Z", "0"),
    ]
