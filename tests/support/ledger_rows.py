"""Builders of ledger rows with plain defaults; a test overrides only what it is about."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from billing.invoice import LineDraft
from billing.line_adjustment import AdjustmentCause, AdjustmentState, Treatment
from billing.meter import Meter, parse_definition
from billing.period import Period
from billing.price import parse_price
from billing.scope import Scope
from ledger.secretbox import SecretBox, Secrets
from ledger.store import connections, customers, features, invoices, meters, plans, rerates, subscriptions, tenants
from ledger.store.event_corrections import CorrectionRecord
from ledger.store.invoices import LineRecord
from ledger.store.line_adjustments import AdjustmentRecord
from ledger.store.quantities import QuantityRecord
from ledger.store.rerates import DifferenceRecord, RerateRecord

NOW = datetime(2026, 1, 20, 12, tzinfo=UTC)
JANUARY = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
FEBRUARY = Period(datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC))
FERNET_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
BOX = SecretBox({"k1": FERNET_KEY}, "k1")
SECRETS = Secrets("sk_test_0123456789abcdefWXYZ", ("whsec_newest_AAAA", "whsec_older_BBBB"))


def a_scope(session: Session, tenant: str = "Acme Cloud", environment: str = "production", kind: str = "test") -> Scope:
    """An environment, in the tenant of that name."""
    found = tenants.find_tenant(session, tenant) or tenants.create_tenant(session, tenant, NOW)
    return tenants.create_environment(session, found.id, environment, kind, "UTC", NOW).scope


def a_customer(
    session: Session, scope: Scope, external_id: str | None = "acme", **other: Any
) -> customers.CustomerRecord:
    return customers.create_customer(session, scope, name="Acme", external_id=external_id, **{"now": NOW, **other})


def a_meter(session: Session, scope: Scope, meter_id: str | None = "meter_requests") -> Meter:
    definition = parse_definition({"name": "Requests", "event_name": "request", "aggregation": {"type": "count"}})
    return meters.create_meter(session, scope, definition, meter_id, NOW)


def a_plan(
    session: Session, scope: Scope, key: str = "pro", meter_id: str | None = "meter_requests"
) -> plans.PlanRecord:
    """A monthly plan in USD: 10.00 flat, and 0.01 for each request of a new feature and meter."""
    a_meter(session, scope, meter_id)
    feature = features.create_feature(
        session, scope, name="Requests", key=f"{key}_requests", feature_type="metered", meter_id=meter_id, now=NOW
    )
    flat = parse_price({"pricing_model": "flat", "amount": "10.00"})
    usage = parse_price({"pricing_model": "per_unit", "unit_price": "0.01"})
    return plans.create_plan(
        session,
        scope,
        name="Pro",
        key=key,
        billing_period="monthly",
        interval="P1M",
        currency="USD",
        prices=[plans.NewPrice(None, "Pro plan", flat), plans.NewPrice(feature.id, "Requests", usage)],
        now=NOW,
    )


def a_subscription(session: Session, scope: Scope, **other: Any) -> subscriptions.SubscriptionRecord:
    """A customer `acme` on a plan `pro` since 1 January 2026; both are made unless named."""
    defaults: dict[str, Any] = {"start_date": JANUARY.start, "timezone": "UTC", "now": NOW}
    if "customer_id" not in other:
        defaults["customer_id"] = a_customer(session, scope).id
    if "plan_id" not in other:
        defaults["plan_id"] = a_plan(session, scope).id
    return subscriptions.create_subscription(session, scope, **{**defaults, **other})


def a_line(price_id: str, key: str = "fixed", amount: str = "10.00", **other: Any) -> LineDraft:
    """A fixed line in January."""
    defaults: dict[str, Any] = {
        "key": key,
        "display_name": "Pro plan",
        "price_type": "fixed",
        "quantity": Decimal(1),
        "amount": Decimal(amount),
        "unrounded": Decimal(amount),
        "period": JANUARY,
        "price_id": price_id,
        "price_version": 1,
        "meter_id": None,
        "meter_version": None,
        "breakdown": (),
        "watermark": None,
        "quantity_hash": None,
    }
    return LineDraft(**{**defaults, **other})


def a_draft(session: Session, scope: Scope, period: Period = JANUARY, **other: Any) -> invoices.InvoiceRecord:
    """An empty draft of a subscription, which is made unless given as `subscription`."""
    subscription = other.get("subscription") or a_subscription(session, scope)
    return invoices.ensure_draft(session, scope, subscription, period, NOW)


def priced(
    session: Session, scope: Scope, invoice_id: str, amount: str = "10.00", inputs_hash: str = "h1"
) -> invoices.InvoiceRecord:
    """The draft of a subscription with one line of `amount`, under its plan's first price."""
    draft = invoices.get_invoice(session, scope, invoice_id)
    subscription = subscriptions.get_subscription(session, scope, draft.subscription_id or "")
    price = plans.get_plan(session, scope, subscription.plan_id).prices[0]
    lines = [a_line(price.id, amount=amount)]
    return invoices.replace_lines(session, scope, invoice_id, lines, inputs_hash, NOW, "1.0", NOW)


def a_correction(**other: Any) -> CorrectionRecord:
    """An event of acme in January is voided, and the warehouse does not know it yet."""
    defaults: dict[str, Any] = {
        "id": "cor_1",
        "event_key": "key_1",
        "event_id": "evt_1",
        "action": "void",
        "reason": "a load test",
        "actor": "key_1",
        "customer_id": "acme",
        "timestamp": JANUARY.start,
        "event": "{}",
        "corrected_customer_id": None,
        "corrected_timestamp": None,
        "corrected": None,
        "requested_at": NOW,
        "applied_at": None,
    }
    return CorrectionRecord(**{**defaults, **other})


def a_quantity(subscription_id: str, plan: plans.PlanRecord, **other: Any) -> QuantityRecord:
    """15420 requests in January under the plan's second price."""
    defaults: dict[str, Any] = {
        "subscription_id": subscription_id,
        "period_start": JANUARY.start,
        "period_end": JANUARY.end,
        "segment_start": other.get("period_start", JANUARY.start),
        "segment_end": JANUARY.end,
        "price_id": plan.prices[1].id,
        "price_version": 1,
        "meter_id": "meter_requests",
        "meter_version": 1,
        "quantity": Decimal(15420),
        "events": 15420,
        "quantity_hash": "q1",
        "watermark": NOW,
        "builds": {"2026-01-01": 3},
        "computed_at": NOW,
    }
    return QuantityRecord(**{**defaults, **other})


def an_adjustment(line: LineRecord, invoice: invoices.InvoiceRecord, **other: Any) -> AdjustmentRecord:
    """1.00 more than the 10.00 that a line was billed with, for three events that were late."""
    defaults: dict[str, Any] = {
        "id": "adj_1",
        "display_name": "Requests, adjustment",
        "period": line.period,
        "price_id": line.price_id,
        "price_version": 1,
        "meter_id": "meter_requests",
        "meter_version": 1,
        "quantity_before": Decimal(100),
        "quantity": Decimal(103),
        "billed": Decimal("10.00"),
        "due": Decimal("11.00"),
        "watermark": NOW,
        "quantity_hash": "q2",
        "customer_id": invoice.customer_id,
        "subscription_id": invoice.subscription_id,
        "invoice_id": invoice.id,
        "line_id": line.id,
        "sequence": 1,
        "cause": AdjustmentCause.LATE_EVENTS,
        "seen_before": JANUARY.end,
        "events": 3,
        "treatment": Treatment.NEXT_INVOICE,
        "held_because": None,
        "person": None,
        "reason": None,
        "carried_by": None,
        "credit_note_id": None,
        "state": AdjustmentState.PENDING,
        "created_at": NOW,
    }
    return AdjustmentRecord(**{**defaults, **other})


def a_rerate(session: Session, scope: Scope, invoice: invoices.InvoiceRecord, line: LineRecord) -> RerateRecord:
    """One that is at work until NOW, and has found that a line comes to 1.00 more."""
    asked = rerates.create_rerate(
        session,
        scope,
        first_day=NOW.date(),
        last_day=NOW.date(),
        customer_id=None,
        subscription_id=None,
        meter_id=None,
        price_versions={},
        prices_at=None,
        requested_by="me",
        now=NOW,
    )
    rerates.lease(session, scope, asked, NOW)
    found = DifferenceRecord(
        position=1,
        invoice_id=invoice.id,
        invoice_number=invoice.number,
        line_id=line.id,
        customer_id="acme",
        subscription_id=invoice.subscription_id or "",
        display_name="Requests",
        period=line.period,
        price_id=line.price_id or "",
        billed_version=1,
        price_version=1,
        billed_quantity=Decimal(100),
        quantity=Decimal(103),
        currency="USD",
        billed=Decimal("10.00"),
        due=Decimal("11.00"),
    )
    rated: dict[str, Any] = {"invoices": 1, "lines": 1, "failures": [], "watermark": NOW, "finished_at": None}
    after = (invoice.period.end, invoice.id)
    assert rerates.add_rated(session, scope, asked.id, NOW, differences=[found], after=after, **rated)
    found_again = rerates.get_rerate(session, scope, asked.id)
    rerates.lease(session, scope, found_again, NOW)
    return rerates.get_rerate(session, scope, asked.id)


def a_connection(session: Session, scope: Scope, **other: Any) -> connections.ConnectionRecord:
    defaults: dict[str, Any] = {
        "name": "Stripe",
        "provider": "stripe",
        "livemode": False,
        "sync_config": {"invoice": {"inbound": False, "outbound": True}},
        "sealed": BOX.seal(scope, SECRETS),
        "now": NOW,
    }
    return connections.create_connection(session, scope, **{**defaults, **other})


def later(**delta: float) -> datetime:
    """NOW plus a while."""
    return NOW + timedelta(**delta)
