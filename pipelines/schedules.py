"""The jobs: what can be started as one run, and what the clock starts; `pipelines.sensors` starts the others."""

from datetime import timedelta

import dagster as dg

from billing.scope import Scope
from ledger.store import alerts, idempotency, pipeline_runs
from pipelines.assets.daily import STRIPE_POOL, WAREHOUSE_POOL, retried_when_unavailable
from pipelines.assets.health import HEALTH_ASSETS
from pipelines.assets.invoices import billable_quantities, draft_invoices, finalized_invoices, priced_invoices
from pipelines.assets.late_events import late_adjustments, rerated_invoices
from pipelines.assets.reconciliation import stripe_reconciliation
from pipelines.assets.stripe import stripe_invoices
from pipelines.assets.usage import events_reconciled, usage_hourly
from pipelines.partitions import DAYS
from pipelines.purge_runs import purge_runs
from pipelines.resources import Tally
from pipelines.steps.gate_invoices import Gate
from pipelines.steps.override_gate import Override, override_gate
from pipelines.steps.roll_up_usage import rebuild_stale_days
from pipelines.steps.stripe_backlog import follow_all_open
from pipelines.steps.stripe_sweep import sweep
from settings import load_settings

__all__ = [
    "ASSETS",
    "BILLING_ASSETS",
    "billing",
    "jobs",
    "late_events",
    "override_failed_gate",
    "schedules",
    "stale_usage",
    "stripe_sweep",
    "usage",
]

BILLING_ASSETS = [
    billable_quantities,
    late_adjustments,
    draft_invoices,
    priced_invoices,
    finalized_invoices,
    stripe_invoices,
]
# They start every few minutes or hours; their successes are of no interest after some days.
_FREQUENT = ("stale_usage", "late_events", "stripe_sweep", "stripe_follow_up", "health")
USAGE_ASSETS = [events_reconciled, usage_hourly]
ASSETS = [*USAGE_ASSETS, *BILLING_ASSETS]


def at_most(*, hours: int = 0, minutes: int = 0) -> dict[str, str]:
    """Run tags: how long a run may take before Dagster ends it. The instance's own limit is six hours."""
    return {"dagster/max_runtime": str(hours * 3600 + minutes * 60)}


usage = dg.define_asset_job(
    "usage",
    selection=dg.AssetSelection.assets(*USAGE_ASSETS),
    description="Identities made unique, and the rollups of days that have something new.",
)

billing = dg.define_asset_job(
    "billing",
    selection=dg.AssetSelection.assets(*BILLING_ASSETS),
    description="A day's periods: quantities, late events, drafts, prices, gates, final invoices, Stripe.",
)

late_events = dg.define_asset_job(
    "late_events",
    selection=dg.AssetSelection.assets(late_adjustments),
    description="Looks for events that came after their invoice was final.",
)

rerating = dg.define_asset_job(
    "rerating",
    selection=dg.AssetSelection.assets(rerated_invoices),
    description="Final periods rated again with today's events or other prices. Changes nothing.",
)

health = dg.define_asset_job(
    "health",
    selection=dg.AssetSelection.assets(*HEALTH_ASSETS),
    description="How far each stage is behind, what is held, what waits and what was given up.",
    tags=at_most(minutes=10),
)

reconciliation = dg.define_asset_job(
    "stripe_reconciliation_job",
    selection=dg.AssetSelection.assets(stripe_reconciliation),
    description="Our books against Stripe's, both ways, for all environments.",
)


class Retention(dg.Config):
    """For how long Dagster keeps finished runs: those that start every few minutes, and all others."""

    days: int = load_settings().runs_kept_days
    days_of_frequent_runs: int = 3


@dg.op(description="Deletes old runs from Dagster, old answers to repeated requests, and old alerts from the ledger.")
def purge(context: dg.OpExecutionContext, config: Retention, tally: dg.ResourceParam[Tally]) -> None:
    """What is bounded each night, since nothing else bounds it."""
    now, keep = tally.clock(), timedelta(days=config.days)
    often = dict.fromkeys(_FREQUENT, timedelta(days=config.days_of_frequent_runs))
    done = purge_runs(context.instance, [asset.key for asset in (*ASSETS, *HEALTH_ASSETS)], now, keep, often)
    with tally.ledger.begin() as session:
        answers = idempotency.purge(session, now)
        ended, runs = alerts.purge(session, now - keep), pipeline_runs.purge(session, now - keep)
    context.log.info("%s; %d answers, %d alerts, %d run records", done, answers, ended, runs)


@dg.job(description="Deletes what is old: finished runs, answers to repeated requests, alerts.", tags=at_most(hours=2))
def retention() -> None:
    """The purge alone."""
    purge()


@dg.schedule(
    job=retention,
    cron_schedule="30 3 * * *",
    execution_timezone="UTC",
    description="Bounds what Dagster and the ledger keep of the past.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def nightly_retention(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run a night."""
    return dg.RunRequest(run_key=f"retention:{context.scheduled_execution_time.isoformat()}")


@dg.schedule(
    job=health,
    cron_schedule="10 * * * *",
    execution_timezone="UTC",
    description="Gives the assets of group health a history; alerts look every minute.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def hourly_health(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run an hour."""
    return dg.RunRequest(run_key=f"health:{context.scheduled_execution_time.isoformat()}")


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


class OverrideConfig(dg.Config):
    """Which gate of whose invoice, who says so, and why."""

    tenant_id: str
    environment_id: str
    invoice_id: str
    gate: str
    person: str
    reason: str


@dg.op(pool=WAREHOUSE_POOL, description="Days whose rollups have not seen all of their events, once.")
def rebuild_days(context: dg.OpExecutionContext, tally: dg.ResourceParam[Tally]) -> None:
    """One call of the step; each day that it built is a materialization of its partition."""
    with retried_when_unavailable():
        done = rebuild_stale_days(tally.ledger, tally.warehouse, tally.clock(), tally.usage_refresh)
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


@dg.op(description="Overrides one gate of one invoice; the next run of its billing day finalizes it.")
def override(context: dg.OpExecutionContext, config: OverrideConfig, tally: dg.ResourceParam[Tally]) -> None:
    """Writes person and reason to the audit log."""
    said = Override(config.person, config.reason, f"dagster run {context.run_id}")
    scope = Scope(config.tenant_id, config.environment_id)
    override_gate(tally.ledger, scope, config.invoice_id, Gate(config.gate), said, tally.clock())


@dg.job(
    tags=at_most(minutes=10),
    description="Bill an invoice although a gate has refused it: a named person says so, with a reason.",
)
def override_failed_gate() -> None:
    """The override alone."""
    override()


@dg.job(tags=at_most(hours=2), description="Builds the rollups of days that got events or corrections since.")
def stale_usage() -> None:
    """The rebuild alone."""
    rebuild_days()


@dg.job(tags=at_most(minutes=30), description="Catches up on what the API's worker has missed.")
def stripe_sweep() -> None:
    """The sweep alone."""
    sweep_stripe()


@dg.job(tags=at_most(hours=1), description="Reads the state of all open invoices from Stripe.")
def stripe_follow_up() -> None:
    """The look-up alone."""
    follow_stripe()


@dg.schedule(
    job=stripe_follow_up,
    cron_schedule="40 * * * *",
    execution_timezone="UTC",
    description="Finds events that were never delivered, and payments whose webhook was lost.",
    default_status=(
        dg.DefaultScheduleStatus.RUNNING if load_settings().automatic_billing else dg.DefaultScheduleStatus.STOPPED
    ),
)
def hourly_follow_up(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run an hour."""
    return dg.RunRequest(run_key=f"follow:{context.scheduled_execution_time.isoformat()}")


@dg.schedule(
    job=late_events,
    cron_schedule="10 * * * *",
    execution_timezone="UTC",
    description="Keeps the list of late events up to date between billing runs.",
    default_status=(
        dg.DefaultScheduleStatus.RUNNING if load_settings().automatic_billing else dg.DefaultScheduleStatus.STOPPED
    ),
)
def hourly_late_events(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run an hour, under the day on which it looks."""
    at = context.scheduled_execution_time
    return dg.RunRequest(run_key=f"late:{at.isoformat()}", partition_key=at.date().isoformat())


@dg.schedule(
    job=reconciliation,
    cron_schedule="20 4 * * *",
    execution_timezone="UTC",
    description="Compares our books with Stripe's once a day.",
    default_status=(
        dg.DefaultScheduleStatus.RUNNING if load_settings().automatic_billing else dg.DefaultScheduleStatus.STOPPED
    ),
)
def daily_reconciliation(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run a day."""
    return dg.RunRequest(run_key=f"reconcile:{context.scheduled_execution_time.isoformat()}")


jobs = (
    usage,
    billing,
    late_events,
    rerating,
    reconciliation,
    health,
    stale_usage,
    override_failed_gate,
    stripe_sweep,
    stripe_follow_up,
    retention,
)
schedules = (hourly_follow_up, hourly_health, hourly_late_events, daily_reconciliation, nightly_retention)
