"""E3 over HTTP: an identity counts once, whoever sends it again, whenever, and by whichever process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.support.api_process import running_api
from tests.support.api_stack import Stack, Tenant
from tests.support.at_once import in_threads
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse
from warehouse_sql.reconcile import supersede_duplicates

TOKENS: dict[str, Any] = {
    "id": "meter_tokens",
    "name": "Tokens",
    "event_name": "llm.request",
    "aggregation": {"type": "sum", "property": "tokens"},
}
YEAR = {"start_time": "2024-01-01T00:00:00Z", "end_time": "2025-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def warehouse(warehouse_process: WarehouseProcess) -> Iterator[Warehouse]:
    server = warehouse_process
    with closing(Warehouse(server.url, server.user, server.password)) as client:
        yield client


@pytest.fixture
def metered(tenant: Tenant) -> Tenant:
    tenant.make("meters", TOKENS)
    tenant.make("meters", {**TOKENS, "id": "meter_other", "event_name": "llm.other"})
    for name in ("acme", "beta"):
        tenant.make("customers", {"name": name, "customer_id": name})
    return tenant


def _event(event_id: str, tokens: int, **other: Any) -> dict[str, Any]:
    plain = {"event_name": "llm.request", "customer_id": "acme", "timestamp": "2024-03-01T10:00:00Z"}
    return {"event_id": event_id, **plain, "properties": {"tokens": tokens}, **other}


def _sums(tenant: Tenant, meter_id: str = "meter_tokens") -> list[str]:
    question = {"meter_id": meter_id, "customer_ids": ["acme", "beta"], **YEAR}
    return [row["value"] for row in tenant.make("events/usage/meter", question)["data"]]


def test_E3_twice_in_one_batch_the_first_counts_with_the_same_content_or_not(metered: Tenant) -> None:
    batch = [_event("a", 1), _event("a", 1), _event("b", 2), _event("b", 4), _event("c", 8, idempotency_key="b")]
    assert metered.make("events/bulk", {"events": batch})["duplicates"] == 3
    assert _sums(metered) == ["3", "0"]


def test_E3_in_batches_at_once_through_two_servers_and_again_after_one_was_killed_one_counts(
    stack: Stack, metered: Tenant, tmp_path: Path
) -> None:
    batch = {"events": [_event(f"e{n}", 1) for n in range(50)]}
    headers = {"X-API-Key": metered.key}

    def send(url: str) -> bool:
        answer = httpx.post(f"{url}/api/v1/events/bulk", json=batch, headers=headers, timeout=60, trust_env=False)
        return answer.is_success

    with running_api(stack.environment, tmp_path / "second.log") as second:
        assert in_threads([partial(send, url) for url in (stack.url, second.url) * 4]) == [True] * 8
        assert _sums(metered) == ["50", "0"]
        second.kill()
    assert send(stack.url)
    assert _sums(metered) == ["50", "0"]


@pytest.mark.parametrize(
    "again",
    [
        {"customer_id": "beta"},
        {"event_name": "llm.other"},
        {"timestamp": "2024-04-05T10:00:00Z"},
        {"timestamp": "2024-11-01T00:00:00Z", "customer_id": "beta", "event_name": "llm.other"},
        {"tokens": 4},
    ],
    ids=["another customer", "another name", "35 days later", "all of these, months later", "another value"],
)
def test_E3_under_other_content_the_first_received_counts_and_the_other_is_a_conflict(
    metered: Tenant, warehouse: Warehouse, again: dict[str, Any]
) -> None:
    metered.make("events", _event("a", 1))
    metered.make("events", _event("a", **{"tokens": 1, **again}))
    supersede_duplicates(warehouse)
    assert (_sums(metered), _sums(metered, "meter_other")) == (["1", "0"], ["0", "0"])
    [conflict] = metered.get("events/conflicts").json()["items"]
    assert (conflict["identity"], conflict["winner"]["status"], conflict["loser"]["status"]) == (
        "a",
        "counted",
        "conflict",
    )


@pytest.mark.parametrize("content", ["the same", "other"])
def test_E3_an_event_that_comes_again_after_35_days_and_more_does_not_count(
    metered: Tenant, warehouse: Warehouse, content: str
) -> None:
    _received(warehouse, metered, _event("a", 1), timedelta(days=36))
    supersede_duplicates(warehouse)
    metered.make("events", _event("a", 1) if content == "the same" else _event("a", 2, customer_id="beta"))
    supersede_duplicates(warehouse)
    assert _sums(metered) == ["1", "0"]


def _received(warehouse: Warehouse, tenant: Tenant, sent: dict[str, Any], ago: timedelta) -> None:
    """The row that the API would have written then: nothing but the engine's clock is set back."""
    row = {
        **{name: sent[name] for name in ("event_id", "event_name", "customer_id", "timestamp")},
        "tenant_id": tenant.scope.tenant_id,
        "environment_id": tenant.scope.environment_id,
        "timed": True,
        "identity": sent["event_id"],
        "properties": {name: str(value) for name, value in sent["properties"].items()},
        "ingested_at": (datetime.now(UTC) - ago).isoformat(),
    }
    settings = {"date_time_input_format": "best_effort"}
    warehouse.insert_raw("events", list(row), msgspec.json.encode(row), "JSONEachRow", settings)
