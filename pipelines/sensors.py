"""What runs by itself: each sensor looks whether there is something to do, and asks for a run only then.

Rollups and the sweep are on from the start: they only finish what was asked for. Closing periods sends invoices to
people: it is on where TALLY_AUTOMATIC_BILLING says so, and can be switched under Automation at any time.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg

from billing.errors import Unavailable
from ledger.store import pipeline_runs, runs
from pipelines.finished_runs import finished_runs
from pipelines.requested_runs import follow, run_request
from pipelines.resources import Tally
from pipelines.schedules import billing, stale_usage, stripe_sweep, usage
from pipelines.steps.close_periods import days_to_close
from pipelines.steps.measure_pipeline import measure_pipeline
from pipelines.steps.pipeline_samples import keep_samples
from pipelines.steps.roll_up_usage import stale_days, what_arrived
from pipelines.steps.send_alerts import send_alerts
from pipelines.steps.stripe_backlog import overdue_work
from pipelines.steps.watch_pipeline import watch
from settings import load_settings

__all__ = ["close_periods", "pipeline_watch", "requested_runs", "sensors", "stripe_backlog", "usage_follows_events"]

# The worker of the API does the work within seconds; what is still there after so long has been missed by it.
_MISSED_AFTER = timedelta(minutes=1)
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
# So many requests of all tenants are looked at in one tick; the rest comes with the next.
_MOST_REQUESTS = 50
_PARTITION = "dagster/partition"
# A ledger that has never seen this Dagster learns of its last runs, not of its whole history.
_FIRST_LOOK = timedelta(days=7)
_CLOSES_BY_ITSELF = (
    dg.DefaultSensorStatus.RUNNING if load_settings().automatic_billing else dg.DefaultSensorStatus.STOPPED
)


@dg.sensor(
    job=billing,
    minimum_interval_seconds=300,
    description=(
        "Bills each period once its environment's grace is over, one run for each billing day. Held periods are tried "
        "again each hour for two days, then daily for five weeks. After a downtime every day that is due comes once."
    ),
    default_status=_CLOSES_BY_ITSELF,
)
def close_periods(
    context: dg.SensorEvaluationContext, tally: dg.ResourceParam[Tally]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """The run key names the attempt, so Dagster starts each of them once, however often the sensor is asked."""
    try:
        closing = days_to_close(tally.ledger, tally.clock())
    except Unavailable as error:
        yield dg.SkipReason(f"{error.code}: asked again at the next tick")
        return
    for failure in closing.failures:
        context.log.warning("%s: %s: %s", failure.scope.environment_id, failure.subject, failure.detail)
    at_work = {
        run.tags.get(_PARTITION)
        for run in context.instance.get_runs(dg.RunsFilter(job_name=billing.name, statuses=_UNFINISHED))
    }
    asked = [day for day in closing.days if day.day.isoformat() not in at_work]
    for day in asked:
        yield dg.RunRequest(
            run_key=f"close:{day.attempt}",
            partition_key=day.day.isoformat(),
            run_config={"resources": {"tally": {"config": {"after_grace": True}}}},
        )
    if not asked:
        yield dg.SkipReason("no period to close" if not closing.days else "their runs are not finished")


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
    job_name=stale_usage.name,
    minimum_interval_seconds=300,
    description=(
        "Rebuilds days that got events or corrections after their rollup was made: days before today at once, today "
        "again when its rollup is TALLY_USAGE_REFRESH_SECONDS old."
    ),
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def usage_follows_events(context: dg.SensorEvaluationContext, tally: dg.ResourceParam[Tally]) -> dg.SensorResult:
    """A run only when there is such a day and no other run is at it. Until then the day is read from its events.

    The cursor is what had arrived when nothing was stale: while it stays the same, nothing else is looked at.
    """
    now = tally.clock()
    try:
        arrived = what_arrived(tally.ledger, tally.warehouse, now)
        if context.cursor == arrived:
            return dg.SensorResult(skip_reason="nothing has arrived since every day was rolled up")
        stale = stale_days(tally.ledger, tally.warehouse, now, tally.usage_refresh)
    except Unavailable as error:
        return dg.SensorResult(skip_reason=f"{error.code}: asked again at the next tick")
    if not stale.due:
        said = "today's rollup is young enough" if stale.waits else "every day is rolled up"
        return dg.SensorResult(skip_reason=said, cursor=context.cursor if stale.waits else arrived)
    if context.instance.get_runs(dg.RunsFilter(job_name=stale_usage.name, statuses=_UNFINISHED), limit=1):
        return dg.SensorResult(skip_reason="a rebuild is running")
    return dg.SensorResult(run_requests=[dg.RunRequest()])


@dg.sensor(
    jobs=[usage, billing],
    minimum_interval_seconds=5,
    description="Starts the runs that environments ask for (POST /api/v1/runs), and writes down what becomes of them.",
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def requested_runs(
    context: dg.SensorEvaluationContext, tally: dg.ResourceParam[Tally]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """A request is a row of the ledger, so it outlives everything; its id is the run's key, so it is run once."""
    with tally.ledger.read() as session:
        unfinished = runs.unfinished(session, _MOST_REQUESTS)
    started = [one for one in unfinished if not follow(tally.ledger, context.instance, *one)]
    for scope, run in started:
        yield run_request(scope, run)
    if not started:
        yield dg.SkipReason("nothing was asked for" if not unfinished else "all that was asked for is at work")


@dg.sensor(
    minimum_interval_seconds=60,
    description=(
        "Notes which runs have ended, measures every stage for Prometheus, opens and ends alerts, and sends them. "
        "Starts no run."
    ),
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def pipeline_watch(context: dg.SensorEvaluationContext, tally: dg.ResourceParam[Tally]) -> dg.SensorResult:
    """Everything is in the ledger before the cursor moves, and noted again it is the same."""
    now = tally.clock()
    since = datetime.fromisoformat(context.cursor) if context.cursor else now - _FIRST_LOOK
    try:
        for changed_at, run in finished_runs(context.instance, since):
            with tally.ledger.begin() as session:
                pipeline_runs.note(session, run)
            since = max(since, changed_at)
        state = measure_pipeline(tally.ledger, tally.warehouse, now)
        keep_samples(tally.ledger, state)
        watched = watch(tally.ledger, state)
        sent = send_alerts(tally.ledger, tally.send_alert, now)
    except Unavailable as error:
        return dg.SensorResult(skip_reason=f"{error.code}: asked again at the next tick", cursor=since.isoformat())
    said = f"{len(watched.opened)} alerts opened, {len(watched.resolved)} ended; {sent}"
    return dg.SensorResult(skip_reason=said, cursor=since.isoformat())


sensors = (close_periods, pipeline_watch, requested_runs, stripe_backlog, usage_follows_events)
