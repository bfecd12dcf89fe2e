"""Use case: what the running period of a subscription comes to so far, as its invoice would say it. Nothing is written.

Quantities are read and priced by the functions of the real run, so that the last answer before a period ends is its
invoice, if nothing else comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal

from billing.adjustments.adjust import Adjusted, adjust
from billing.errors import Conflict
from billing.invoice import LineDraft
from billing.line_adjustment import adjustment_line
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import credit_grants, line_adjustments
from ledger.store.invoices import LineRecord
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.billing_day import Due, due_of
from pipelines.steps.collect_quantities import quantity_record
from pipelines.steps.facts import Facts
from pipelines.steps.invoice_parts import parts_of_invoice, start_due
from pipelines.steps.invoice_terms import Billed, terms_for
from pipelines.steps.plan_prices import Catalog
from pipelines.steps.price_invoices import lines_for
from pipelines.steps.read_quantities import Wanted, read_many
from warehouse_sql.client import Warehouse
from warehouse_sql.instants import FAR_FUTURE
from warehouse_sql.usage import Quantity, safe_watermark

__all__ = ["MeterReading", "UpcomingInvoice", "upcoming_invoice"]


@dataclass(frozen=True)
class MeterReading:
    """What a meter counted in the period so far: `rollup_days` come from rollups, `raw_days` had events to read."""

    meter_id: str
    meter_version: int
    events: int
    unusable: int
    rollup_days: int
    raw_days: int


@dataclass(frozen=True)
class UpcomingInvoice:
    """`lines` as they would be billed now, under the discounts and taxes that hold now, with those that adjust earlier
    invoices; `credits_forecast` is what the customer's credit would pay of it. Everything that was acknowledged before
    `as_of` is counted, and up to `watermark` nothing more can appear. The id of a line is its key: it is not stored.
    """

    due: Due
    adjusted: Adjusted
    credits_forecast: Decimal
    lines: tuple[LineRecord, ...]
    readings: tuple[MeterReading, ...]
    as_of: datetime
    watermark: datetime

    @property
    def total(self) -> Decimal:
        return self.adjusted.total

    @property
    def amount_due(self) -> Decimal:
        """A negative total is owed to the customer: nothing is due."""
        return self.adjusted.amount_due


def upcoming_invoice(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, subscription_id: str, now: datetime
) -> UpcomingInvoice:
    """The invoice of the period that holds `now`. Before the subscription begins it is that of its start, if it bills
    anything in advance, else of its first period.

    NotFound `subscription_not_found`; Conflict `subscription_ended`; Unavailable.
    """
    with ledger.read() as session:
        facts = Facts(session, scope, Catalog())
        due = _next_billed(facts, facts.subscription(subscription_id), now)
        parts = parts_of_invoice(facts, due, anticipated=True)
        customer = facts.customer(due.subscription.customer_id).external_id
        billed = Billed(due.subscription.customer_id, due.subscription.id, due.period, due.reason)
        terms = terms_for(facts, billed)
        waiting = () if due.is_start else line_adjustments.waiting_of(session, scope, due.subscription.id)
    watermark = safe_watermark(warehouse)
    metered = [
        (part, part.price.meter, Wanted(scope, part.price.meter, part.period, FAR_FUTURE, customer))
        for part in parts
        if part.price.meter is not None
    ]
    answers = read_many(warehouse, (wanted for _, _, wanted in metered), rollups=True)
    for error in answers.errors.values():
        raise error
    read = {wanted: replace(quantity, watermark=watermark) for wanted, quantity in answers.found.items()}
    recorded = [quantity_record(due, part, meter, read[wanted], now) for part, meter, wanted in metered]
    lines = (*lines_for(due, parts, recorded), *map(adjustment_line, waiting))
    adjusted = adjust(lines, terms, due.subscription.currency)
    with ledger.read() as session:
        forecast = credit_grants.forecast(
            session, scope, billed.customer_id, adjusted.total, due.subscription.currency, now
        )
    return UpcomingInvoice(due, adjusted, forecast, tuple(map(_named, adjusted.lines)), _readings(read), now, watermark)


def _next_billed(facts: Facts, subscription: SubscriptionRecord, now: datetime) -> Due:
    period = subscription.period_at(max(now, subscription.start_date))
    if period is None:
        raise Conflict(
            "subscription_ended",
            "The subscription has ended: no period of it is running.",
            hint=f"GET /api/v1/subscriptions/{subscription.id}/periods names the invoice of each that was.",
        )
    start = start_due(facts, subscription) if now < subscription.start_date else None
    return start or due_of(facts.scope, subscription, period)


def _named(line: LineDraft) -> LineRecord:
    return LineRecord(id=line.key, **{item.name: getattr(line, item.name) for item in fields(LineDraft)})


def _readings(read: Mapping[Wanted, Quantity]) -> tuple[MeterReading, ...]:
    by_meter: dict[str, list[Quantity]] = {}
    versions = {wanted.meter.id: wanted.meter.version for wanted in read}
    for wanted, quantity in read.items():
        by_meter.setdefault(wanted.meter.id, []).append(quantity)
    return tuple(
        MeterReading(
            meter_id,
            versions[meter_id],
            sum(each.events for each in by_meter[meter_id]),
            sum(each.unusable for each in by_meter[meter_id]),
            sum(len(each.builds) for each in by_meter[meter_id]),
            sum(each.raw_days for each in by_meter[meter_id]),
        )
        for meter_id in sorted(by_meter)
    )
