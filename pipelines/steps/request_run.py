"""Use case: an environment asks for a run of its own usage or billing over a range of days."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy.orm import Session

from billing.errors import Conflict, InvalidInput
from billing.scope import Scope
from ledger.store import audit, meters, runs, subscriptions
from ledger.store.runs import RunRecord
from pipelines.steps.run_days import require_days

__all__ = ["RunWanted", "request_run"]

_MOST_DAYS = 366
# A run takes its place in a queue that all tenants share.
_MOST_UNFINISHED = 10


@dataclass(frozen=True)
class RunWanted:
    """`kind` is usage or billing; the days are inclusive. Billing can be for one subscription, usage for one meter."""

    kind: str
    first_day: date
    last_day: date
    subscription_id: str | None = None
    meter_id: str | None = None
    force: bool = False


def request_run(session: Session, scope: Scope, wanted: RunWanted, actor: str, now: datetime) -> RunRecord:
    """The run, requested; the orchestrator starts it within seconds, or when it is back.

    InvalidInput `range_is_empty`, `range_too_long`, `day_in_the_future`, `not_for_this_kind`; NotFound of the meter or
    subscription; Conflict `too_many_runs`.
    """
    _check_days(wanted, now)
    if wanted.kind == "usage" and wanted.subscription_id is not None:
        raise InvalidInput("not_for_this_kind", "usage is not built by subscription", field="subscription_id")
    if wanted.kind == "billing" and (wanted.meter_id is not None or wanted.force):
        field = "meter_id" if wanted.meter_id is not None else "force"
        raise InvalidInput("not_for_this_kind", "only usage runs take it", field=field)
    if wanted.subscription_id is not None:
        subscriptions.get_subscription(session, scope, wanted.subscription_id)
    if wanted.meter_id is not None:
        meters.get_meter(session, scope, wanted.meter_id)
    if runs.count_unfinished(session, scope) >= _MOST_UNFINISHED:
        raise Conflict(
            "too_many_runs",
            f"{_MOST_UNFINISHED} runs of this environment are not finished yet.",
            hint="Wait for one to end; GET /api/v1/runs lists them.",
        )
    run = runs.request_run(session, scope, **vars(wanted), requested_by=actor, now=now)
    said = {"kind": run.kind, "first_day": str(run.first_day), "last_day": str(run.last_day)}
    audit.write(session, scope, actor, "run.requested", "run", run.id, said, now)
    return run


def _check_days(wanted: RunWanted, now: datetime) -> None:
    require_days(wanted.first_day, wanted.last_day, now.astimezone(UTC).date())
    if wanted.last_day - wanted.first_day >= timedelta(days=_MOST_DAYS):
        hint = "Ask for one run after the other."
        raise InvalidInput("range_too_long", f"a run has at most {_MOST_DAYS} days", field="last_day", hint=hint)
