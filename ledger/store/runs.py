"""Runs that were asked for: written by the API, started and followed by the orchestrator's sensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from billing.errors import NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Run
from ledger.models.run import IS_UNFINISHED
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.rows import in_scope, insert_new, scope_of, scoped

UNFINISHED = frozenset({"requested", "queued", "running"})


@dataclass(frozen=True)
class RunRecord:
    """`kind` is usage or billing, `status` requested, queued, running, succeeded, failed or canceled.

    The days are inclusive. `log` has an entry {"at", "step", "event", "message"} for each thing that happened.
    """

    id: str
    kind: str
    first_day: date
    last_day: date
    subscription_id: str | None
    meter_id: str | None
    force: bool
    requested_by: str
    status: str
    log: tuple[dict[str, Any], ...]
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def request_run(
    session: Session,
    scope: Scope,
    *,
    kind: str,
    first_day: date,
    last_day: date,
    subscription_id: str | None,
    meter_id: str | None,
    force: bool,
    requested_by: str,
    now: datetime,
) -> RunRecord:
    """A new run, which the orchestrator finds here."""
    run_id = new_id("run", now)
    values = scoped(
        scope,
        id=run_id,
        kind=kind,
        first_day=first_day.isoformat(),
        last_day=last_day.isoformat(),
        subscription_id=subscription_id,
        meter_id=meter_id,
        force=force,
        requested_by=requested_by,
        status="requested",
        log=[],
        requested_at=now,
        started_at=None,
        finished_at=None,
    )
    insert_new(session, Run, values)
    return get_run(session, scope, run_id)


def get_run(session: Session, scope: Scope, run_id: str) -> RunRecord:
    """NotFound `run_not_found`."""
    row = session.scalar(select(Run).where(in_scope(Run, scope), Run.id == run_id))
    if row is None:
        raise NotFound("run_not_found", "no such run", field="run_id")
    return _record(row)


def list_runs(
    session: Session,
    scope: Scope,
    *,
    kind: str | None = None,
    status: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[RunRecord]:
    """Runs, newest first."""
    rows = select(Run).where(in_scope(Run, scope))
    if kind is not None:
        rows = rows.where(Run.kind == kind)
    if status is not None:
        rows = rows.where(Run.status == status)
    return paginate(session, rows, Run.requested_at, Run.id, _record, cursor, limit)


def count_unfinished(session: Session, scope: Scope) -> int:
    """How many runs of an environment wait or work."""
    return session.scalar(select(func.count()).select_from(Run).where(in_scope(Run, scope), IS_UNFINISHED)) or 0


def unfinished(session: Session, limit: int) -> list[tuple[Scope, RunRecord]]:
    """Runs of all environments that wait or work, oldest first."""
    rows = select(Run).where(IS_UNFINISHED).order_by(Run.requested_at, Run.id).limit(limit)
    return [(scope_of(row), _record(row)) for row in session.scalars(rows)]


def follow_run(
    session: Session,
    scope: Scope,
    run_id: str,
    *,
    status: str,
    log: Sequence[dict[str, Any]],
    started_at: datetime | None,
    finished_at: datetime | None,
) -> None:
    """What has become of an unfinished run; a finished one stays as it is."""
    this = (in_scope(Run, scope), Run.id == run_id, IS_UNFINISHED)
    session.execute(
        update(Run)
        .where(*this)
        .values(status=status, log=list(log), started_at=started_at, finished_at=finished_at)
        .execution_options(synchronize_session=False)
    )


def _record(row: Run) -> RunRecord:
    return RunRecord(
        id=row.id,
        kind=row.kind,
        first_day=date.fromisoformat(row.first_day),
        last_day=date.fromisoformat(row.last_day),
        subscription_id=row.subscription_id,
        meter_id=row.meter_id,
        force=row.force,
        requested_by=row.requested_by,
        status=row.status,
        log=tuple(row.log),
        requested_at=row.requested_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
