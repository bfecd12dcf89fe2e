"""Usage: identities made unique, then each day's events turned into rollups."""

from datetime import datetime, timedelta

import dagster as dg

from pipelines.assets.daily import WAREHOUSE_POOL, daily_asset, retried_when_unavailable
from pipelines.assets.links import conflicts_of, events_of
from pipelines.assets.plot import bars
from pipelines.assets.tables import table
from pipelines.day_range import window_of_tags
from pipelines.resources import Tally
from pipelines.steps.reconcile_events import reconcile_events
from pipelines.steps.roll_up_usage import roll_up_usage
from settings import load_settings
from warehouse_sql.activity import arrived_by_day, rolled_up_by_day, rolled_up_by_hour

__all__ = ["events_reconciled", "usage_hourly"]


# Enough to see whether a day is like those before it.
_DAYS_DRAWN = 28


@daily_asset(
    group="arrivals",
    kinds={"clickhouse"},
    columns={
        "customer_id": ("String", "the customer of the event that does not count"),
        "identity": ("String", "its idempotency key, or its event id where it has none"),
        "timestamp": ("DateTime64(6)", "when it happened"),
        "ingested_at": ("DateTime64(6)", "when it was received, after the one that counts"),
    },
    pool=WAREHOUSE_POOL,
    description=(
        "Every identity counts once: of events that came again at another time, for another customer or with other "
        "content, the first received stays. Compares all that arrived since the last run, whatever day it is for; the "
        "conflicts listed are those of the chosen days."
    ),
)
def events_reconciled(context: dg.AssetExecutionContext, tally: dg.ResourceParam[Tally]) -> dg.MaterializeResult[None]:
    """One call of the step; its answers as metadata."""
    window = window_of_tags(context.run.tags)
    with retried_when_unavailable():
        done = reconcile_events(tally.ledger, tally.warehouse, *window, tally.clock(), tally.chosen)
        last_day = window[1].date() - timedelta(days=1)
        around = [last_day - timedelta(days=back) for back in range(_DAYS_DRAWN - 1, -1, -1)]
        arrived = arrived_by_day(tally.warehouse, around)
    shown = ("event_name", "customer_id", "event_id", "timestamp", "ingested_at", "winner_event_id", "winner_timestamp")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": done.run.duplicates + done.run.conflicts,
            "watermark": done.run.watermark.isoformat(),
            "received": done.run.received,
            "duplicates": done.run.duplicates,
            "conflicts": done.run.conflicts,
            "corrections finished": done.corrections.applied,
            "corrections waiting": done.corrections.failed,
            "plot": bars("events received for each day", [(f"{day:%m-%d}", arrived.get(day, 0)) for day in around]),
            "rows": conflicts_of(tally.api_url, window),
            "days touched": table(("day",), [(day,) for day in done.run.days]),
            "conflicts of these days": table(
                ("environment", *shown),
                [(scope.environment_id, *(row[name] for name in shown)) for scope, row in done.conflicts],
            ),
        }
    )


# About all environments together: what one of them may wait is its own setting, which `usage_lag` and alerts look at.
_FRESH = timedelta(hours=load_settings().usage_freshness_hours)


class RollUp(dg.Config):
    """How days are built."""

    force: bool = False
    """Build days again whose rollups have seen everything."""


@daily_asset(
    group="usage",
    kinds={"clickhouse"},
    columns={
        "meter_id": ("String", "the meter, with its version"),
        "customer_id": ("String", "whose usage it is, by the caller's own id"),
        "hour": ("DateTime", "UTC"),
        "groups": ("Array(String)", "values of the meter's group_by properties"),
        "matched": ("UInt64", "events that fit the meter's filters"),
        "usable": ("UInt64", "those of them that have a value"),
        "total": ("Decimal(76, 24)", "exact sum"),
        "build": ("UInt64", "the build that the row belongs to"),
    },
    deps=[events_reconciled],
    pool=WAREHOUSE_POOL,
    freshness=dg.FreshnessPolicy.time_window(fail_window=_FRESH, warn_window=_FRESH * 3 / 4),
    description=(
        "Exact hourly aggregates of every meter and customer, for all tenants in one statement. A build is made aside "
        "and switched to at once, so building a day again is always safe. A day whose rollups have seen everything is "
        "left as it is, unless the run's configuration says `force: true`."
    ),
)
def usage_hourly(
    context: dg.AssetExecutionContext, config: RollUp, tally: dg.ResourceParam[Tally]
) -> dg.MaterializeResult[None]:
    """One call of the step; its answers as metadata."""
    window = window_of_tags(context.run.tags)
    with retried_when_unavailable():
        done = roll_up_usage(tally.ledger, tally.warehouse, *window, tally.clock(), tally.chosen, force=config.force)
        plot = _activity(tally, *window)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(build.rows for build in done.builds),
            "events, once for each meter": sum(build.events for build in done.builds),
            "days": done.days,
            "days built": len(done.builds),
            "meters": done.meters,
            "old builds dropped": done.dropped,
            "plot": plot,
            "rows": events_of(tally.api_url, window),
            "builds": table(
                ("day", "build", "watermark", "rows", "events"),
                [(build.day, build.build, build.watermark, build.rows, build.events) for build in done.builds],
            ),
        }
    )


def _activity(tally: Tally, start: datetime, end: datetime) -> dg.MarkdownMetadataValue:
    """What the rollups hold now: a day by the hour, several by the day."""
    first, last = start.date(), end.date() - timedelta(days=1)
    if first == last:
        hours = rolled_up_by_hour(tally.warehouse, first)
        drawn = [start + timedelta(hours=number) for number in range(24)]
        return bars(f"events rolled up on {first}, by hour", [(f"{hour:%H}", hours.get(hour, 0)) for hour in drawn])
    days = rolled_up_by_day(tally.warehouse, first, last)
    drawn_days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return bars("events rolled up, by day", [(f"{day:%m-%d}", days.get(day, 0)) for day in drawn_days])
