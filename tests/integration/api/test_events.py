"""Events over HTTP: stored before they are acknowledged, refused one by one, counted exactly, by either id."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from tests.support.api_catalog import METER
from tests.support.api_process import running_api
from tests.support.api_stack import Stack, Tenant, eventually, settings_of
from tests.support.warehouse_process import WarehouseProcess, running_warehouse, start_warehouse
from warehouse_sql.client import Warehouse
from warehouse_sql.migrate import migrate

SUM: dict[str, Any] = {
    "id": "meter_tokens",
    "name": "Tokens",
    "event_name": "llm.request",
    "aggregation": {"type": "sum", "property": "tokens"},
    "group_by": ["model"],
}
DAY = {"start_time": "2024-03-01T00:00:00Z", "end_time": "2024-03-02T00:00:00Z"}


def _event(event_id: str, customer_id: str = "acme", **properties: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "event_name": "llm.request",
        "customer_id": customer_id,
        "timestamp": "2024-03-01T10:00:00Z",
        "properties": properties,
    }


def _sum(tenant: Tenant, customer_id: str = "acme", **more: Any) -> list[dict[str, Any]]:
    question = {"meter_id": "meter_tokens", "customer_id": customer_id, **DAY, **more}
    rows: list[dict[str, Any]] = tenant.make("events/usage/meter", question)["data"]
    return rows


@pytest.fixture
def metered(tenant: Tenant) -> Tenant:
    tenant.make("meters", SUM)
    tenant.make("customers", {"name": "Acme", "customer_id": "acme"})
    return tenant


def test_E2_an_acknowledged_event_is_in_the_very_next_usage_answer(metered: Tenant) -> None:
    for number in range(1, 6):
        metered.make("events", _event(f"e{number}", tokens=1))
        assert _sum(metered)[0]["value"] == str(number)


def test_E3_an_identity_counts_once_in_a_batch_and_across_requests(metered: Tenant) -> None:
    batch = {"events": [_event("a", tokens=1), _event("a", tokens=1), _event("b", tokens=2)]}
    first, again = metered.post("events/bulk", batch), metered.post("events/bulk", batch)
    assert (first.status_code, first.json()["accepted"], first.json()["duplicates"]) == (201, 2, 1)
    assert (again.status_code, again.json()["accepted"], again.json()["duplicates"]) == (200, 0, 3)
    one = metered.post("events", _event("c", tokens=4))
    assert [one.json()["status"], metered.post("events", _event("c", tokens=4)).json()["status"]] == [
        "accepted",
        "duplicate",
    ]
    assert _sum(metered)[0]["value"] == "7"


def test_E3_of_a_batch_that_contradicts_itself_the_first_one_counts(metered: Tenant) -> None:
    batch = {"events": [_event("a", tokens=1), _event("a", tokens=50), _event("a", tokens=70), _event("b", tokens=2)]}
    answer = metered.make("events/bulk", batch)
    assert (answer["accepted"], answer["duplicates"]) == (2, 2)
    assert _sum(metered)[0]["value"] == "3"


def test_an_event_without_an_id_is_given_one_which_the_answer_names(metered: Tenant) -> None:
    nameless = {name: value for name, value in _event("x", tokens=1).items() if name != "event_id"}
    answer = metered.make("events/bulk", {"events": [_event("a", tokens=1), nameless, {"customer_id": "acme"}]})
    [made] = answer["made_ids"]
    assert (made["index"], made["event_id"][:4]) == (1, "evt_")
    assert _sum(metered)[0]["value"] == "2"


def test_E4_a_bad_event_is_refused_by_index_and_the_good_ones_are_stored(metered: Tenant) -> None:
    bad_time = {**_event("b"), "timestamp": "yesterday"}
    unknown = _event("c", "cus_01ARZ3NDEKTSV4RRFFQ69G5FAV", tokens=1)
    answer = metered.post("events/bulk", {"events": [_event("a", tokens=1), bad_time, unknown, _event("d", tokens=4)]})
    assert answer.status_code == 201
    assert answer.json()["accepted"] == 2
    assert [(each["index"], each["code"], each["field"]) for each in answer.json()["refused"]] == [
        (1, "timestamp_not_rfc3339", "timestamp"),
        (2, "customer_not_found", "customer_id"),
    ]
    assert _sum(metered)[0]["value"] == "5"


def test_a_batch_of_which_nothing_is_good_is_a_problem_with_every_reason(metered: Tenant) -> None:
    answer = metered.post("events/bulk", {"events": [{"customer_id": "a"}, 7]})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["accepted"], problem["duplicates"]) == ("all_events_refused", 0, 0)
    assert [each["index"] for each in problem["refused"]] == [0, 1]


def test_E6_numbers_stay_exact_through_the_api(metered: Tenant) -> None:
    body = json.dumps({"events": [_event("a", tokens="T"), _event("b", tokens="T")]})
    exact = body.replace('"T"', "123456789012345678.123456789012").encode()
    answer = metered.http.post("/api/v1/events/bulk", content=exact, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201
    assert _sum(metered)[0]["value"] == "246913578024691356.246913578024"


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", lambda body: zlib.compress(body)[2:-4]),
    "zstd": ("zstd", zstandard.compress),
}


@pytest.mark.parametrize("packer", PACKERS)
def test_compressed_bodies_are_read(metered: Tenant, packer: str) -> None:
    encoding, pack = PACKERS[packer]
    packed = pack(json.dumps({"events": [_event("a", tokens=7)]}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    assert metered.http.post("/api/v1/events/bulk", content=packed, headers=headers).status_code == 201
    assert _sum(metered)[0]["value"] == "7"


def test_E4_lines_are_stored_or_refused_by_their_place_among_those_that_are_not_blank(metered: Tenant) -> None:
    lines = [
        json.dumps(_event("a", tokens=1)),
        "",
        "no json",
        json.dumps(_event("b", tokens=2)),
        '{"event_id": "c", "e',
    ]
    headers = {"Content-Type": 'application/x-ndjson; charset="UTF-8"'}
    answer = metered.http.post("/api/v1/events/bulk", content="\r\n".join(lines), headers=headers)
    assert (answer.status_code, answer.json()["accepted"]) == (201, 2)
    assert [(each["index"], each["code"]) for each in answer.json()["refused"]] == [(1, "not_json"), (3, "not_json")]
    assert _sum(metered)[0]["value"] == "3"


def _cloud_event(name: str, tokens: int, **more: Any) -> dict[str, Any]:
    attributes = {"specversion": "1.0", "source": "/gateway", "id": name, "type": "llm.request", "subject": "acme"}
    return {**attributes, "time": "2024-03-01T10:00:00Z", "data": {"tokens": tokens}, **more}


def test_cloudevents_are_usage_alone_and_in_batches_and_count_once_by_source_and_id(metered: Tenant) -> None:
    single = {"Content-Type": "application/cloudevents+json"}
    batch = {"Content-Type": "application/cloudevents-batch+json"}
    one = metered.post("events", _cloud_event("1", 1), headers=single)
    assert (one.status_code, one.json()) == (201, {"event_id": "1", "status": "accepted"})
    assert metered.post("events/bulk", _cloud_event("1", 1), headers=single).json()["duplicates"] == 1
    sent = [_cloud_event("1", 2, source="/other"), _cloud_event("2", 4, subject=None), _cloud_event("2", 8)]
    answer = metered.post("events/bulk", sent, headers=batch).json()
    assert (answer["accepted"], [(each["index"], each["field"]) for each in answer["refused"]]) == (2, [(1, "subject")])
    assert _sum(metered)[0]["value"] == "11"


@pytest.mark.parametrize(
    ("path", "content_type", "code"),
    [
        ("events", "application/x-ndjson", "content_type_not_supported"),
        ("events", "application/cloudevents-batch+json", "content_type_not_supported"),
        ("events/bulk", "text/csv", "content_type_not_supported"),
        ("events/bulk", "application/json; charset=latin1", "charset_not_supported"),
    ],
)
def test_a_content_type_that_is_not_read_is_refused_with_those_that_are(
    metered: Tenant, path: str, content_type: str, code: str
) -> None:
    answer = metered.http.post(f"/api/v1/{path}", content=b"{}", headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (415, code)
    assert answer.json()["hint"].startswith("Send ")


def test_a_bomb_is_refused_and_an_unknown_encoding_too(metered: Tenant) -> None:
    bomb = gzip.compress(b" " * (65 * 1024 * 1024))
    headers = {"Content-Type": "application/json"}
    answer = metered.http.post("/api/v1/events/bulk", content=bomb, headers={**headers, "Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    answer = metered.http.post("/api/v1/events/bulk", content=b"{}", headers={**headers, "Content-Encoding": "br"})
    assert (answer.status_code, answer.json()["code"]) == (415, "content_encoding_not_supported")


def test_events_and_questions_may_name_a_customer_by_our_id(tenant: Tenant) -> None:
    tenant.make("meters", SUM)
    customer = tenant.make("customers", {"name": "Acme", "customer_id": "acme"})
    tenant.make("events", _event("a", customer["id"], tokens=1))
    tenant.make("events", _event("b", "acme", tokens=2))
    for asked in (customer["id"], "acme"):
        [row] = _sum(tenant, asked)
        assert (row["customer_id"], row["value"], row["events"]) == (asked, "3", 2)


def test_usage_is_told_by_group_and_by_day_of_a_timezone(metered: Tenant) -> None:
    events = [
        _event("a", tokens=1, model="small"),
        _event("b", tokens=2, model="large"),
        _event("c", tokens=4, model="large"),
    ]
    metered.make("events/bulk", {"events": events})
    grouped = _sum(metered, group_by=["model"])
    assert {row["group"]["model"]: row["value"] for row in grouped} == {"small": "1", "large": "6"}
    question = {"start_time": "2024-02-29T23:00:00Z", "end_time": "2024-03-01T23:00:00Z"}
    [day] = _sum(metered, window_size="DAY", timezone="Europe/Berlin", **question)
    assert (day["start_time"], day["end_time"], day["value"]) == ("2024-02-29T23:00:00Z", "2024-03-01T23:00:00Z", "7")


def test_events_may_come_before_their_customer(tenant: Tenant) -> None:
    tenant.make("meters", METER)
    event = {"event_name": "api.request", "customer_id": "early", "timestamp": "2024-03-01T10:00:00Z"}
    tenant.make("events", event)
    question = {"meter_id": "meter_api_requests", "customer_id": "early", **DAY}
    assert tenant.make("events/usage/meter", question)["data"][0]["value"] == "1"


@contextmanager
def _apart(
    stack: Stack, tenant: Tenant, home: Path, **settings: str
) -> Iterator[tuple[WarehouseProcess, httpx.Client]]:
    """A warehouse that may be stopped and an API before it, on the ledger of the other tests."""
    with running_warehouse(home / "warehouse") as warehouse:
        with closing(Warehouse(warehouse.url, warehouse.user, warehouse.password)) as client:
            migrate(client)
        environment = settings_of(home, warehouse, "http://127.0.0.1:9") | settings
        environment["TALLY_LEDGER_URL"] = stack.ledger.url.render_as_string(hide_password=False)
        with running_api(environment, home / "api.log") as api:
            headers = {"X-API-Key": tenant.key}
            with httpx.Client(base_url=api.url, headers=headers, trust_env=False, timeout=60) as http:
                yield warehouse, http


def test_E5_while_the_warehouse_is_down_events_are_queued_and_count_once_it_is_back(
    stack: Stack, metered: Tenant, tmp_path: Path
) -> None:
    def counted() -> str | None:
        answer = http.post(
            "/api/v1/events/usage/meter", json={"meter_id": "meter_tokens", "customer_id": "acme", **DAY}
        )
        return answer.json()["data"][0]["value"] if answer.status_code == 200 else None

    with _apart(stack, metered, tmp_path) as (warehouse, http):
        assert http.post("/api/v1/events", json=_event("a", tokens=1)).status_code == 201
        warehouse.kill()
        answer = http.post("/api/v1/events", json=_event("b", tokens=2))
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
        batch = {"events": [_event("c", tokens=4), _event("b", tokens=2), _event("d", customer_id="", tokens=9)]}
        answer = http.post("/api/v1/events/bulk", json=batch)
        assert (answer.status_code, answer.json()["status"], answer.json()["accepted"]) == (202, "queued", 2)
        assert [each["code"] for each in answer.json()["refused"]] == ["empty"]
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()["warehouse"], ready.json()["ledger"]) == (503, "down", "ok")
        assert ready.json()["journal"] == "draining"
        assert "tally_journal_events 3.0" in http.get("/metrics").text
        assert http.get("/healthz").status_code == 200
        port = int(warehouse.url.rpartition(":")[2])
        back = start_warehouse(warehouse.path, user=warehouse.user, password=warehouse.password, port=port)
        try:
            eventually(lambda: counted() == "7")
            again = http.post("/api/v1/events", json=_event("e", tokens=8))
            assert (again.status_code, again.json()["status"]) == (201, "accepted")
            assert counted() == "15"
        finally:
            back.stop()


def test_E5_a_full_journal_is_answered_503_and_says_when_to_come_back(
    stack: Stack, tenant: Tenant, tmp_path: Path
) -> None:
    with _apart(stack, tenant, tmp_path, TALLY_JOURNAL_MAX_BYTES="500") as (warehouse, http):
        warehouse.kill()
        assert http.post("/api/v1/events", json=_event("a", tokens=1)).status_code == 202
        answer = http.post("/api/v1/events", json=_event("b", tokens=1))
        assert (answer.status_code, answer.json()["code"]) == (503, "journal_full")
        assert int(answer.headers["retry-after"]) >= 1


def test_a_request_that_would_not_fit_in_memory_is_told_to_slow_down(
    stack: Stack, tenant: Tenant, tmp_path: Path
) -> None:
    with _apart(stack, tenant, tmp_path, TALLY_INGEST_WAITING_BYTES="1") as (_, http):
        with ThreadPoolExecutor(8) as senders:
            sent = [senders.submit(http.post, "/api/v1/events", json=_event(f"e{n}", tokens=1)) for n in range(64)]
        answers = [each.result() for each in sent]
        refused = [answer for answer in answers if answer.status_code != 201]
        assert 0 < len(refused) < len(answers)
        assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(429, "intake_full")}
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
