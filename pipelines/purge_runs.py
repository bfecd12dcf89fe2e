"""Deletes old runs from Dagster, which keeps them for ever by itself: retention in its settings is about ticks alone.

The run that last built a partition of an asset is kept however old it is, since the UI reads from it that the partition
is there and what it says. What decides about money is in the ledger and does not depend on any of this.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

__all__ = ["Purged", "purge_runs"]

_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_PAGE = 200
# A night's work at most: on SQLite a run is deleted in some 50 ms.
_MOST = 5000


@dataclass(frozen=True)
class Purged:
    """How many runs were deleted, and how many are older and were kept."""

    deleted: int
    kept: int


def purge_runs(
    instance: dg.DagsterInstance,
    assets: Iterable[dg.AssetKey],
    now: datetime,
    keep: timedelta,
    keep_successes: Mapping[str, timedelta],
) -> Purged:
    """Delete finished runs that were created before `now - keep`, and successful ones of a job in `keep_successes`
    sooner. Those that `assets` show as their partitions' last are kept.
    """
    needed = {run_id for key in assets for run_id in _last_runs(instance, key)}
    deleted, kept = 0, 0
    asked = [(dg.RunsFilter(statuses=_FINISHED, created_before=now - keep))]
    asked += [
        dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS], created_before=now - age)
        for job, age in keep_successes.items()
    ]
    for old in asked:
        for run_id in list(_ids(instance, old)):
            if run_id in needed:
                kept += 1
            elif deleted < _MOST:
                _delete(instance, run_id)
                deleted += 1
    return Purged(deleted, kept)


def _last_runs(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[str]:
    """The runs of the newest materialization of an asset and of each of its partitions."""
    newest = instance.get_latest_materialization_event(key)
    if newest is not None:
        yield newest.run_id
    by_partition = instance.event_log_storage.get_latest_storage_id_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    ids = sorted(by_partition.values())
    for first in range(0, len(ids), _PAGE):
        some = dg.AssetRecordsFilter(asset_key=key, storage_ids=ids[first : first + _PAGE])
        yield from (record.run_id for record in instance.fetch_materializations(some, limit=_PAGE).records)


def _ids(instance: dg.DagsterInstance, old: dg.RunsFilter) -> Iterator[str]:
    cursor = None
    while True:
        page = instance.get_run_ids(old, cursor=cursor, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        cursor = page[-1]


def _delete(instance: dg.DagsterInstance, run_id: str) -> None:
    instance.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    # On SQLite a run has a file of its own, which Dagster empties and leaves.
    root = Path(instance.root_directory)
    for left in (root / "history" / "runs").glob(f"{run_id}.db*"):
        left.unlink(missing_ok=True)
