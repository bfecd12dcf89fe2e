"""Usage: identities made unique, then each day's events turned into rollups."""

import dagster as dg

from pipelines.assets.daily import WAREHOUSE_POOL, daily_asset, retried_when_unavailable
from pipelines.assets.markdown import table
from pipelines.day_range import window_of_tags
from pipelines.resources import Tally
from pipelines.steps.reconcile_events import reconcile_events
from pipelines.steps.roll_up_usage import roll_up_usage

__all__ = ["events_reconciled", "usage_hourly"]


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
    with retried_when_unavailable():
        done = reconcile_events(
            tally.ledger, tally.warehouse, *window_of_tags(context.run.tags), tally.clock(), tally.chosen
        )
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
            "days touched": table(("day",), [(day,) for day in done.run.days]),
            "conflicts of these days": table(
                ("environment", *shown),
                [(scope.environment_id, *(row[name] for name in shown)) for scope, row in done.conflicts],
            ),
        }
    )


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
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(build.rows for build in done.builds),
            "events": sum(build.events for build in done.builds),
            "days": done.days,
            "days built": len(done.builds),
            "meters": done.meters,
            "old builds dropped": done.dropped,
            "builds": table(
                ("day", "build", "watermark", "rows", "events"),
                [(build.day, build.build, build.watermark, build.rows, build.events) for build in done.builds],
            ),
        }
    )
