"""`python -m pipelines.prepare_instance`: makes DAGSTER_HOME ready before the services of one machine start.

Two things go wrong otherwise. Several processes that meet an empty SQLite home each try to create its tables, and some
fail. And a run whose process was killed together with the code server stays STARTED for ever, with its place in the run
queue and its pool slots, so that later runs wait for nothing.

Only for the form in which every run is a child of this stack's code server: with other launchers runs outlive it.
"""

from dataclasses import dataclass

import dagster as dg

__all__ = ["Prepared", "prepare"]

_LEFT_BEHIND = "The process of this run ended with the stack that had started it."
_IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dataclass(frozen=True)
class Prepared:
    """Ids of the runs that were marked as failed. With `run_retries` Dagster starts each of them once more."""

    failed_run_ids: tuple[str, ...]


def prepare(instance: dg.DagsterInstance) -> Prepared:
    """Create the run, event and schedule storage, and fail the runs that nobody executes any more."""
    left_behind = instance.get_runs(filters=dg.RunsFilter(statuses=_IN_PROGRESS))
    instance.all_instigator_state()
    instance.get_latest_materialization_event(dg.AssetKey("usage_hourly"))
    for run in left_behind:
        instance.report_run_failed(run, _LEFT_BEHIND)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return Prepared(tuple(run.run_id for run in left_behind))


def main() -> None:
    """Prepare the instance that DAGSTER_HOME names."""
    with dg.DagsterInstance.get() as instance:
        for run_id in prepare(instance).failed_run_ids:
            print(f"run {run_id} was left behind by a killed stack and is marked as failed")


if __name__ == "__main__":
    main()
