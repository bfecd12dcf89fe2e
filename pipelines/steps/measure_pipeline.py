"""How the pipeline is doing: how far each stage is behind the one before, what waits, what is held, what was given up.

Reads only. Ages are measured from the oldest thing that waits, so a stage without work is never late.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from billing.errors import Unavailable
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import alerts, meters, pipeline_figures, pipeline_runs, tenants
from ledger.store.pipeline_figures import HeldDraft, Queue, Unsent
from ledger.store.pipeline_runs import RunTotal
from pipelines.steps.close_periods import DayToClose, days_to_close
from pipelines.steps.gate_invoices import Gate
from pipelines.steps.sync_config import syncs
from warehouse_sql.client import Warehouse
from warehouse_sql.reconcile import reconciled_watermark
from warehouse_sql.rollup_lag import LeftOut, left_out, received_last, waiting_since
from warehouse_sql.rollups import unseen_days

__all__ = [
    "LOOKS_BACK",
    "BillingState",
    "PipelineState",
    "StripeState",
    "UsageState",
    "gate_of",
    "measure_billing",
    "measure_pipeline",
    "measure_queues",
    "measure_stripe",
    "measure_usage",
]

# Periods that ended longer ago are left to people: `close_periods` does not try them again either.
LOOKS_BACK = timedelta(days=35)
# How much of one kind is listed; the counts beside it are whole.
MOST_LISTED = 1000


@dataclass(frozen=True)
class EnvironmentUsage:
    """One environment's events: the last that came, and since when some of them wait for a rollup (None: all are in).

    They are late once they have waited for `allowed`.
    """

    scope: Scope
    received_at: datetime | None
    waiting_since: datetime | None
    allowed: timedelta


@dataclass(frozen=True)
class UsageState:
    """`dirty_days` are days before today with something that their rollup has not seen; `left_out` does not count."""

    environments: tuple[EnvironmentUsage, ...]
    dirty_days: int
    reconciled_until: datetime
    left_out: tuple[LeftOut, ...]

    @property
    def waiting_since(self) -> datetime | None:
        return min((one.waiting_since for one in self.environments if one.waiting_since is not None), default=None)


@dataclass(frozen=True)
class BillingState:
    """Periods past their grace without a final invoice, by billing day, and the drafts of them that were refused."""

    to_close: tuple[DayToClose, ...]
    uncountable: int
    held: tuple[HeldDraft, ...]
    invoices: Mapping[tuple[str, str], int]

    @property
    def periods(self) -> int:
        return sum(day.periods for day in self.to_close)

    @property
    def waiting_since(self) -> datetime | None:
        """The start of the oldest billing day that is open."""
        if not self.to_close:
            return None
        return datetime.combine(min(day.day for day in self.to_close), datetime.min.time(), UTC)

    @property
    def held_by_gate(self) -> Mapping[str, int]:
        """How many drafts each gate refuses; one that several refuse is counted at each of them."""
        return Counter(gate for draft in self.held for gate in {gate_of(problem) for problem in draft.problems})


@dataclass(frozen=True)
class StripeState:
    """Finalized invoices that are not at the provider, and what the last comparison with its books has left."""

    unsent: Mapping[Scope, Unsent]
    differences: Mapping[Scope, tuple[datetime, int]]
    given_up: Mapping[str, Mapping[Scope, int]]

    @property
    def waiting_since(self) -> datetime | None:
        return min((one.oldest_at for one in self.unsent.values() if one.oldest_at is not None), default=None)


@dataclass(frozen=True)
class PipelineState:
    """One look. `usage` is None, and `unavailable` says why, while the warehouse does not answer."""

    at: datetime
    usage: UsageState | None
    billing: BillingState
    stripe: StripeState
    queues: Mapping[str, Queue]
    runs: tuple[RunTotal, ...]
    failing_runs: tuple[tuple[str, str, str, datetime], ...]
    unavailable: str | None = None


def measure_pipeline(ledger: Ledger, warehouse: Warehouse, now: datetime) -> PipelineState:
    """Look at all stages of all environments. Unavailable as the ledger is."""
    try:
        usage, unavailable = measure_usage(ledger, warehouse, now), None
    except Unavailable as error:
        usage, unavailable = None, error.code
    billing, stripe, queues = measure_billing(ledger, now), measure_stripe(ledger, now), measure_queues(ledger, now)
    with ledger.read() as session:
        return PipelineState(
            at=now,
            usage=usage,
            billing=billing,
            stripe=stripe,
            queues=queues,
            runs=tuple(pipeline_runs.totals(session)),
            failing_runs=tuple(pipeline_runs.failing(session)),
            unavailable=unavailable,
        )


def measure_usage(ledger: Ledger, warehouse: Warehouse, now: datetime) -> UsageState:
    """Events against rollups. Raises Unavailable."""
    with ledger.read() as session:
        known = meters.all_meters(session)
        allowed = tenants.usage_freshnesses(session)
    today = now.astimezone(UTC).date()
    # What came earlier and was never rolled up is found by whoever rolls up; here a year of days is not worth a minute.
    unseen = unseen_days(warehouse, known, after=now - LOOKS_BACK)
    waiting = waiting_since(warehouse, unseen)
    received = received_last(warehouse, today - LOOKS_BACK)
    return UsageState(
        environments=tuple(
            EnvironmentUsage(scope, received.get(scope), waiting.get(scope), limit)
            for scope, limit in sorted(allowed.items())
            if scope in received or scope in waiting
        ),
        dirty_days=len({one.day for one in unseen if one.day < today}),
        reconciled_until=reconciled_watermark(warehouse),
        left_out=tuple(left_out(warehouse, today - LOOKS_BACK)),
    )


def measure_billing(ledger: Ledger, now: datetime) -> BillingState:
    """Periods against final invoices. Unavailable as the ledger is."""
    closing = days_to_close(ledger, now)
    since = now - LOOKS_BACK
    with ledger.read() as session:
        return BillingState(
            closing.days,
            len(closing.failures),
            tuple(pipeline_figures.held_drafts(session, since, now, MOST_LISTED)),
            pipeline_figures.invoices_by_state(session, since),
        )


def measure_stripe(ledger: Ledger, now: datetime) -> StripeState:
    """Final invoices against the provider's, where a connection wants them. Unavailable as the ledger is."""
    with ledger.read() as session:
        configs = pipeline_figures.sync_configs(session)
        sends = {scope for scope, config in configs.items() if syncs(config, "invoice", "outbound")}
        unsent = pipeline_figures.unsent_invoices(session, now - LOOKS_BACK)
        return StripeState(
            {scope: one for scope, one in unsent.items() if scope in sends},
            pipeline_figures.newest_comparisons(session, configs),
            pipeline_figures.given_up(session, MOST_LISTED),
        )


def measure_queues(ledger: Ledger, now: datetime) -> dict[str, Queue]:
    """What waits in the inbox, the outbox, corrections of events, requested runs and messages about alerts."""
    with ledger.read() as session:
        messages = alerts.unsent(session)
        waiting, oldest = messages.get("open", (0, None))
        given_up, _ = messages.get("failed", (0, None))
        return {**pipeline_figures.queues(session, now), "alerts": Queue(waiting, oldest, given_up)}


def gate_of(problem: str) -> str:
    """The gate that a reason to hold an invoice names, or `other`.

    >>> gate_of("quantities_as_expected: 120 events, 10 before"), gate_of("the draft is not priced")
    ('quantities_as_expected', 'other')
    """
    name = problem.split(" ", 1)[0].rstrip(":")
    return name if name in set(Gate) else "other"
