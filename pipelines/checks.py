"""Asset checks: the gates of M6 as people see them in Dagster.

The results that decide are the stored ones (`steps.gate_invoices`): finalizing verifies them for each invoice on its
own. So a gate that refuses invoices is a warning here, and the run goes on: the others are billed, and what is refused
becomes a priced draft that a person can look at and override. It is an error and blocks its run when it could look at
none of them, or when no invoice's total is right, since then the fault is in the program.
"""

from collections.abc import Iterator

import dagster as dg

from pipelines.assets.daily import WAREHOUSE_POOL, retried_when_unavailable
from pipelines.assets.invoices import billable_quantities, finalized_invoices, priced_invoices
from pipelines.assets.links import invoices_of
from pipelines.assets.tables import failure_table, table
from pipelines.assets.usage import usage_hourly
from pipelines.day_range import window_of_tags
from pipelines.resources import Tally
from pipelines.steps.gate_invoices import Gate, GateReport
from pipelines.steps.gate_quantities import gate_quantities
from pipelines.steps.gate_totals import gate_totals
from pipelines.steps.roll_up_usage import compare_rollups
from pipelines.steps.unbilled import unbilled

__all__ = ["CHECKS"]

_OF_QUANTITIES = {
    Gate.QUANTITIES_MATCH_RAW: "Each recorded quantity is what the events say, counted without rollups.",
    Gate.IDENTITIES_COUNT_ONCE: "Everything received before the quantities were read has been compared for duplicates.",
    Gate.EVENTS_ARE_USABLE: "No event of a metered period was left out for a missing or unreadable value.",
    Gate.AS_EXPECTED: "No quantity has jumped or dropped against those of the periods before.",
}


@dg.asset_check(
    asset=usage_hourly,
    blocking=True,
    pool=WAREHOUSE_POOL,
    description="Rollups of clean days equal the events they were built from.",
)
def rollup_matches_raw(context: dg.AssetCheckExecutionContext, tally: dg.ResourceParam[Tally]) -> dg.AssetCheckResult:
    """Compares every meter and customer of the days."""
    with retried_when_unavailable():
        compared = compare_rollups(tally.warehouse, *window_of_tags(context.run.tags), tally.chosen)
    header = sorted({name for row in compared.mismatches for name in row})
    rows = [[row.get(name, "") for name in header] for row in compared.mismatches]
    return dg.AssetCheckResult(
        passed=not compared.mismatches,
        description=f"{len(compared.mismatches)} differences in {compared.days} days" if compared.mismatches else None,
        metadata={"days": compared.days, "differences": len(rows), "rows": table(header, rows)},
    )


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(gate.value, asset=billable_quantities, blocking=True, description=description)
        for gate, description in _OF_QUANTITIES.items()
    ],
    pool=WAREHOUSE_POOL,
)
def quantity_gates(
    context: dg.AssetCheckExecutionContext, tally: dg.ResourceParam[Tally]
) -> Iterator[dg.AssetCheckResult]:
    """One look at the events for the four gates of quantities."""
    with retried_when_unavailable():
        report = gate_quantities(
            tally.ledger,
            tally.warehouse,
            *window_of_tags(context.run.tags),
            tally.clock(),
            tally.chosen,
            tally.expected,
        )
    drafts = _drafts(context, tally)
    for gate in _OF_QUANTITIES:
        found = report.of(gate)
        blocks = bool(found.failures) and not found.outcomes
        yield _result(gate, found, billable_quantities.key, drafts, blocks=blocks)


@dg.asset_check(
    asset=priced_invoices,
    blocking=True,
    description="Each line rated anew from what it names gives its amount, and the lines sum to the total.",
)
def totals_match_lines(context: dg.AssetCheckExecutionContext, tally: dg.ResourceParam[Tally]) -> dg.AssetCheckResult:
    """Looks at every draft of the days."""
    with retried_when_unavailable():
        report = gate_totals(tally.ledger, *window_of_tags(context.run.tags), tally.clock(), tally.chosen)
    nothing_is_right = bool(report.outcomes or report.failures) and len(report.refused) == len(report.outcomes)
    drafts = _drafts(context, tally)
    return _result(Gate.TOTALS_MATCH_LINES, report, priced_invoices.key, drafts, blocks=nothing_is_right)


@dg.asset_check(
    asset=finalized_invoices,
    description="Every period that ended on this day has a final invoice. Blocks nothing: what is final goes on.",
)
def all_subscriptions_billed(
    context: dg.AssetCheckExecutionContext, tally: dg.ResourceParam[Tally]
) -> dg.AssetCheckResult:
    """Lists what is due and open, with the reasons."""
    with retried_when_unavailable():
        left = unbilled(tally.ledger, *window_of_tags(context.run.tags), tally.clock(), tally.chosen)
    return dg.AssetCheckResult(
        passed=not left.open and not left.failures,
        description=f"{len(left.open) + len(left.failures)} of {left.due} periods are not billed",
        metadata={
            "due": left.due,
            "open": len(left.open),
            "rows": _drafts(context, tally),
            "not billed": table(
                ("invoice", "reasons", "subscription", "environment"),
                [
                    (due.invoice_id or "none", "; ".join(reasons), due.subscription.id, due.scope.environment_id)
                    for due, reasons in left.open
                ],
            ),
            "failures": failure_table(left.failures),
        },
    )


CHECKS = [rollup_matches_raw, quantity_gates, totals_match_lines, all_subscriptions_billed]


def _drafts(context: dg.AssetCheckExecutionContext, tally: Tally) -> dg.UrlMetadataValue:
    return invoices_of(tally.api_url, window_of_tags(context.run.tags), invoice_status="draft")


def _result(
    gate: Gate, report: GateReport, asset_key: dg.AssetKey, drafts: dg.UrlMetadataValue, *, blocks: bool
) -> dg.AssetCheckResult:
    looked_at = len(report.outcomes) + len(report.failures)
    not_passed = len(report.refused) + len(report.failures)
    return dg.AssetCheckResult(
        asset_key=asset_key,
        check_name=gate.value,
        passed=report.passed,
        severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
        description=f"{not_passed} of {looked_at} invoices are held" if not_passed else None,
        metadata={
            "looked at": looked_at,
            "held": not_passed,
            "rows": drafts,
            "reasons": table(
                ("subject", "problems", "environment"),
                [
                    (o.subject, "; ".join(map(str, o.detail["problems"])), o.scope.environment_id)
                    for o in report.refused
                ],
            ),
            "failures": failure_table(report.failures),
        },
    )
