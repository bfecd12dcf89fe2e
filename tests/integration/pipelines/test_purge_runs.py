"""Old runs go, with their files; what the UI needs to show a partition stays."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from bench.postgres import NoPostgres, create_database, running_postgres
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


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of an empty database, as Dagster wants it."""
    try:
        with running_postgres() as admin:
            yield create_database(admin, "dagster").replace("+psycopg:", "+psycopg2:")
    except NoPostgres as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["sqlite", "postgresql"])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    storage = ""
    if request.param == "postgresql":
        storage = f"storage: {{postgres: {{postgres_url: '{request.getfixturevalue('postgres')}'}}}}\n"
    (tmp_path / "dagster.yaml").write_text(f"telemetry: {{enabled: false}}\n{storage}")
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made
        made.wipe()


def build(instance: dg.DagsterInstance, day: str) -> str:
    return dg.materialize([usage], instance=instance, partition_key=day).run_id


def kept(instance: dg.DagsterInstance) -> set[str]:
    """The runs that storage has something of: on SQLite each has a file of its own."""
    runs = {run.run_id for run in instance.get_runs()}
    folder = Path(instance.root_directory) / "history" / "runs"
    if folder.exists():
        assert {path.stem for path in folder.glob("*.db")} - {"index"} == runs
    return {run_id for run_id in runs if instance.all_logs(run_id)}


def test_a_run_goes_with_its_files_unless_it_is_the_last_of_a_partition(instance: dg.DagsterInstance) -> None:
    first, second, other = (build(instance, day) for day in ("2024-10-01", "2024-10-01", "2024-10-02"))
    assert kept(instance) == {first, second, other}
    later = datetime.now(UTC) + timedelta(days=2)
    assert purge_runs(instance, [usage.key], later, NEVER, {}) == Purged(0, 0)
    assert purge_runs(instance, [usage.key], later, timedelta(days=1), {}) == Purged(1, 2)
    assert kept(instance) == {second, other}
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
