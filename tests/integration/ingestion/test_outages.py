"""A warehouse that hangs, and one that is gone while senders go on: queued, then stored by itself, and counted once."""

from __future__ import annotations

from typing import Any

from tests.support.event_sender import sending
from tests.support.ingest_rig import Rig
from tests.support.waiting import wait_until


def _event(event_id: str, tokens: int) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "event_name": "llm.request",
        "customer_id": "acme",
        "timestamp": "2026-01-05T10:00:00Z",
        "properties": {"tokens": tokens},
    }


def test_E5_an_insert_that_hangs_is_answered_as_queued_and_counts_once_when_it_goes_on(rig: Rig) -> None:
    tenant = rig.tenant()
    with rig.stopped_warehouse():
        first = tenant.post("events", _event("a", 1))
        behind = tenant.post("events/bulk", {"events": [_event("b", 2), _event("c", 4)]})
        again = tenant.post("events", _event("a", 1))
    assert [answer.status_code for answer in (first, behind, again)] == [202, 202, 202]
    assert [answer.json()["status"] for answer in (first, behind, again)] == ["queued", "queued", "queued"]
    rig.wait_until_drained()
    assert rig.usage(tenant) == {"acme": (3, 7)}
    # The insert that hung has stored its rows as well, once it could go on.
    wait_until(lambda: tenant.post("events", _event("d", 8)).status_code in {200, 201})
    rig.reconcile()
    assert rig.usage(tenant) == {"acme": (4, 15)}
    assert rig.stored(tenant) == ["a", "b", "c", "d"]


def test_E5_traffic_goes_on_while_the_warehouse_is_gone_and_nothing_counts_twice(rig: Rig) -> None:
    tenant = rig.tenant()
    with sending(rig.api.url, tenant.key, 1, threads=3) as sender:
        wait_until(lambda: sender.requests() >= 20)
        rig.warehouse.kill()
        queued = sender.requests(202)
        wait_until(lambda: sender.requests(202) >= queued + 40)
        rig.bring_back_warehouse()
        stored = sender.requests(201)
        wait_until(lambda: sender.requests(201) >= stored + 20, 60)
    assert sender.requests(429, 503) == 0
    rig.assert_each_counts_once(tenant, sender)
