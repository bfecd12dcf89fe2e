"""The aggregation cases of other billing systems, sent and asked for over HTTP as anybody would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_stack import Stack, Tenant

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "data" / "vectors" / "aggregation.json").read_text()
)


@pytest.fixture(scope="module")
def cases(stack: Stack) -> Tenant:
    """One tenant for all cases; each has an event name and a meter of its own."""
    return stack.tenant()


@pytest.mark.parametrize("case", VECTORS, ids=[case["id"] for case in VECTORS])
def test_cases_of_other_systems_hold_over_the_api(cases: Tenant, case: dict[str, Any]) -> None:
    name = f"case.{case['id']}"
    events = [
        {"event_name": name, "customer_id": "acme", **event, "idempotency_key": f"{name}/{event['event_id']}"}
        for event in case["events"]
    ]
    aggregation = {"type": case["meter"]["aggregation"], "property": case["meter"]["property"]}
    if aggregation["type"] == "count":
        del aggregation["property"]
    allowed = (case.get("filters") or {}).items()
    meter = cases.make(
        "meters",
        {
            "name": case["id"],
            "event_name": name,
            "aggregation": aggregation,
            "filters": [{"property": prop, "op": "in", "value": list(values)} for prop, values in allowed],
        },
    )
    assert cases.make("events/bulk", {"events": events})["refused"] == []
    period = {"start_time": case["start"], "end_time": case["end"]}
    question = {"meter_id": meter["id"], "customer_id": "acme", **period}
    [row] = cases.make("events/usage/meter", question)["data"]
    assert row["value"] == case["expected"]["value"]
    sample = {"meter": meter["id"], "events": events, **period}
    if len(events) <= 100:
        tried = cases.make("meters/test", sample)["data"]
        assert [each["value"] for each in tried] in ([row["value"]], [])
