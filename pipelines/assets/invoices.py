"""A billing day: quantities, drafts, prices, final invoices. What fails for one subscription is listed, not raised."""

from collections import Counter, defaultdict
from decimal import Decimal

import dagster as dg

from billing.money import to_minor
from pipelines.assets.daily import CODE_VERSION, WAREHOUSE_POOL, daily_asset, retried_when_unavailable
from pipelines.assets.links import invoices_of
from pipelines.assets.plot import bars
from pipelines.assets.tables import failure_table, table
from pipelines.assets.usage import usage_hourly
from pipelines.day_range import window_of_tags
from pipelines.resources import Tally
from pipelines.steps.collect_quantities import collect_quantities
from pipelines.steps.draft_invoices import draft_invoices as make_drafts
from pipelines.steps.expire_credits import expire_credits
from pipelines.steps.finalize_invoices import finalize_invoices
from pipelines.steps.price_invoices import price_invoices

__all__ = ["billable_quantities", "draft_invoices", "finalized_invoices", "priced_invoices"]


@daily_asset(
    group="quantities",
    kinds={"clickhouse", "python"},
    columns={
        "subscription_id": ("String", "whose period it is"),
        "price_id": ("String", "the price that it is for, with its version"),
        "segment_start": ("DateTime", "the part of the period in which the price bills, up to segment_end"),
        "quantity": ("Decimal", "what the price is applied to"),
        "events": ("Integer", "how many events are in it"),
        "watermark": ("DateTime", "events received up to here are in it"),
        "quantity_hash": ("String", "stands for everything that was read"),
    },
    deps=[usage_hourly],
    pool=WAREHOUSE_POOL,
    description=(
        "The number that each metered price of each period ending on this day is applied to, with the rollup builds "
        "and the watermark it was read at. Periods whose invoice is final are left alone."
    ),
)
def billable_quantities(
    context: dg.AssetExecutionContext, tally: dg.ResourceParam[Tally]
) -> dg.MaterializeResult[None]:
    """One call of the step; its answers as metadata."""
    window = window_of_tags(context.run.tags)
    with retried_when_unavailable():
        done = collect_quantities(tally.ledger, tally.warehouse, *window, tally.clock(), tally.chosen)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": done.quantities,
            "due": done.due,
            "settled": done.settled,
            "quantities": done.quantities,
            "changed": done.changed,
            "queries": done.queries,
            "plot": bars(
                "periods and quantities",
                [
                    ("due", done.due),
                    ("settled", done.settled),
                    ("quantities", done.quantities),
                    ("changed", done.changed),
                    ("failed", len(done.failures)),
                ],
            ),
            "rows": invoices_of(tally.api_url, window),
            "failed": len(done.failures),
            "failures": failure_table(done.failures),
        }
    )


@daily_asset(
    group="invoices",
    kinds={"python"},
    columns={
        "id": ("String", "inv_…"),
        "subscription_id": ("String", "one invoice for each period of it"),
        "period_end": ("DateTime", "lies on the billing day"),
        "status": ("String", "draft"),
    },
    deps=[billable_quantities, dg.AssetKey("late_adjustments")],
    description="One draft for each period ending on this day; a period that has an invoice keeps it.",
)
def draft_invoices(context: dg.AssetExecutionContext, tally: dg.ResourceParam[Tally]) -> dg.MaterializeResult[None]:
    """One call of the step; its answers as metadata."""
    window = window_of_tags(context.run.tags)
    with retried_when_unavailable():
        expired = expire_credits(tally.ledger, tally.clock())
        done = make_drafts(tally.ledger, *window, tally.clock(), tally.chosen)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(done.created),
            "due": done.due,
            "created": len(done.created),
            "already drafts": done.already_drafts,
            "settled": done.settled,
            "expired credit grants": expired,
            "plot": bars(
                "periods",
                [
                    ("due", done.due),
                    ("created", len(done.created)),
                    ("drafts", done.already_drafts),
                    ("settled", done.settled),
                    ("failed", len(done.failures)),
                ],
            ),
            "rows": invoices_of(tally.api_url, window, invoice_status="draft"),
            "failed": len(done.failures),
            "failures": failure_table(done.failures),
        }
    )


@daily_asset(
    group="invoices",
    kinds={"python"},
    columns={
        "id": ("String", "inv_…"),
        "lines": ("List", "price version, quantity, tiers and amount of each"),
        "total": ("Decimal", "in the currency of the invoice"),
        "inputs_hash": ("String", "stands for everything that it was made from"),
    },
    deps=[draft_invoices, billable_quantities],
    description=(
        "The drafts with their lines: the prices in force when the period began, applied to the recorded quantities. "
        "The same inputs give the same bytes."
    ),
)
def priced_invoices(context: dg.AssetExecutionContext, tally: dg.ResourceParam[Tally]) -> dg.MaterializeResult[None]:
    """One call of the step; its answers as metadata."""
    window = window_of_tags(context.run.tags)
    with retried_when_unavailable():
        done = price_invoices(tally.ledger, *window, tally.clock(), CODE_VERSION, tally.chosen)
    totals: defaultdict[str, list[Decimal]] = defaultdict(list)
    for invoice in done.invoices:
        totals[invoice.currency].append(invoice.total)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(done.invoices),
            "priced": len(done.invoices),
            "changed": sum(invoice.changed for invoice in done.invoices),
            "failed": len(done.failures),
            **_minor_totals(totals),
            "plot": _sizes(totals),
            "rows": invoices_of(tally.api_url, window, invoice_status="draft"),
            "invoices": table(
                ("invoice", "total", "lines", "changed", "subscription", "environment"),
                [
                    (
                        i.invoice_id,
                        f"{i.total} {i.currency}",
                        i.lines,
                        i.changed,
                        i.subscription_id,
                        i.scope.environment_id,
                    )
                    for i in done.invoices
                ],
            ),
            "failures": failure_table(done.failures),
        }
    )


@daily_asset(
    group="invoices",
    kinds={"python"},
    columns={
        "id": ("String", "inv_…"),
        "number": ("String", "given once, in the order of the periods"),
        "total": ("Decimal", "in the currency of the invoice"),
        "finalized_at": ("DateTime", "it never changes after that"),
    },
    deps=[priced_invoices],
    description=(
        "Drafts whose gates have passed get their number and never change again. The stored results of the checks are "
        "verified once more, against what the invoice says at that moment; the others are held and listed."
    ),
)
def finalized_invoices(context: dg.AssetExecutionContext, tally: dg.ResourceParam[Tally]) -> dg.MaterializeResult[None]:
    """One call of the step; its answers as metadata."""
    window = window_of_tags(context.run.tags)
    with retried_when_unavailable():
        done = finalize_invoices(tally.ledger, *window, tally.clock(), tally.chosen)
    totals: defaultdict[str, list[Decimal]] = defaultdict(list)
    for _, invoice in done.invoices:
        totals[invoice.currency].append(invoice.total)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(done.invoices),
            "finalized": len(done.invoices),
            "held": len(done.held),
            "failed": len(done.failures),
            **_minor_totals(totals),
            "plot": _sizes(totals),
            "rows": invoices_of(tally.api_url, window, invoice_status="finalized"),
            "numbers": table(
                ("number", "total", "invoice", "environment"),
                [(i.number, f"{i.total} {i.currency}", i.id, s.environment_id) for s, i in done.invoices],
            ),
            "held back": table(
                ("invoice", "reasons", "subscription", "environment"),
                [(h.invoice_id, "; ".join(h.reasons), h.subscription_id, h.scope.environment_id) for h in done.held],
            ),
            "failures": failure_table(done.failures),
        }
    )


# Below every power of ten that an amount can have.
_NOTHING = -100


def _minor_totals(amounts: dict[str, list[Decimal]]) -> dict[str, int]:
    """Sums in the smallest unit: integers are plotted over the partitions, and a float would not be exact."""
    return {
        f"total in minor units, {currency}": sum(to_minor(amount, currency) for amount in some)
        for currency, some in sorted(amounts.items())
    }


def _sizes(amounts: dict[str, list[Decimal]]) -> dg.MarkdownMetadataValue:
    """How many invoices there are of each size: 1 up to 10, 10 up to 100, … in units of the commonest currency."""
    if not amounts:
        return bars("invoices by total", [])
    currency = max(sorted(amounts), key=lambda name: len(amounts[name]))
    counts = Counter(_NOTHING if total <= 0 else total.adjusted() for total in amounts[currency])
    sized = [
        ("nothing" if size == _NOTHING else f"{Decimal(1).scaleb(size):,f} or more", count)
        for size, count in sorted(counts.items())
    ]
    return bars(f"invoices by total in {currency}", sized)
