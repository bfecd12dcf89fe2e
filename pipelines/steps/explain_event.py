"""What became of an event: its copies, what each meter reads from it, and the invoice that it is on. Reads only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from billing.errors import NotFound
from billing.invoice import InvoiceStatus
from billing.meter import AggregationType, Filter, Meter
from billing.period import Period
from billing.scope import Scope
from billing.subscription import SubscriptionStatus
from ledger.db import Ledger
from ledger.store import customers, event_corrections, invoices, meters, subscriptions
from ledger.store.event_corrections import CorrectionRecord
from ledger.store.invoices import InvoiceRecord
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.billing_day import Due, due_of
from pipelines.steps.correct_event import amendment_identity, event_key
from pipelines.steps.plan_prices import Catalog
from warehouse_sql.client import Warehouse
from warehouse_sql.conflicts import Difference, differences
from warehouse_sql.event_log import EventStatus, StoredEvent, identities_of, received_events
from warehouse_sql.known_days import CurrentBuild
from warehouse_sql.readings import Reading, read_event
from warehouse_sql.reconcile import reconciled_watermark
from warehouse_sql.rollups import current_build

__all__ = ["Billing", "BillingState", "Copy", "EventExplained", "Explanation", "MeterOutcome", "explain_event"]


class BillingState(StrEnum):
    """`late`: received after its invoice had been read. `not_yet_billed`: no invoice of the period counts it so far."""

    FINALIZED = "finalized"
    DRAFT = "draft"
    LATE = "late"
    NOT_YET_BILLED = "not_yet_billed"
    VOID = "void"


@dataclass(frozen=True)
class Billing:
    """Where a meter's price bills the event; `invoice` and `line_id` are None until there is a line."""

    state: BillingState
    subscription_id: str
    price_id: str
    period: Period
    invoice: InvoiceRecord | None
    line_id: str | None
    watermark: datetime | None


@dataclass(frozen=True)
class MeterOutcome:
    """What one version of a meter makes of the event. `reason` says why it counts nothing, None where it counts.

    `rollup` is the current one of the day; `rollup_is_current` says whether it knows what became of the event.
    `unbilled_because` says why nothing will bill it: `customer_unknown`, `no_subscription`, `subscription_ended`,
    `subscription_paused`, `in_trial` or `no_price`.
    """

    meter: Meter
    text: str | None
    reason: str | None
    unmet: Filter | None
    rollup: CurrentBuild | None
    rollup_is_current: bool
    billing: tuple[Billing, ...]
    unbilled_because: str | None


@dataclass(frozen=True)
class Copy:
    """An event that was received under the identity as well."""

    event: StoredEvent
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class EventExplained:
    """One identity. `amends` is the identity of the event whose place this one took."""

    event: StoredEvent
    copies: tuple[Copy, ...]
    correction: CorrectionRecord | None
    corrected_identity: str | None
    amends: str | None
    meters: tuple[MeterOutcome, ...]


@dataclass(frozen=True)
class Explanation:
    """Every event of an id, first received first; what was received up to `reconciled_until` has been compared."""

    event_id: str
    events: tuple[EventExplained, ...]
    reconciled_until: datetime


@dataclass(frozen=True)
class _Billed:
    """What the ledger says about an event's place: the meters that may count it there, and where each is billed."""

    meters: tuple[Meter, ...]
    billing: dict[Meter, tuple[Billing, ...]]
    unbilled_because: str


def explain_event(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, event_id: str, identity: str | None = None
) -> Explanation:
    """Everything known about an event id, or about the one of its events that has this identity.

    NotFound `event_not_found`, `identity_not_found`; Unavailable.
    """
    identities = identities_of(warehouse, scope, event_id)
    if not identities:
        raise NotFound("event_not_found", "There is no such event.", field="event_id")
    if identity is not None and identity not in identities:
        raise NotFound("identity_not_found", "is not an identity of this event", field="identity")
    received = received_events(warehouse, scope, identities)
    amended = {amendment_identity(event): event.identity for event in received}
    chosen = identities if identity is None else [identity]
    explained = [_explained(ledger, warehouse, scope, received, one, amended.get(one)) for one in chosen]
    explained.sort(key=lambda one: (one.event.ingested_at, one.event.identity))
    return Explanation(event_id, tuple(explained), reconciled_watermark(warehouse))


def _explained(
    ledger: Ledger,
    warehouse: Warehouse,
    scope: Scope,
    received: Sequence[StoredEvent],
    identity: str,
    amends: str | None,
) -> EventExplained:
    same = [event for event in received if event.identity == identity]
    # The last that held the identity: one that comes again after the time in which resends are found is a new one.
    event = [each for each in same if each.status.holds_identity][-1]
    copies = tuple(Copy(each, tuple(differences(event, each))) for each in same if each is not event)
    with ledger.read() as session:
        correction = event_corrections.by_event_key(session, scope, [event_key(event)]).get(event_key(event))
        billed = _billed(session, scope, event)
    readings = read_event(warehouse, event.timestamp, event.texts, billed.meters)
    outcomes = (
        _outcome(warehouse, scope, event, meter, reading, billed)
        for meter, reading in zip(billed.meters, readings, strict=True)
    )
    corrected = amendment_identity(event) if correction is not None and correction.action == "amend" else None
    return EventExplained(event, copies, correction, corrected, amends, tuple(outcomes))


def _outcome(
    warehouse: Warehouse, scope: Scope, event: StoredEvent, meter: Meter, reading: Reading, billed: _Billed
) -> MeterOutcome:
    reason = reading.reason if event.status is EventStatus.COUNTED else event.status.value
    billing = billed.billing.get(meter, ()) if reason is None else ()
    rolled_up = meter.aggregation.type is not AggregationType.WEIGHTED_SUM
    rollup = current_build(warehouse, scope, meter, event.timestamp.date()) if rolled_up else None
    return MeterOutcome(
        meter=meter,
        text=reading.text,
        reason=reason,
        unmet=reading.unmet,
        rollup=rollup,
        rollup_is_current=rollup is not None and _knows(rollup, event),
        billing=billing,
        unbilled_because=billed.unbilled_because if reason is None and not billing else None,
    )


def _knows(rollup: CurrentBuild, event: StoredEvent) -> bool:
    if event.superseded_at is not None:
        return event.superseded_at <= rollup.started_at
    return event.ingested_at <= rollup.watermark


def _billed(session: Session, scope: Scope, event: StoredEvent) -> _Billed:
    listening = meters.meters_listening_to(session, scope, event.event_name)
    try:
        customer = customers.get_customer(session, scope, event.customer_id)
    except NotFound:
        return _Billed(tuple(listening), {}, "customer_unknown")
    begun = subscriptions.subscriptions_begun(session, scope, customer.id, event.timestamp)
    dues = [due for each in begun if (due := _due_at(scope, each, event.timestamp)) is not None]
    known = invoices.of_periods(session, scope, [(due.subscription.id, due.period.start) for due in dues])
    catalog = Catalog()
    billing: dict[Meter, tuple[Billing, ...]] = {}
    for due in dues:
        invoice = known.get((due.subscription.id, due.period.start))
        for meter, one in _billings(session, catalog, due, invoice, event):
            if meter.event_name == event.event_name:
                billing[meter] = (*billing.get(meter, ()), one)
    reason = _unbilled_because([each.life().status_at(event.timestamp) for each in begun])
    return _Billed(tuple(dict.fromkeys([*listening, *billing])), billing, reason)


def _due_at(scope: Scope, subscription: SubscriptionRecord, moment: datetime) -> Due | None:
    period = subscription.period_at(moment)
    return None if period is None else due_of(scope, subscription, period)


def _unbilled_because(statuses: Sequence[SubscriptionStatus]) -> str:
    """Why subscriptions of these statuses bill nothing; one that runs has no price for the meter."""
    if not statuses:
        return "no_subscription"
    for status, reason in (
        (SubscriptionStatus.ACTIVE, "no_price"),
        (SubscriptionStatus.PAUSED, "subscription_paused"),
        (SubscriptionStatus.TRIALING, "in_trial"),
    ):
        if status in statuses:
            return reason
    return "subscription_ended"


def _billings(
    session: Session, catalog: Catalog, due: Due, invoice: InvoiceRecord | None, event: StoredEvent
) -> Iterable[tuple[Meter, Billing]]:
    open_ = Billing(BillingState.NOT_YET_BILLED, due.subscription.id, "", due.period, invoice, None, None)
    if invoice is not None and invoice.lines:
        for line in invoice.lines:
            if line.price_id is not None and line.meter_id is not None and event.timestamp in line.period:
                meter = meters.get_meter(session, due.scope, line.meter_id, line.meter_version)
                seen = line.watermark is not None and event.ingested_at <= line.watermark
                state = _state(invoice.status, seen)
                yield (
                    meter,
                    replace(
                        open_,
                        state=state,
                        price_id=line.price_id,
                        period=line.period,
                        line_id=line.id,
                        watermark=line.watermark,
                    ),
                )
        return
    for part in catalog.parts_of(session, due):
        if part.price.meter is not None and event.timestamp in part.period:
            yield part.price.meter, replace(open_, price_id=part.price.record.id, period=part.period)


def _state(status: InvoiceStatus, seen: bool) -> BillingState:
    if status is InvoiceStatus.VOID:
        return BillingState.VOID
    if status is InvoiceStatus.FINALIZED:
        return BillingState.FINALIZED if seen else BillingState.LATE
    return BillingState.DRAFT if seen else BillingState.NOT_YET_BILLED
