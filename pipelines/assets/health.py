"""How the pipeline is doing, as assets: how far each stage is behind, what is held, what waits and what was given up.

The same figures that `pipeline_watch` measures each minute for alerts and Prometheus; here they have a history, a table
of what stands behind them, and a check that fails where something is for a person.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import dagster as dg

from billing.instant import format_instant
from pipelines.assets.daily import CODE_VERSION, OWNERS, column_schema, retried_when_unavailable
from pipelines.assets.invoices import finalized_invoices
from pipelines.assets.plot import bars
from pipelines.assets.stripe import stripe_invoices
from pipelines.assets.tables import table
from pipelines.assets.usage import events_reconciled, usage_hourly
from pipelines.resources import Tally
from pipelines.steps.measure_pipeline import measure_billing, measure_queues, measure_stripe, measure_usage

__all__ = ["HEALTH_ASSETS", "billing_backlog", "events_left_out", "stripe_queues", "usage_lag"]

Told = Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]


@dg.asset(
    group_name="health",
    kinds={"clickhouse"},
    deps=[usage_hourly],
    owners=OWNERS,
    code_version=CODE_VERSION,
    metadata=column_schema(
        {
            "environment": ("String", "whose events"),
            "received": ("DateTime", "when its last event came"),
            "waiting since": ("DateTime", "when the oldest event came that no rollup has seen"),
            "allowed": ("Integer", "seconds after which that is late, a setting of the environment"),
        }
    ),
    check_specs=[dg.AssetCheckSpec("usage_is_fresh", asset="usage_lag", description="No environment's usage is late.")],
    description="How far rollups are behind the events of each environment, and which days they lack something of.",
)
def usage_lag(context: dg.AssetExecutionContext, tally: dg.ResourceParam[Tally]) -> Told:
    """Events against rollups, now."""
    now = tally.clock()
    with retried_when_unavailable():
        usage = measure_usage(tally.ledger, tally.warehouse, now)
    late = [one for one in usage.environments if one.waiting_since and now - one.waiting_since > one.allowed]
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(usage.environments),
            "lag in seconds": _age(usage.waiting_since, now),
            "dirty days before today": usage.dirty_days,
            "reconciled until": format_instant(usage.reconciled_until),
            "late environments": len(late),
            "environments": table(
                ("environment", "received", "waiting since", "allowed"),
                [
                    (one.scope.environment_id, one.received_at or "", one.waiting_since or "", one.allowed)
                    for one in usage.environments
                ],
            ),
        }
    )
    yield dg.AssetCheckResult(
        passed=not late,
        severity=dg.AssetCheckSeverity.WARN,
        check_name="usage_is_fresh",
        metadata={
            "late": table(
                ("environment", "waiting since", "allowed"),
                [(one.scope.environment_id, one.waiting_since, one.allowed) for one in late],
            )
        },
    )


@dg.asset(
    group_name="health",
    kinds={"clickhouse"},
    deps=[events_reconciled, usage_hourly],
    owners=OWNERS,
    code_version=CODE_VERSION,
    metadata=column_schema(
        {
            "environment": ("String", "whose events"),
            "meter": ("String", "the meter that cannot count them; empty for a conflict"),
            "reason": ("String", "conflict: an identity came again with other content; unusable: no value to count"),
            "events": ("Integer", "how many, of the last 35 days"),
        }
    ),
    description="Events of the last 35 days that do not count: conflicts, and those that a meter has no use for.",
)
def events_left_out(context: dg.AssetExecutionContext, tally: dg.ResourceParam[Tally]) -> dg.MaterializeResult[None]:
    """What the rollups and the reconcile step have left out."""
    with retried_when_unavailable():
        found = measure_usage(tally.ledger, tally.warehouse, tally.clock()).left_out
    events = Counter({"conflict": 0, "unusable": 0})
    for one in found:
        events[one.reason] += one.events
    rows = sorted(found, key=lambda one: -one.events)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(found),
            "conflicts": events["conflict"],
            "unusable": events["unusable"],
            "plot": bars("events left out", list(events.items())),
            "by meter": table(
                ("environment", "meter", "reason", "events"),
                [(one.scope.environment_id, one.meter_id or "", one.reason, one.events) for one in rows],
            ),
        }
    )


@dg.asset(
    group_name="health",
    kinds={"python"},
    deps=[finalized_invoices],
    owners=OWNERS,
    code_version=CODE_VERSION,
    metadata=column_schema(
        {
            "invoice": ("String", "a draft that was refused"),
            "period end": ("DateTime", "when its period ended"),
            "reasons": ("String", "what finalizing has said"),
        }
    ),
    check_specs=[
        dg.AssetCheckSpec(
            "no_invoice_is_held", asset="billing_backlog", description="No draft of an ended period was refused."
        )
    ],
    description="Periods past their grace without a final invoice, the drafts that gates hold, and invoices by state.",
)
def billing_backlog(context: dg.AssetExecutionContext, tally: dg.ResourceParam[Tally]) -> Told:
    """Periods against final invoices, now."""
    now = tally.clock()
    with retried_when_unavailable():
        billing = measure_billing(tally.ledger, now)
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(billing.held),
            "unbilled periods": billing.periods,
            "lag in seconds": _age(billing.waiting_since, now),
            "held": len(billing.held),
            "cannot be worked out": billing.uncountable,
            "plot": bars("unbilled periods by billing day", [(str(day.day), day.periods) for day in billing.to_close]),
            "invoices by state": table(
                ("status", "payment", "invoices"),
                [(*state, count) for state, count in sorted(billing.invoices.items())],
            ),
            "held by gate": table(("gate", "invoices"), sorted(billing.held_by_gate.items())),
            "held invoices": table(
                ("environment", "subscription", "invoice", "period end", "reasons"),
                [
                    (d.scope.environment_id, d.subscription_id, d.invoice_id, d.period_end, "; ".join(d.problems))
                    for d in billing.held
                ],
            ),
        }
    )
    yield dg.AssetCheckResult(
        passed=not billing.held,
        severity=dg.AssetCheckSeverity.WARN,
        check_name="no_invoice_is_held",
        metadata={"held": len(billing.held)},
    )


@dg.asset(
    group_name="health",
    kinds={"stripe"},
    deps=[stripe_invoices],
    owners=OWNERS,
    code_version=CODE_VERSION,
    metadata=column_schema(
        {
            "queue": ("String", "inbox: webhooks; outbox: work for Stripe; corrections; requested runs; alerts"),
            "waiting": ("Integer", "what is due"),
            "given up": ("Integer", "what is not tried again by itself"),
        }
    ),
    check_specs=[
        dg.AssetCheckSpec("nothing_was_given_up", asset="stripe_queues", description="No work is left to people.")
    ],
    description="Final invoices that are not at Stripe, what waits in each queue, and what was given up.",
)
def stripe_queues(context: dg.AssetExecutionContext, tally: dg.ResourceParam[Tally]) -> Told:
    """Final invoices against Stripe's, and the queues, now."""
    now = tally.clock()
    with retried_when_unavailable():
        stripe, queues = measure_stripe(tally.ledger, now), measure_queues(tally.ledger, now)
    given_up = sum(queue.given_up for queue in queues.values())
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(queues),
            "not at Stripe": sum(one.invoices for one in stripe.unsent.values()),
            "lag in seconds": _age(stripe.waiting_since, now),
            "given up": given_up,
            "differences left": sum(left for _, left in stripe.differences.values()),
            "plot": bars("waiting", [(name, queue.waiting) for name, queue in queues.items()]),
            "queues": table(
                ("queue", "waiting", "since", "given up"),
                [(name, queue.waiting, queue.oldest_at or "", queue.given_up) for name, queue in queues.items()],
            ),
            "invoices not at Stripe": table(
                ("environment", "invoices", "since"),
                [(scope.environment_id, one.invoices, one.oldest_at) for scope, one in sorted(stripe.unsent.items())],
            ),
        }
    )
    yield dg.AssetCheckResult(
        passed=not given_up,
        severity=dg.AssetCheckSeverity.WARN,
        check_name="nothing_was_given_up",
        metadata={
            "by environment": table(
                ("queue", "environment", "given up"),
                [
                    (queue, scope.environment_id, count)
                    for queue, counts in stripe.given_up.items()
                    for scope, count in sorted(counts.items())
                ],
            )
        },
    )


HEALTH_ASSETS = [usage_lag, events_left_out, billing_backlog, stripe_queues]


def _age(since: datetime | None, now: datetime) -> int:
    return 0 if since is None else int((now - since).total_seconds())
