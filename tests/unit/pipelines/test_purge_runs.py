"""Old runs go, with their files; what the UI needs to show a partition stays."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from pipelines.purge_runs import Purged, purge_runs

DAYS = dg.DailyPartitionsDefinition(start_date="2024-10-01", end_date="2024-11-01")
NEVER = timedelta(days=1000)


@dg.asset(partitions_def=DAYS)
def usage() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"rows": 3})


@dg.op
def look() -> None:
    pass


@dg.job
def health() -> None:
    look()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def build(instance: dg.DagsterInstance, day: str) -> str:
    return dg.materialize([usage], instance=instance, partition_key=day).run_id


def files(instance: dg.DagsterInstance) -> set[str]:
    return {path.name for path in (Path(instance.root_directory) / "history" / "runs").glob("*.db")} - {"index.db"}


def test_a_run_goes_with_its_files_unless_it_is_the_last_of_a_partition(instance: dg.DagsterInstance) -> None:
    first, second, other = (build(instance, day) for day in ("2024-10-01", "2024-10-01", "2024-10-02"))
    assert files(instance) == {f"{run_id}.db" for run_id in (first, second, other)}
    later = datetime.now(UTC) + timedelta(days=2)
    assert purge_runs(instance, [usage.key], later, NEVER, {}) == Purged(0, 0)
    assert purge_runs(instance, [usage.key], later, timedelta(days=1), {}) == Purged(1, 2)
    assert {run.run_id for run in instance.get_runs()} == {second, other}
    assert files(instance) == {f"{run_id}.db" for run_id in (second, other)}
    assert instance.get_materialized_partitions(usage.key) == {"2024-10-01", "2024-10-02"}
    newest = instance.get_latest_materialization_event(usage.key)
    assert newest is not None
    assert newest.run_id == other


def test_successes_of_what_runs_often_go_sooner_and_failures_stay(instance: dg.DagsterInstance) -> None:
    done = health.execute_in_process(instance=instance)
    failed = instance.create_run_for_job(health, status=dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(failed)
    later = datetime.now(UTC) + timedelta(days=2)
    assert purge_runs(instance, [], later, NEVER, {"health": timedelta(days=1)}) == Purged(1, 0)
    assert [run.run_id for run in instance.get_runs()] == [failed.run_id] != [done.run_id]


def test_a_run_that_is_not_finished_is_never_deleted(instance: dg.DagsterInstance) -> None:
    instance.create_run_for_job(health, status=dg.DagsterRunStatus.STARTED)
    assert purge_runs(instance, [], datetime.now(UTC) + NEVER, timedelta(0), {"health": timedelta(0)}) == Purged(0, 0)
