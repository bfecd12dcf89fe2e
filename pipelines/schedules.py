"""What runs by itself: yesterday's usage and billing each night, rollups of days that got late events, and a sweep over
what waits for the payment provider.

Rollups and sweep are on from the start: they only finish what was asked for. Billing is switched on by a person, in the
UI or with `dagster schedule start daily_billing`.
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from billing.errors import Unavailable
from billing.scope import Scope
from pipelines.assets.daily import STRIPE_POOL, WAREHOUSE_POOL, retried_when_unavailable
from pipelines.assets.invoices import billable_quantities, draft_invoices, finalized_invoices, priced_invoices
from pipelines.assets.stripe import stripe_invoices
from pipelines.assets.usage import events_reconciled, usage_hourly
from pipelines.partitions import DAYS
from pipelines.resources import Tally
from pipelines.steps.accept_unusable_events import accept_unusable_events
from pipelines.steps.roll_up_usage import late_days, rebuild_late_days
from pipelines.steps.stripe_backlog import follow_all_open, overdue_work
from pipelines.steps.stripe_sweep import sweep

__all__ = ["ASSETS", "daily_billing", "jobs", "schedules", "sensors"]

ASSETS = [
    events_reconciled,
    usage_hourly,
    billable_quantities,
    draft_invoices,
    priced_invoices,
    finalized_invoices,
    stripe_invoices,
]

# The worker of the API does the work within seconds; what is still there after so long has been missed by it.
_MISSED_AFTER = timedelta(minutes=1)
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]

usage_and_billing = dg.define_asset_job(
    "usage_and_billing",
    selection=dg.AssetSelection.assets(*ASSETS),
    description="One day from its events to its invoices, checks included.",
)


@dg.schedule(
    job=usage_and_billing,
    cron_schedule="15 0 * * *",
    execution_timezone="UTC",
    description="Yesterday: its usage, and the periods that ended in it.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
def daily_billing(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run for the day before the tick; a tick that is evaluated twice is the same run."""
    day = (context.scheduled_execution_time - timedelta(days=1)).date().isoformat()
    return dg.RunRequest(run_key=f"daily_billing:{day}", partition_key=day)


@dg.op(pool=STRIPE_POOL, description="Webhooks in the inbox and work in the outbox, once.")
def sweep_stripe(context: dg.OpExecutionContext, tally: dg.ResourceParam[Tally]) -> None:
    """One round; what fails is tried again by a later one."""
    swept = sweep(tally.ledger, tally.gateways, tally.clock())
    context.log.info("%s", swept)


@dg.op(pool=STRIPE_POOL, description="Looks at every invoice that is open at Stripe, in case a webhook was lost.")
def follow_stripe(context: dg.OpExecutionContext, tally: dg.ResourceParam[Tally]) -> None:
    """All environments; one whose connection does not work stops no other."""
    followed = follow_all_open(tally.ledger, tally.gateways, tally.clock())
    context.log.info("%s", followed)
    if followed.failures:
        raise dg.Failure(f"{len(followed.failures)} environments could not be followed", allow_retries=False)


class Acceptance(dg.Config):
    """Whose invoice, and why its unusable events may stay out of it."""

    tenant_id: str
    environment_id: str
    invoice_id: str
    reason: str


@dg.op(pool=WAREHOUSE_POOL, description="Days before today whose rollups have not seen all of their events, once.")
def rebuild_days(context: dg.OpExecutionContext, tally: dg.ResourceParam[Tally]) -> None:
    """One call of the step; each day that it built is a materialization of its partition."""
    with retried_when_unavailable():
        done = rebuild_late_days(tally.ledger, tally.warehouse, tally.clock())
    for built in done.builds:
        key = built.day.isoformat()
        if DAYS.has_partition_key(key):
            context.log_event(
                dg.AssetMaterialization(
                    usage_hourly.key,
                    partition=key,
                    metadata={"events": built.events, "dagster/row_count": built.rows, "build": str(built.build)},
                )
            )


@dg.op(description="Accepts the unusable events that hold an invoice; the next run of its billing day finalizes it.")
def accept_events(context: dg.OpExecutionContext, config: Acceptance, tally: dg.ResourceParam[Tally]) -> None:
    """Writes the acceptance and its reason to the audit log."""
    scope = Scope(config.tenant_id, config.environment_id)
    actor = f"dagster run {context.run_id}"
    count = accept_unusable_events(tally.ledger, scope, config.invoice_id, actor, config.reason, tally.clock())
    context.log.info("accepted %d events", count)


@dg.job(description="Bill an invoice although some of its events have no usable value.")
def accept_unusable() -> None:
    """The acceptance alone."""
    accept_events()


@dg.job(description="Builds the rollups of days that got late events or corrections.")
def late_usage() -> None:
    """The rebuild alone."""
    rebuild_days()


@dg.job(description="Catches up on what the API's worker has missed.")
def stripe_sweep() -> None:
    """The sweep alone."""
    sweep_stripe()


@dg.job(description="Reads the state of all open invoices from Stripe.")
def stripe_follow_up() -> None:
    """The look-up alone."""
    follow_stripe()


@dg.sensor(
    job_name=stripe_sweep.name,
    minimum_interval_seconds=60,
    description="Starts the sweep when webhooks or outgoing work have waited for more than a minute.",
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def stripe_backlog(
    context: dg.SensorEvaluationContext, tally: dg.ResourceParam[Tally]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """A run only when there is something to do and no sweep is at it."""
    waiting = overdue_work(tally.ledger, tally.clock() - _MISSED_AFTER)
    if not waiting:
        yield dg.SkipReason("nothing has waited for more than a minute")
    elif context.instance.get_runs(dg.RunsFilter(job_name=stripe_sweep.name, statuses=_UNFINISHED), limit=1):
        yield dg.SkipReason("a sweep is running")
    else:
        yield dg.RunRequest()


@dg.sensor(
    job_name=late_usage.name,
    minimum_interval_seconds=300,
    description="Rebuilds days before today that got events or corrections after their rollup was made.",
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def late_usage_days(
    context: dg.SensorEvaluationContext, tally: dg.ResourceParam[Tally]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """A run only when there is such a day and no other run is at it. Until then the day is read from its events."""
    try:
        late = late_days(tally.ledger, tally.warehouse, tally.clock())
    except Unavailable as error:
        yield dg.SkipReason(f"{error.code}: asked again at the next tick")
        return
    if not late:
        yield dg.SkipReason("every day before today is rolled up")
    elif context.instance.get_runs(dg.RunsFilter(job_name=late_usage.name, statuses=_UNFINISHED), limit=1):
        yield dg.SkipReason("a rebuild is running")
    else:
        yield dg.RunRequest()


@dg.schedule(
    job=stripe_follow_up,
    cron_schedule="40 * * * *",
    execution_timezone="UTC",
    description="Finds payments whose webhook never came.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
def hourly_follow_up(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run an hour."""
    return dg.RunRequest(run_key=f"follow:{context.scheduled_execution_time.isoformat()}")


jobs = (usage_and_billing, late_usage, accept_unusable, stripe_sweep, stripe_follow_up)
schedules = (daily_billing, hourly_follow_up)
sensors = (late_usage_days, stripe_backlog)
