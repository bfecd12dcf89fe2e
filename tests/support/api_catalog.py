"""A small catalogue made through the API, and an invoice in the ledger, for tests that need something to look at."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from billing.invoice import LineDraft
from billing.price import parse_price
from billing.rating import rate
from ledger.store import invoices, subscriptions
from ledger.store.invoices import InvoiceRecord
from tests.support.api_stack import Stack, Tenant

METER: dict[str, Any] = {
    "id": "meter_api_requests",
    "name": "API requests",
    "event_name": "api.request",
    "aggregation": {"type": "count"},
}


def guide(name: str) -> dict[str, Any]:
    """A request body of the guide, word for word."""
    bodies = json.loads((Path(__file__).parents[1] / "data" / "guide" / "bodies.json").read_text())
    body: dict[str, Any] = bodies[name]
    return body


def guide_plan(feature_id: str) -> dict[str, Any]:
    """The guide's plan for a feature that exists."""
    plan = guide("plans")
    plan["prices"][0]["feature_id"] = feature_id
    return plan


def catalogue(tenant: Tenant) -> dict[str, dict[str, Any]]:
    """The guide's meter, feature, plan, customer and subscription, as the API answered them."""
    meter = tenant.make("meters", METER)
    feature = tenant.make("features", guide("features"))
    plan = tenant.make("plans", guide_plan(feature["id"]))
    customer = tenant.make("customers", guide("customers"))
    ids = {"customer_id": customer["id"], "plan_id": plan["id"]}
    subscription = tenant.make("subscriptions", {**guide("subscriptions"), **ids})
    return {"meter": meter, "feature": feature, "plan": plan, "customer": customer, "subscription": subscription}


def finalized_invoice(stack: Stack, tenant: Tenant, made: dict[str, dict[str, Any]], quantity: str) -> InvoiceRecord:
    """A finalized invoice over the subscription's first period, priced with its plan."""
    now = datetime.now(UTC)
    price = made["plan"]["prices"][0]
    rated = rate(parse_price(price["price"]), Decimal(quantity), "USD")
    with stack.ledger.begin() as session:
        subscription = subscriptions.get_subscription(session, tenant.scope, made["subscription"]["id"])
        period = subscription.schedule().period_at(subscription.start_date)
        draft = invoices.ensure_draft(session, tenant.scope, subscription, period, now)
        line = LineDraft(
            key=f"price:{price['id']}",
            display_name=price["display_name"],
            price_type="usage",
            quantity=Decimal(quantity),
            amount=rated.total,
            unrounded=rated.unrounded,
            period=period,
            price_id=price["id"],
            price_version=1,
            meter_id=made["meter"]["id"],
            meter_version=1,
            breakdown=rated.breakdown,
            watermark=now,
            quantity_hash="0" * 64,
        )
        invoices.replace_lines(session, tenant.scope, draft.id, [line], "1" * 64, now, "test", now)
        return invoices.finalize(session, tenant.scope, draft.id, now)
