"""The API's figures: there for whoever runs it, and for nobody else."""

from __future__ import annotations

from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.api_catalog import guide
from tests.support.api_process import running_api
from tests.support.api_stack import Stack, Tenant


def _figures(text: str) -> dict[str, float]:
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_events_and_inserts_are_counted_and_no_tenant_is_named(stack: Stack, tenant: Tenant) -> None:
    before = _figures(httpx.get(f"{stack.url}/metrics", trust_env=False, timeout=60).text)
    tenant.make("events", guide("events"))
    text = httpx.get(f"{stack.url}/metrics", trust_env=False, timeout=60).text
    after = _figures(text)
    assert after["tally_events_total stored"] == before["tally_events_total stored"] + 1
    assert after["tally_insert_seconds_count"] == before["tally_insert_seconds_count"] + 1
    assert (after["tally_journal_events"], after["tally_waiting_bytes"]) == (0, 0)
    assert tenant.scope.tenant_id not in text


def test_what_a_proxy_hands_on_is_not_from_this_machine(stack: Stack) -> None:
    answer = httpx.get(f"{stack.url}/metrics", headers={"X-Forwarded-For": "203.0.113.9"}, trust_env=False, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (403, "metrics_only_here")


def test_with_a_token_set_it_is_needed_from_everywhere(stack: Stack, tmp_path: Path) -> None:
    settings = {**stack.environment, "TALLY_HOME": str(tmp_path), "TALLY_METRICS_TOKEN": "figures-please"}
    with running_api(settings, tmp_path / "api.log") as api:
        refused = httpx.get(f"{api.url}/metrics", trust_env=False, timeout=60)
        assert (refused.status_code, refused.json()["code"]) == (401, "metrics_token_wrong")
        headers = {"Authorization": "Bearer figures-please", "X-Forwarded-For": "203.0.113.9"}
        assert httpx.get(f"{api.url}/metrics", headers=headers, trust_env=False, timeout=60).status_code == 200
