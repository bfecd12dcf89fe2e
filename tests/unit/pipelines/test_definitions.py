"""What Dagster loads: all of it, and nothing that vanished on the way."""

import shutil
from pathlib import Path
from typing import cast

import dagster as dg
import pytest
from dagster._core.workspace.config_schema import ensure_workspace_config
from dagster_shared.yaml_utils import load_yaml_from_path

from billing.errors import Conflict, Unavailable
from pipelines.assets.daily import retried_when_unavailable
from pipelines.definitions import defs

HOME = Path(__file__).parents[3] / "dagster_home"


def test_every_asset_and_check_is_loaded_in_its_group() -> None:
    dg.Definitions.validate_loadable(defs)
    graph = defs.get_repository_def().asset_graph
    assert {key.to_user_string(): graph.get(key).group_name for key in graph.materializable_asset_keys} == {
        "events_reconciled": "arrivals",
        "usage_hourly": "usage",
        "billable_quantities": "quantities",
        "late_adjustments": "quantities",
        "draft_invoices": "invoices",
        "priced_invoices": "invoices",
        "finalized_invoices": "invoices",
        "stripe_invoices": "stripe",
        "stripe_reconciliation": "stripe",
        "rerated_invoices": "invoices",
        "usage_lag": "health",
        "events_left_out": "health",
        "billing_backlog": "health",
        "stripe_queues": "health",
    }
    assert {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys} == {
        ("usage_hourly", "rollup_matches_raw"),
        ("billable_quantities", "quantities_match_raw"),
        ("billable_quantities", "identities_count_once"),
        ("billable_quantities", "usage_events_are_usable"),
        ("billable_quantities", "quantities_as_expected"),
        ("priced_invoices", "totals_match_lines"),
        ("finalized_invoices", "all_subscriptions_billed"),
        ("usage_lag", "usage_is_fresh"),
        ("billing_backlog", "no_invoice_is_held"),
        ("stripe_queues", "nothing_was_given_up"),
    }
    assert {key.name for key in graph.asset_check_keys if not graph.get_check_spec(key).blocking} == {
        "all_subscriptions_billed",
        "usage_is_fresh",
        "no_invoice_is_held",
        "nothing_was_given_up",
    }


def test_all_assets_have_an_owner_a_version_and_a_description_and_those_of_days_share_them() -> None:
    graph = defs.get_repository_def().asset_graph
    nodes = [graph.get(key) for key in graph.materializable_asset_keys]
    assert {
        (tuple(node.owners), node.code_version is not None, bool(node.description and node.kinds)) for node in nodes
    } == {(("team:billing",), True, True)}
    of_days = {node.key.to_user_string() for node in nodes if node.partitions_def is not None}
    # The others say how everything is now, whatever day it is from.
    assert of_days == {node.key.to_user_string() for node in nodes if node.group_name != "health"} - {
        "stripe_reconciliation",
        "rerated_invoices",
    }
    days = "Daily, starting 2015-01-01 UTC. End offsetted by 1 partition."
    assert {(str(node.partitions_def), node.backfill_policy) for node in nodes if node.partitions_def is not None} == {
        (days, dg.BackfillPolicy.single_run())
    }
    assert graph.get(dg.AssetKey("stripe_invoices")).pools == {"stripe"}
    assert graph.get(dg.AssetKey("usage_hourly")).freshness_policy is not None


def test_every_asset_names_the_columns_of_its_rows() -> None:
    graph = defs.get_repository_def().asset_graph
    for node in map(graph.get, graph.materializable_asset_keys):
        schema = node.metadata["dagster/column_schema"]
        assert schema.columns, node.key
        assert all(column.description for column in schema.columns), node.key


def test_no_run_of_a_job_that_starts_by_itself_may_take_for_ever() -> None:
    jobs = {job.name: job for job in defs.get_repository_def().get_all_jobs()}
    for name in ("stale_usage", "stripe_sweep", "stripe_follow_up", "health", "retention"):
        assert 0 < int(jobs[name].tags["dagster/max_runtime"]) <= 2 * 3600, name


def test_the_days_of_two_months_are_one_run_whose_assets_chain() -> None:
    graph = defs.get_repository_def().asset_graph
    order = [sorted(key.to_user_string() for key in level) for level in graph.toposorted_asset_keys_by_level]
    health = {key.to_user_string() for key in graph.materializable_asset_keys if graph.get(key).group_name == "health"}
    assert [name for level in order for name in level if name not in {*health, "rerated_invoices"}] == [
        "events_reconciled",
        "usage_hourly",
        "billable_quantities",
        "late_adjustments",
        "draft_invoices",
        "priced_invoices",
        "finalized_invoices",
        "stripe_invoices",
        "stripe_reconciliation",
    ]


def test_only_what_was_unavailable_is_tried_again() -> None:
    with pytest.raises(dg.RetryRequested) as retry, retried_when_unavailable():
        raise Unavailable("ledger_busy", "busy", retry_after_seconds=7)
    assert (retry.value.max_retries, retry.value.seconds_to_wait) == (3, 7)
    with pytest.raises(Conflict), retried_when_unavailable():
        raise Conflict("move_not_allowed", "no")


def test_the_instance_of_one_machine_takes_its_settings(tmp_path: Path) -> None:
    shutil.copy(HOME / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        concurrency = instance.get_concurrency_config()
        assert instance.run_coordinator.dequeue_interval_seconds == 1  # type: ignore[attr-defined]
        assert concurrency.run_queue_config is not None
        assert concurrency.run_queue_config.max_concurrent_runs == 2
        assert concurrency.pool_config.default_pool_limit == 1
        assert (instance.telemetry_enabled, instance.run_monitoring_enabled) == (False, True)


def test_the_workspace_takes_the_code_servers_port_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_CODE_PORT", "4267")
    path = str(HOME / "workspace.yaml")
    written = load_yaml_from_path(path)
    assert isinstance(written, dict)
    (target,) = cast("list[dict[str, object]]", ensure_workspace_config(written, path)["load_from"])
    assert target["grpc_server"] == {"host": "127.0.0.1", "port": 4267, "location_name": "tallyhouse"}
