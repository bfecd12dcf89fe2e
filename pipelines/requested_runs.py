"""Runs that environments ask for in the ledger: how Dagster is to run each, and what may be told of it.

The ledger's id is in the tags of the Dagster run and of a retry of it. An environment is told what its own run did and
found. A failure that is not one of our errors, and work that is done for all tenants at once, stay with the operator.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

import billing.errors
from billing.instant import format_instant
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import runs
from ledger.store.runs import RunRecord
from pipelines.day_range import partition_tags

__all__ = ["RUN_TAG", "follow", "run_request"]

RUN_TAG = "tally/run"

_STATUS = {
    dg.DagsterRunStatus.SUCCESS: "succeeded",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "canceled",
    dg.DagsterRunStatus.STARTED: "running",
    dg.DagsterRunStatus.CANCELING: "running",
}
_TOLD = {
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
}
_MOST_ENTRIES = 500
_OF_ALL_TENANTS = "events_reconciled"
_OUR_ERRORS = {
    name for name, found in vars(billing.errors).items() if isinstance(found, type) and issubclass(found, Exception)
}


def run_request(scope: Scope, run: RunRecord) -> dg.RunRequest:
    """The Dagster run for a request. Its key is the request's id: asked for again it is not started again."""
    chosen = {
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "subscription_id": run.subscription_id or "",
        "meter_id": run.meter_id or "",
    }
    config: dict[str, Any] = {"resources": {"tally": {"config": chosen}}}
    if run.force:
        config["ops"] = {"usage_hourly": {"config": {"force": True}}}
    tags = {RUN_TAG: run.id, **partition_tags(run.first_day, run.last_day)}
    return dg.RunRequest(run_key=run.id, job_name=run.kind, run_config=config, tags=tags)


def follow(ledger: Ledger, instance: dg.DagsterInstance, scope: Scope, run: RunRecord) -> bool:
    """Write down what has become of a request; False while Dagster knows no run of it."""
    # The newest first: a run whose process died is followed by its retry.
    found = instance.get_run_records(dg.RunsFilter(tags={RUN_TAG: run.id}), limit=1)
    if not found:
        return False
    (newest,) = found
    status = _STATUS.get(newest.dagster_run.status, "queued")
    finished_at = _moment(newest.end_time) if status in {"succeeded", "failed", "canceled"} else None
    log = list(_entries(instance.all_logs(newest.dagster_run.run_id, of_type=_TOLD)))
    with ledger.begin() as session:
        runs.follow_run(
            session,
            scope,
            run.id,
            status=status,
            log=log[-_MOST_ENTRIES:],
            started_at=_moment(newest.start_time),
            finished_at=finished_at or (_moment(newest.start_time) if newest.dagster_run.is_finished else None),
        )
    return True


def _moment(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)


def _entries(records: Sequence[dg.EventLogEntry]) -> Iterator[dict[str, Any]]:
    told: set[tuple[str | None, str, str]] = set()
    for record in records:
        event = record.dagster_event
        what = None if event is None else _told(event)
        if event is None or what is None or (event.step_key, *what) in told:
            continue
        # A run over many days has an event for each of them, all saying the same.
        told.add((event.step_key, *what))
        kind, message = what
        at = format_instant(datetime.fromtimestamp(record.timestamp, UTC))
        yield {"at": at, "step": event.step_key, "event": kind, "message": message}


def _told(event: dg.DagsterEvent) -> tuple[str, str] | None:
    match event.event_type:
        case dg.DagsterEventType.STEP_START:
            return "started", "started"
        case dg.DagsterEventType.STEP_SUCCESS:
            return "done", "done"
        case dg.DagsterEventType.STEP_FAILURE:
            return "failed", _reason(event)
        case dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            found = "passed" if check.passed else f"failed: {check.description or 'see its invoices'}"
            return "check", f"{check.check_name} {found}"
        case dg.DagsterEventType.ASSET_MATERIALIZATION if event.step_key != _OF_ALL_TENANTS:
            counted = event.step_materialization_data.materialization.metadata
            said = [
                f"{name.removeprefix('dagster/').replace('_', ' ')}: {value.value}"
                for name, value in counted.items()
                if isinstance(value, dg.IntMetadataValue)
            ]
            return "result", ", ".join(said)
    return None


def _reason(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.error
    while error is not None:
        if error.cls_name in _OUR_ERRORS:
            return error.message.partition(": ")[2].strip()
        if error.cls_name == "DagsterAssetCheckFailedError":
            return "a check that blocks has failed"
        error = error.cause
    return "failed for a reason that the operator sees in Dagster"
