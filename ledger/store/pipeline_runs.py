"""Runs of the pipeline that have ended, as the orchestrator tells it: counted for good, and kept for a while."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from ledger.models import PipelineRun, PipelineRunTotal
from ledger.store.rows import affected, insert, insert_new


@dataclass(frozen=True)
class FinishedRun:
    """`status` is succeeded, failed or canceled; `days` is its day, `first..last`, or empty."""

    id: str
    job: str
    days: str
    status: str
    ended_at: datetime
    milliseconds: int


@dataclass(frozen=True)
class RunTotal:
    """How many runs of a job ended so, and how long they took together."""

    job: str
    status: str
    runs: int
    milliseconds: int


def note(session: Session, run: FinishedRun) -> bool:
    """Write a run down and count it; False when that was done before."""
    kept = {"id": run.id, "job": run.job, "days": run.days, "status": run.status, "ended_at": run.ended_at}
    if not insert_new(session, PipelineRun, kept):
        return False
    first = {"job": run.job, "status": run.status, "runs": 1, "milliseconds": run.milliseconds}
    counted = insert(session, PipelineRunTotal).values(first)
    session.execute(
        counted.on_conflict_do_update(
            index_elements=["job", "status"],
            set_={
                "runs": PipelineRunTotal.runs + 1,
                "milliseconds": PipelineRunTotal.milliseconds + run.milliseconds,
            },
        )
    )
    return True


def totals(session: Session) -> list[RunTotal]:
    """By job and status."""
    rows = select(PipelineRunTotal).order_by(PipelineRunTotal.job, PipelineRunTotal.status)
    return [RunTotal(row.job, row.status, row.runs, row.milliseconds) for row in session.scalars(rows)]


def failing(session: Session) -> list[tuple[str, str, str, datetime]]:
    """(job, days, id, ended_at) of every job and days whose last run has failed."""
    newest = select(PipelineRun.job, PipelineRun.days, func.max(PipelineRun.ended_at).label("at"))
    last = newest.group_by(PipelineRun.job, PipelineRun.days).subquery()
    rows = select(PipelineRun.job, PipelineRun.days, PipelineRun.id, PipelineRun.ended_at).join(
        last,
        (PipelineRun.job == last.c.job) & (PipelineRun.days == last.c.days) & (PipelineRun.ended_at == last.c.at),
    )
    ordered = rows.where(PipelineRun.status == "failed").order_by(PipelineRun.job, PipelineRun.days)
    return [(job, days, run_id, ended_at) for job, days, run_id, ended_at in session.execute(ordered)]


def purge(session: Session, before: datetime) -> int:
    """Forget runs that ended before then; they stay counted. Returns how many."""
    return affected(session, delete(PipelineRun).where(PipelineRun.ended_at < before))
