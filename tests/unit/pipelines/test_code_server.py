"""A code server that was killed leaves runs behind; the next one fails them."""

from pathlib import Path

import dagster as dg

from pipelines.code_server import fail_left_behind


@dg.job
def nothing() -> None:
    """A job to have a run of."""


def test_a_run_left_behind_by_a_killed_code_server_is_failed_and_gives_its_slots_back(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\nconcurrency: {pools: {default_limit: 1, granularity: op}}\n"
    )
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert fail_left_behind(instance) == 0
        left = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)
        waiting = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.NOT_STARTED)
        slots = instance.event_log_storage
        slots.initialize_concurrency_limit_to_default("warehouse")
        slots.claim_concurrency_slot("warehouse", left.run_id, "a_step")
        assert slots.get_concurrency_info("warehouse").active_slot_count == 1
        ended = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.SUCCESS)
        assert fail_left_behind(instance) == 1
        assert slots.get_concurrency_info("warehouse").active_slot_count == 0
        statuses = {run.run_id: run.status for run in instance.get_runs()}
    assert statuses == {
        left.run_id: dg.DagsterRunStatus.FAILURE,
        waiting.run_id: dg.DagsterRunStatus.NOT_STARTED,
        ended.run_id: dg.DagsterRunStatus.SUCCESS,
    }


def test_runs_of_another_launcher_outlive_the_code_server_and_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        "run_launcher: {module: dagster._core.test_utils, class: MockedRunLauncher, config: {}}\n"
    )
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)
        assert fail_left_behind(instance) == 0
