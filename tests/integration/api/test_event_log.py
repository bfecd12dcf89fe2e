"""What became of an event: found, explained, voided and amended over HTTP, nothing lost and nothing counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from billing.errors import Unavailable
from ledger.store import audit
from pipelines.steps.correct_event import void_event
from tests.support.api_catalog import METER, catalogue, finalized_invoice, guide
from tests.support.api_stack import Stack, Tenant, eventually
from tests.support.cut_warehouse import CutOff
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse
from warehouse_sql.reconcile import supersede_duplicates

TOKENS: dict[str, Any] = {
    "id": "meter_tokens",
    "name": "Tokens",
    "event_name": "llm.request",
    "aggregation": {"type": "sum", "property": "tokens"},
    "filters": [{"property": "model", "op": "ne", "value": "free"}],
}
MARCH = {"start_time": "2024-03-01T00:00:00Z", "end_time": "2024-04-01T00:00:00Z"}


@pytest.fixture(scope="module")
def warehouse(warehouse_process: WarehouseProcess) -> Iterator[Warehouse]:
    server = warehouse_process
    with closing(Warehouse(server.url, server.user, server.password)) as client:
        yield client


@pytest.fixture
def metered(tenant: Tenant) -> Tenant:
    tenant.make("meters", TOKENS)
    tenant.make("customers", {"name": "Acme", "customer_id": "acme"})
    tenant.make("customers", {"name": "Beta", "customer_id": "beta"})
    return tenant


def _event(
    event_id: str, customer_id: str = "acme", at: str = "2024-03-01T10:00:00Z", **properties: Any
) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "event_name": "llm.request",
        "customer_id": customer_id,
        "timestamp": at,
        "properties": properties,
    }


def _sum(tenant: Tenant, customer_id: str = "acme") -> str:
    rows = tenant.make("events/usage/meter", {"meter_id": "meter_tokens", "customer_id": customer_id, **MARCH})["data"]
    value: str = rows[0]["value"]
    return value


def _explained(tenant: Tenant, event_id: str, **params: str) -> list[dict[str, Any]]:
    answer = tenant.get(f"events/{quote(event_id, safe='')}", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.json()["event_id"] == event_id
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


def _code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_events_are_listed_newest_first_page_by_page_and_by_every_filter(metered: Tenant) -> None:
    sent = [_event(f"e{n}", at=f"2024-03-0{1 + n // 2}T10:00:00Z", tokens=n, model="ab"[n % 2]) for n in range(6)]
    metered.make("events/bulk", {"events": [*sent, _event("b", "beta", "2024-03-02T12:00:00Z")]})
    pages, cursor = [], None
    while not pages or cursor:
        answer = metered.get("events", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        pages.append([item["event_id"] for item in answer["items"]])
        cursor = answer["next_cursor"]
    listed = [event_id for page in pages for event_id in page]
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    # Two of one moment come in either order, each of them once.
    assert [set(listed[:2]), listed[2], set(listed[3:5]), set(listed[5:])] == [
        {"e4", "e5"},
        "b",
        {"e2", "e3"},
        {"e0", "e1"},
    ]

    def found(**filters: Any) -> set[str]:
        return {item["event_id"] for item in metered.get("events", params=filters).json()["items"]}

    assert found(customer_id="beta") == found(customer_id=metered.get("customers/beta").json()["id"]) == {"b"}
    assert found(event_id="e3") == {"e3"}
    assert found(property="model", property_value="a") == {"e0", "e2", "e4"}
    assert found(start_time="2024-03-02T10:00:00Z", end_time="2024-03-02T12:00:00Z") == {"e2", "e3"}
    assert found(event_name="other") == found(source="amendment") == found(superseded=True) == set()
    assert len(found(source="api", superseded=False)) == 7
    assert _code(metered.get("events", params={"cursor": "bm8"})) == (422, "cursor_invalid")
    assert _code(metered.get("events", params={"property": "model"})) == (422, "missing_field")


ODD_IDS = ["a/b", "/lead", "trail/", "a//b", "a b", "ünï-✓", "a%2Fb", "x/void", "void", "bulk", "a?b#c&d=e", "é" * 512]


@pytest.mark.parametrize("event_id", ODD_IDS, ids=lambda event_id: event_id[:12])
def test_an_event_of_any_id_is_explained_and_voided(metered: Tenant, event_id: str) -> None:
    metered.make("events", _event(event_id, tokens=1))
    [explained] = _explained(metered, event_id)
    assert explained["event"]["event_id"] == event_id
    metered.make(f"events/{quote(event_id, safe='')}/void", {"reason": "odd"})
    assert _explained(metered, event_id)[0]["event"]["status"] == "voided"
    assert _sum(metered) == "0"


def test_an_event_nobody_sent_is_not_found(metered: Tenant) -> None:
    assert _code(metered.get("events/nobody")) == (404, "event_not_found")
    assert _code(metered.post("events/nobody/void", {"reason": "x"})) == (404, "event_not_found")
    assert _code(metered.post("events/nobody/amend", {"reason": "x", "customer_id": "beta"})) == (
        404,
        "event_not_found",
    )


def test_a_meter_says_of_an_event_why_it_does_not_count_it(metered: Tenant) -> None:
    cases = {
        "good": ({"tokens": 1.50, "model": "large"}, True, "1.5", None),
        "free": ({"tokens": 1, "model": "free"}, False, "1", "filter_not_met"),
        "none": ({"model": "large"}, False, None, "missing"),
        "many": ({"tokens": "many"}, False, "many", "not_a_number"),
        "fine": ({"tokens": "0.1234567890123456789012345"}, False, "0.1234567890123456789012345", "too_many_decimals"),
        "huge": ({"tokens": "1e38"}, False, "1e38", "too_large"),
    }
    metered.make("events/bulk", {"events": [_event(name, **case[0]) for name, case in cases.items()]})
    for name, (_, counted, value, reason) in cases.items():
        [meter] = _explained(metered, name)[0]["meters"]
        assert (meter["counted"], meter["value"], meter["reason"]) == (counted, value, reason), name
        assert meter["hour"] == "2024-03-01T10:00:00Z"
    metered.make("meters", {**TOKENS, "id": "from_april", "event_from": "2024-04-01T00:00:00Z", "multiplier": "0.001"})
    meter = _explained(metered, "good")[0]["meters"][1]
    assert (meter["meter_id"], meter["reason"], meter["multiplier"]) == ("from_april", "before_event_from", "0.001")
    meter = _explained(metered, "free")[0]["meters"][0]
    assert meter["filter"] == {"property": "model", "op": "ne", "value": "free"}


def test_where_an_event_is_billed_is_told_before_and_after_its_invoice_is_final(stack: Stack, tenant: Tenant) -> None:
    event = guide("events")
    tenant.make("meters", METER)
    tenant.make("events", event)

    def billing(event_id: str = event["event_id"]) -> dict[str, Any]:
        [meter] = _explained(tenant, event_id)[0]["meters"]
        return meter["billing"][0] if meter["billing"] else {"status": meter["unbilled_because"]}

    assert billing()["status"] == "customer_unknown"
    tenant.make("customers", guide("customers"))
    assert billing()["status"] == "no_subscription"


def test_an_event_on_a_final_invoice_names_it_and_can_no_longer_be_corrected(stack: Stack, tenant: Tenant) -> None:
    made = catalogue(tenant)
    event = {
        "event_name": "api.request",
        "customer_id": guide("customers")["customer_id"],
        "timestamp": "2024-01-21T10:00:00Z",
    }
    tenant.make("events", {**event, "event_id": "in time"})
    [billing] = _explained(tenant, "in time")[0]["meters"][0]["billing"]
    assert (billing["status"], billing["invoice_id"]) == ("not_yet_billed", None)
    assert billing["period_start"] == "2024-01-20T00:00:00Z"
    invoice = finalized_invoice(stack, tenant, made, "1")
    tenant.make("events", {**event, "event_id": "late"})
    tenant.make("events", {**event, "event_id": "elsewhere", "customer_id": "somebody"})
    [billing] = _explained(tenant, "in time")[0]["meters"][0]["billing"]
    assert (billing["status"], billing["invoice_id"], billing["line_id"]) == (
        "finalized",
        invoice.id,
        invoice.lines[0].id,
    )
    assert _explained(tenant, "late")[0]["meters"][0]["billing"][0]["status"] == "late"

    refused = tenant.post("events/in%20time/void", {"reason": "x"})
    assert _code(refused) == (409, "period_finalized")
    assert invoice.id in refused.json()["detail"]
    assert "credit note" in refused.json()["hint"]
    moved = {"reason": "x", "customer_id": event["customer_id"]}
    assert _code(tenant.post("events/elsewhere/amend", moved)) == (409, "period_finalized")
    away = {"reason": "x", "timestamp": "2024-05-21T10:00:00Z"}
    assert _code(tenant.post("events/in%20time/amend", away)) == (409, "period_finalized")
    assert [_explained(tenant, name)[0]["event"]["status"] for name in ("in time", "late", "elsewhere")] == [
        "counted"
    ] * 3
    # What no line counts is free: another customer's, another period's, another name's.
    tenant.make("events/elsewhere/amend", {**moved, "event_name": "free.request"})


def test_a_voided_event_is_out_of_usage_at_once_and_stays_out_when_it_is_sent_again(
    metered: Tenant, stack: Stack, warehouse: Warehouse
) -> None:
    sent = _event("a", tokens=1)
    metered.make("events/bulk", {"events": [sent, _event("b", tokens=2)]})
    correction = metered.make("events/a/void", {"reason": "a load test"})
    assert (correction["action"], correction["identity"], correction["corrected_identity"]) == ("void", "a", None)
    assert _sum(metered) == "2"
    metered.make("events", sent)
    metered.make("events", {**sent, "timestamp": "2024-03-05T10:00:00Z"})
    assert _sum(metered) == "2"
    supersede_duplicates(warehouse)
    assert _sum(metered) == "2"
    [explained] = _explained(metered, "a")
    assert explained["event"]["status"] == "voided"
    assert explained["event"]["properties"] == {"tokens": "1"}
    assert [(copy["status"], copy["timestamp"]) for copy in explained["copies"]] == [
        ("conflict", "2024-03-05T10:00:00Z")
    ]
    assert explained["correction"]["reason"] == "a load test"
    assert explained["meters"][0]["reason"] == "voided"
    assert _code(metered.post("events/a/void", {"reason": "again"})) == (409, "event_already_voided")
    assert _code(metered.post("events/a/amend", {"reason": "again", "customer_id": "beta"})) == (
        409,
        "event_already_voided",
    )
    with stack.ledger.read() as session:
        [entry] = audit.list_entries(session, metered.scope, entity="event", entity_id="a").items
    assert (entry.action, entry.actor) == ("event.voided", metered.get("me").json()["key_id"])
    assert (entry.detail["reason"], entry.detail["before"]["properties"]) == ("a load test", '{"tokens":"1"}')


def test_an_amended_event_counts_as_it_should_have_been_and_its_history_stays(metered: Tenant, stack: Stack) -> None:
    metered.make("events", _event("a", tokens=1, model="large"))
    exact = '{"reason": "wrong unit", "properties": {"tokens": 0.100000000000000000000001}}'
    answer = metered.http.post(
        "/api/v1/events/a/amend", content=exact.encode(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 200, answer.text
    assert _sum(metered) == "0.100000000000000000000001"
    again = metered.http.post(
        "/api/v1/events/a/amend", content=exact.encode(), headers={"Content-Type": "application/json"}
    )
    assert again.json() == answer.json()
    moved = metered.make("events/a/amend", {"reason": "wrong customer", "customer_id": "beta"})
    assert (_sum(metered), _sum(metered, "beta")) == ("0", "0.100000000000000000000001")

    first, second, third = _explained(metered, "a")
    assert [each["event"]["status"] for each in (first, second, third)] == ["amended", "amended", "counted"]
    assert first["event"]["properties"] == {"model": "large", "tokens": "1"}
    assert first["correction"]["corrected_identity"] == second["event"]["identity"] == third["amends"]
    assert (third["event"]["identity"], third["event"]["source"]) == (moved["corrected_identity"], "amendment")
    [chosen] = _explained(metered, "a", identity="a")
    assert chosen == first
    with stack.ledger.read() as session:
        entries = audit.list_entries(session, metered.scope, entity_id="a").items
    assert [entry.detail["reason"] for entry in entries] == ["wrong customer", "wrong unit"]
    assert (entries[0].detail["before"]["customer_id"], entries[0].detail["after"]["customer_id"]) == ("acme", "beta")
    metered.make("events/a/void", {"reason": "after all"})
    assert (_sum(metered), _sum(metered, "beta")) == ("0", "0")
    assert _code(metered.get("events/a", params={"identity": "b"})) == (422, "identity_not_found")


BAD_AMENDMENTS: dict[str, tuple[bytes, int, str, str | None]] = {
    "no JSON": (b"{", 400, "body_not_json", None),
    "no reason": (b'{"customer_id": "beta"}', 422, "missing_field", "reason"),
    "empty reason": (b'{"reason": "", "customer_id": "beta"}', 422, "bad_reason", "reason"),
    "nothing": (b'{"reason": "x"}', 422, "nothing_to_amend", "properties"),
    "unknown field": (b'{"reason": "x", "event_id": "b"}', 422, "unknown_field", "event_id"),
    "wrong type": (b'{"reason": "x", "properties": 5}', 422, "wrong_type", "properties"),
    "bad time": (b'{"reason": "x", "timestamp": "monday"}', 422, "timestamp_not_rfc3339", "timestamp"),
    "no customer of ours": (
        b'{"reason": "x", "customer_id": "cus_01ARZ3NDEKTSV4RRFFQ69G5FAV"}',
        422,
        "customer_not_found",
        "customer_id",
    ),
    "as it was": (b'{"reason": "x", "properties": {"tokens": 1}}', 422, "nothing_to_amend", None),
}


def test_a_bad_amendment_is_refused_by_its_field_and_changes_nothing(metered: Tenant) -> None:
    metered.make("events", _event("a", tokens=1))
    for name, (body, status, code, field) in BAD_AMENDMENTS.items():
        answer = metered.http.post("/api/v1/events/a/amend", content=body, headers={"Content-Type": "application/json"})
        assert (*_code(answer), answer.json().get("field")) == (status, code, field), name
    assert _sum(metered) == "1"


def test_events_of_one_id_under_different_keys_are_told_apart_by_their_identity(metered: Tenant) -> None:
    metered.make("events", {**_event("a", tokens=1), "idempotency_key": "k1"})
    metered.make("events", {**_event("a", tokens=2), "idempotency_key": "k2"})
    assert [each["event"]["identity"] for each in _explained(metered, "a")] == ["k1", "k2"]
    assert _code(metered.post("events/a/void", {"reason": "x"})) == (409, "event_ambiguous")
    metered.make("events/a/void", {"reason": "x", "identity": "k1"})
    assert _sum(metered) == "2"
    metered.make("events/a/amend", {"reason": "x", "identity": "k2", "properties": {"tokens": 5}})
    assert _sum(metered) == "5"


def test_a_copy_that_lost_cannot_be_corrected_and_names_where_it_differs(metered: Tenant) -> None:
    metered.make("events", {**_event("first", tokens=1), "idempotency_key": "k"})
    metered.make("events", {**_event("second", "beta", tokens=2), "idempotency_key": "k"})
    assert _code(metered.post("events/second/void", {"reason": "x"})) == (409, "event_not_counted")
    [explained] = _explained(metered, "second")
    assert (explained["event"]["event_id"], explained["event"]["status"]) == ("first", "counted")
    [copy] = explained["copies"]
    assert (copy["event_id"], copy["status"]) == ("second", "conflict")
    assert copy["differences"] == [
        {"field": "customer_id", "winner": "acme", "loser": "beta"},
        {"field": "properties.tokens", "winner": "1", "loser": "2"},
    ]


def test_a_repeated_void_under_its_idempotency_key_gets_the_first_answer(metered: Tenant) -> None:
    metered.make("events", _event("a", tokens=1))
    first, second = (
        metered.post("events/a/void", {"reason": "x"}, headers={"Idempotency-Key": "void-a"}) for _ in range(2)
    )
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"


def test_conflicts_are_listed_with_both_sides_and_how_far_the_list_knows(metered: Tenant, warehouse: Warehouse) -> None:
    metered.make("events/bulk", {"events": [_event(f"e{n}", tokens=n) for n in range(3)]})
    for n in range(3):
        metered.make("events", _event(f"e{n}", "beta", f"2024-03-0{n + 5}T10:00:00Z", tokens=n))
    metered.make("events", _event("e0", tokens=0))
    supersede_duplicates(warehouse)
    answer = metered.get("events/conflicts", params={"limit": 2}).json()
    assert [(item["identity"], item["loser"]["customer_id"]) for item in answer["items"]] == [
        ("e2", "beta"),
        ("e1", "beta"),
    ]
    assert {each["field"] for each in answer["items"][0]["differences"]} == {"customer_id", "timestamp"}
    assert answer["items"][0]["winner"]["status"] == "counted"
    assert answer["reconciled_until"] >= answer["items"][0]["loser"]["ingested_at"]
    rest = metered.get("events/conflicts", params={"limit": 2, "cursor": answer["next_cursor"]}).json()
    assert ([item["identity"] for item in rest["items"]], rest["next_cursor"]) == (["e0"], None)
    within = {"start_time": "2024-03-06T00:00:00Z", "end_time": "2024-03-07T00:00:00Z", "customer_id": "acme"}
    assert [item["identity"] for item in metered.get("events/conflicts", params=within).json()["items"]] == ["e1"]
    assert metered.get("events/conflicts", params={"customer_id": "gamma"}).json()["items"] == []
    assert metered.get("events", params={"superseded": True}).json()["items"][0]["status"] == "conflict"


def test_a_correction_whose_request_died_is_finished_by_the_api_itself(
    metered: Tenant, stack: Stack, warehouse: Warehouse
) -> None:
    metered.make("events", _event("a", tokens=1))
    long_ago = datetime.now(UTC) - timedelta(minutes=10)
    with closing(CutOff(warehouse, 0)) as cut, pytest.raises(Unavailable):
        void_event(stack.ledger, cut, metered.scope, "a", None, "a load test", "key_1", long_ago)
    assert eventually(lambda: _explained(metered, "a")[0]["event"]["status"] == "voided", seconds=30)
    assert _sum(metered) == "0"
