"""The payment provider: finalized invoices of a billing day are sent to Stripe."""

from collections import Counter

import dagster as dg

from pipelines.assets.daily import STRIPE_POOL, daily_asset, retried_when_unavailable
from pipelines.assets.invoices import finalized_invoices
from pipelines.assets.links import invoices_of
from pipelines.assets.plot import bars
from pipelines.assets.tables import failure_table, table
from pipelines.day_range import window_of_tags
from pipelines.resources import Tally
from pipelines.steps.sync_invoices import sync_invoices

__all__ = ["stripe_invoices"]


@daily_asset(
    group="stripe",
    kinds={"stripe"},
    columns={
        "invoice_id": ("String", "inv_…"),
        "stripe_invoice_id": ("String", "in_…"),
        "outcome": ("String", "synced, already_synced, refused or failed"),
        "reason": ("String", "why it was not sent"),
    },
    deps=[finalized_invoices],
    pool=STRIPE_POOL,
    description=(
        "Finalized invoices at Stripe: draft, lines, comparison of the totals, then finalized there. What was sent "
        "already is left alone; an environment without an active connection is skipped and listed."
    ),
)
def stripe_invoices(context: dg.AssetExecutionContext, tally: dg.ResourceParam[Tally]) -> dg.MaterializeResult[None]:
    """One call of the step; its answers as metadata."""
    window = window_of_tags(context.run.tags)
    with retried_when_unavailable():
        sent = sync_invoices(tally.ledger, tally.gateways, *window, tally.clock(), tally.chosen)
    outcomes = Counter(result.outcome for _, result in sent.results)
    refused = [
        (scope.environment_id, result.invoice_id, result.outcome, result.reason or "", result.detail or "")
        for scope, result in sent.results
        if result.outcome in {"refused", "failed"}
    ]
    skipped = [(scope.tenant_id, scope.environment_id, count) for scope, count in sent.without_connection.items()]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": outcomes["synced"],
            "synced": outcomes["synced"],
            "already_synced": outcomes["already_synced"],
            "refused": outcomes["refused"],
            "failed": outcomes["failed"],
            "waiting": len(sent.failures),
            "skipped": sum(sent.without_connection.values()),
            "plot": bars("invoices", sorted(outcomes.items())),
            "rows": invoices_of(tally.api_url, window, invoice_status="finalized"),
            "not sent": table(("environment", "invoice", "outcome", "reason", "detail"), refused),
            "waiting in the outbox": failure_table(sent.failures),
            "skipped, no active connection": table(("tenant", "environment", "invoices"), skipped),
        }
    )
