"""Reads from Dagster which runs have ended, so that the ledger can count them and alerts can speak of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from ledger.store.pipeline_runs import FinishedRun

__all__ = ["finished_runs"]

_STATUS = {
    dg.DagsterRunStatus.SUCCESS: "succeeded",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "canceled",
}
_PAGE = 100
# A run that ended while another was being written down may become visible after it. Noting one again changes nothing.
_OVERLAP = timedelta(minutes=2)
_ASSETS_OF_A_LABEL = 3


def finished_runs(instance: dg.DagsterInstance, since: datetime) -> Iterator[tuple[datetime, FinishedRun]]:
    """Runs that ended since then, oldest first, each with the moment from which to look on.

    A failed run that Dagster starts again by itself is left out: its retry says how it ended.
    """
    after = since - _OVERLAP
    while True:
        page = instance.get_run_records(
            dg.RunsFilter(statuses=list(_STATUS), updated_after=after),
            limit=_PAGE,
            order_by="update_timestamp",
            ascending=True,
        )
        for record in page:
            run, changed_at = record.dagster_run, record.update_timestamp.astimezone(UTC)
            if run.tags.get("dagster/will_retry") != "true":
                yield changed_at, _finished(record, changed_at)
        if len(page) < _PAGE:
            return
        after = page[-1].update_timestamp


def _finished(record: dg.RunRecord, changed_at: datetime) -> FinishedRun:
    run = record.dagster_run
    ended_at = changed_at if record.end_time is None else datetime.fromtimestamp(record.end_time, UTC)
    seconds = (record.end_time or 0) - record.start_time if record.start_time and record.end_time else 0
    return FinishedRun(
        run.run_id, _label(run), _days(run), _STATUS[run.status], ended_at, max(0, round(seconds * 1000))
    )


def _label(run: dg.DagsterRun) -> str:
    """The job's name; of a run that somebody started for chosen assets, theirs."""
    if not run.job_name.startswith("__"):
        return run.job_name
    names = sorted(key.to_user_string() for key in run.asset_selection or ())
    shown = "+".join(names[:_ASSETS_OF_A_LABEL]) or "assets"
    return shown if len(names) <= _ASSETS_OF_A_LABEL else f"{shown}+{len(names) - _ASSETS_OF_A_LABEL}"


def _days(run: dg.DagsterRun) -> str:
    first = run.tags.get("dagster/asset_partition_range_start")
    last = run.tags.get("dagster/asset_partition_range_end")
    return f"{first}..{last}" if first and last else run.tags.get("dagster/partition", "")
