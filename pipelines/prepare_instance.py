"""`python -m pipelines.prepare_instance`: makes DAGSTER_HOME ready before the services of one machine start.

Several processes that meet an empty storage at once would each try to create its tables, and some would fail.
"""

import dagster as dg

__all__ = ["prepare"]


def prepare(instance: dg.DagsterInstance) -> None:
    """Create the run, event and schedule storage where there is none."""
    instance.get_runs(limit=1)
    instance.all_instigator_state()
    instance.get_latest_materialization_event(dg.AssetKey("usage_hourly"))


def main() -> None:
    """Prepare the instance that DAGSTER_HOME names."""
    with dg.DagsterInstance.get() as instance:
        prepare(instance)


if __name__ == "__main__":
    main()
