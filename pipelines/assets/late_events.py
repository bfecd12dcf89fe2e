"""Final periods that events came late for, and final periods that a person has rated again."""

from datetime import UTC, date, datetime, time, timedelta

import dagster as dg
import pydantic

from billing.money import format_decimal
from billing.scope import Scope
from pipelines.assets.daily import (
    CODE_VERSION,
    OWNERS,
    WAREHOUSE_POOL,
    column_schema,
    daily_asset,
    retried_when_unavailable,
)
from pipelines.assets.invoices import billable_quantities
from pipelines.assets.links import late_events_of
from pipelines.assets.plot import bars
from pipelines.assets.tables import failure_table, table
from pipelines.resources import Tally
from pipelines.steps.late_usage import find_late_usage
from pipelines.steps.rerate import RerateWanted, frame_of, rerate
from pipelines.steps.settle_adjustments import settle_adjustments

__all__ = ["late_adjustments", "rerated_invoices"]


@daily_asset(
    group="quantities",
    kinds={"clickhouse", "python"},
    columns={
        "invoice_id": ("String", "the final invoice whose line has come to something else"),
        "line_id": ("String", "that line"),
        "quantity": ("Decimal", "what it counts now; quantity_before is what had been billed"),
        "due": ("Decimal", "what it comes to now, less discounts; billed is what was billed of it"),
        "events": ("Integer", "how many were late"),
        "carried_by": ("String", "the invoice that bills the difference"),
    },
    deps=[billable_quantities],
    pool=WAREHOUSE_POOL,
    description=(
        "What events that were received since the last look make of periods whose invoice is final, whatever day they "
        "belong to. The next invoice carries the difference as a line; where an environment wants it apart, or there "
        "is no next one, an invoice or a credit note is made here."
    ),
)
def late_adjustments(context: dg.AssetExecutionContext, tally: dg.ResourceParam[Tally]) -> dg.MaterializeResult[None]:
    """Two calls of steps: look, and settle what waits for no next invoice."""
    with retried_when_unavailable():
        found = find_late_usage(tally.ledger, tally.warehouse, tally.clock(), tally.chosen)
        settled = settle_adjustments(tally.ledger, tally.clock(), tally.chosen)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(found.adjustments),
            "final invoices read again": found.invoices,
            "differences": len(found.adjustments),
            "late events": sum(one.events for _, one in found.adjustments),
            "waiting for next invoices": settled.waiting,
            "invoices of their own": len(settled.invoices),
            "credit notes": len(settled.credit_notes),
            "held": len(settled.held),
            "plot": bars(
                "late differences",
                [
                    ("found", len(found.adjustments)),
                    ("waiting", settled.waiting),
                    ("invoices", len(settled.invoices)),
                    ("notes", len(settled.credit_notes)),
                    ("held", len(settled.held)),
                ],
            ),
            "rows": late_events_of(tally.api_url),
            "failed": len(found.failures) + len(settled.failures),
            "adjustments": table(
                ("environment", "subscription", "line", "billed", "due", "events", "state"),
                [
                    (s.environment_id, a.subscription_id, a.display_name, a.billed, a.due, a.events, a.state)
                    for s, a in found.adjustments
                ],
            ),
            "held back": table(
                ("environment", "subscription", "line", "amount", "because"),
                [
                    (s.environment_id, a.subscription_id, a.display_name, a.amount, a.held_because)
                    for s, a in settled.held
                ],
            ),
            "failures": failure_table((*found.failures, *settled.failures)),
        }
    )


class Rerating(dg.Config):
    """Whose periods, by the days in which they end (YYYY-MM-DD, the last one included), and by which prices.

    `price_versions` names a version for a price; `prices_at` takes all prices as they were in force then. With `out`
    the differences are written to that Parquet file.
    """

    tenant_id: str
    environment_id: str
    first_day: str
    last_day: str
    subscription_id: str = ""
    price_versions: dict[str, int] = pydantic.Field(default_factory=dict)
    prices_at: str = ""
    out: str = ""


@dg.asset(
    group_name="invoices",
    kinds={"clickhouse", "polars"},
    deps=[late_adjustments],
    pool=WAREHOUSE_POOL,
    owners=OWNERS,
    code_version=CODE_VERSION,
    metadata=column_schema(
        {
            "invoice": ("String", "the final invoice"),
            "line": ("String", "its line that differs"),
            "billed": ("Decimal", "what was billed of it, adjustments included"),
            "due": ("Decimal", "what it comes to when it is rated again"),
            "difference": ("Decimal", "due less billed"),
        }
    ),
    description=(
        "Final periods rated again with the events of today, and by other versions of prices if the run's "
        "configuration names any: what differs from what was billed, by line. Changes nothing; `tally rerate --apply` "
        "bills it."
    ),
)
def rerated_invoices(
    context: dg.AssetExecutionContext, config: Rerating, tally: dg.ResourceParam[Tally]
) -> dg.MaterializeResult[None]:
    """One call of the step; its table as metadata, and as a file."""
    wanted = RerateWanted(
        start=_midnight(config.first_day),
        end=_midnight(config.last_day) + timedelta(days=1),
        subscription_id=config.subscription_id or None,
        versions=config.price_versions,
        prices_at=_midnight(config.prices_at) if config.prices_at else None,
    )
    with retried_when_unavailable():
        rated = rerate(tally.ledger, tally.warehouse, Scope(config.tenant_id, config.environment_id), wanted)
    if config.out:
        frame_of(rated).write_parquet(config.out)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rated.differences),
            "invoices": rated.invoices,
            "lines": rated.lines,
            "differences": len(rated.differences),
            "failed": len(rated.failures),
            "lines that differ": table(
                ("invoice", "customer", "line", "billed", "due", "difference"),
                [
                    (
                        each.invoice.number,
                        each.customer_id,
                        each.line.display_name,
                        format_decimal(each.billed),
                        format_decimal(each.rated.due),
                        f"{format_decimal(each.amount)} {each.invoice.currency}",
                    )
                    for each in rated.differences
                ],
            ),
            "failures": failure_table(rated.failures),
        }
    )


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time.min, UTC)
