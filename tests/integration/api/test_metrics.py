"""The API's figures: there for whoever runs it, and for nobody else."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ledger.store import pipeline_runs
from ledger.store.pipeline_runs import FinishedRun
from pipelines.steps.measure_pipeline import measure_pipeline
from pipelines.steps.pipeline_samples import keep_samples
from tests.support.api_catalog import guide
from tests.support.api_process import running_api
from tests.support.api_stack import Stack, Tenant
from warehouse_sql.client import Warehouse


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


def test_the_pipelines_figures_are_the_newest_measurement_and_ages_grow_until_the_next(
    stack: Stack, tenant: Tenant
) -> None:
    tenant.make("events", guide("events"))
    measured_at = datetime.now(UTC) - timedelta(minutes=10)
    with stack.ledger.begin() as session:
        pipeline_runs.note(session, FinishedRun("run_1", "billing", "2024-11-01", "failed", measured_at, 1500))
    where = {name: stack.environment[f"TALLY_WAREHOUSE_{name}"] for name in ("URL", "USER", "PASSWORD", "DATABASE")}
    with closing(Warehouse(*where.values())) as warehouse:
        keep_samples(stack.ledger, measure_pipeline(stack.ledger, warehouse, measured_at))
    text = httpx.get(f"{stack.url}/metrics/pipeline", trust_env=False, timeout=60).text
    figures = _figures(text)
    assert figures["tally_pipeline_measured_timestamp_seconds"] == pytest.approx(measured_at.timestamp())
    assert (figures["tally_runs_total billing failed"], figures["tally_run_seconds_total billing failed"]) == (1, 1.5)
    assert figures["tally_pipeline_warehouse_up"] == 1
    assert figures["tally_queue_given_up inbox"] == 0
    assert "tally_pipeline_lag_seconds rollup" in figures
    assert tenant.scope.tenant_id not in text
    assert tenant.scope.environment_id not in text
    refused = httpx.get(
        f"{stack.url}/metrics/pipeline", headers={"X-Forwarded-For": "203.0.113.9"}, trust_env=False, timeout=60
    )
    assert (refused.status_code, refused.json()["code"]) == (403, "metrics_only_here")


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
