"""The payment provider's books against ours, as an asset: one report per run, repaired where the rule is safe."""

from datetime import timedelta

import dagster as dg

from pipelines.assets.daily import CODE_VERSION, OWNERS, STRIPE_POOL, column_schema, retried_when_unavailable
from pipelines.assets.stripe import stripe_invoices
from pipelines.assets.tables import failure_table, table
from pipelines.resources import Tally
from pipelines.steps.reconcile_everywhere import reconcile_everywhere

__all__ = ["stripe_reconciliation"]


class Reconciliation(dg.Config):
    """How far back, and whether anything is repaired."""

    days: int = 35
    repair: bool = True


@dg.asset(
    group_name="stripe",
    kinds={"stripe"},
    deps=[stripe_invoices],
    pool=STRIPE_POOL,
    owners=OWNERS,
    code_version=CODE_VERSION,
    metadata=column_schema(
        {
            "what": ("String", "the kind of difference"),
            "ours": ("String", "inv_…, cn_…, ref_… or cus_…; empty where we have none"),
            "Stripe's": ("String", "Stripe's id; empty where there is none"),
            "here": ("String", "what our side says"),
            "there": ("String", "what Stripe says"),
        }
    ),
    description=(
        "Invoices, payments, credit notes, refunds and customers of all environments compared with Stripe, both ways. "
        "What Stripe says about money is booked, what was never sent is sent; the rest is listed for people."
    ),
)
def stripe_reconciliation(
    context: dg.AssetExecutionContext, config: Reconciliation, tally: dg.ResourceParam[Tally]
) -> dg.MaterializeResult[None]:
    """One call of the step; what differs as metadata."""
    now = tally.clock()
    with retried_when_unavailable():
        done = reconcile_everywhere(
            tally.ledger, tally.gateways, now - timedelta(days=config.days), now, tally.chosen, repair=config.repair
        )
    columns = ("environment", "what", "ours", "Stripe's", "here", "there")
    rows = {
        repaired: [
            (scope.environment_id, each.kind, each.entity_id or "", each.provider_id or "", each.ours, each.theirs)
            for scope, result in done.results
            for each in result.differences
            if each.repaired is repaired
        ]
        for repaired in (True, False)
    }
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rows[True]) + len(rows[False]),
            "environments": len(done.results),
            "invoices": sum(result.invoices for _, result in done.results),
            "credit notes": sum(result.credit_notes for _, result in done.results),
            "refunds": sum(result.refunds for _, result in done.results),
            "customers": sum(result.customers for _, result in done.results),
            "events never delivered": sum(result.missed_events for _, result in done.results),
            "repaired": len(rows[True]),
            "left": len(rows[False]),
            "left for people": table(columns, rows[False]),
            "what was repaired": table(columns, rows[True]),
            "not compared": failure_table(done.failures),
        }
    )
