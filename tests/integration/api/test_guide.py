"""The guide's walk from a connection to a paid invoice: its request bodies word for word, its answers as shown."""

from __future__ import annotations

from typing import Any

import httpx

from tests.support.api_catalog import METER, finalized_invoice, guide, guide_plan
from tests.support.api_stack import Stack, Tenant, eventually
from tests.support.sandbox_process import new_account, submit_card, webhook_endpoint


def test_the_guide_is_accepted_word_for_word_and_ends_in_a_paid_invoice(stack: Stack, tenant: Tenant) -> None:
    secret = new_account()
    endpoint = _webhook_endpoint(stack, tenant, secret)
    connection = tenant.make(
        "connections",
        {
            "name": "Stripe",
            "provider_type": "stripe",
            "encrypted_secret_data": {"secret_key": secret, "webhook_secret": endpoint["secret"]},
            "sync_config": {"invoice": {"inbound": False, "outbound": True}},
        },
    )
    assert connection["webhook_url"] == endpoint["url"]
    assert connection["secret_key_last4"] == secret[-4:]

    meter = tenant.make("meters", METER)
    feature = tenant.make("features", guide("features"))
    assert {"name": "API Calls", "key": "api_calls", "feature_type": "metered", "status": "active"}.items() <= (
        feature.items()
    )
    assert feature["meter_id"] == meter["id"]
    plan = tenant.make("plans", guide_plan(feature["id"]))
    assert plan["prices"][0]["price"]["tier_mode"] == "graduated"

    customer = tenant.make("customers", guide("customers"))
    assert customer["id"].startswith("cus_")
    assert (customer["name"], customer["email"], customer["status"]) == (
        "Acme Corporation",
        "billing@acme.com",
        "active",
    )
    stripe_customer = eventually(lambda: _stripe(stack, secret, "customers")["data"])[0]
    assert stripe_customer["email"] == "billing@acme.com"

    setup = tenant.make(f"payments/customers/{customer['id']}/setup/intent", guide("setup_intent"))
    assert setup["status"] == "requires_payment_method"
    assert setup["usage"] == "off_session"
    assert setup["customer_id"] == customer["id"]
    assert setup["checkout_session_id"].startswith("cs_test_")
    assert isinstance(setup["created_at"], int)
    submit_card(setup["checkout_url"])
    eventually(lambda: _default_card(stack, secret, stripe_customer["id"]))

    cards = f"customers/{customer['id']}/payment-methods"
    [card] = tenant.get(cards).json()["items"]
    assert (card["brand"], card["last4"], card["status"], card["is_default"]) == ("visa", "4242", "valid", True)
    assert tenant.make(f"{cards}/{card['id']}/default", None)["is_default"] is True

    ids = {"customer_id": customer["id"], "plan_id": plan["id"]}
    subscription = tenant.make("subscriptions", {**guide("subscriptions"), **ids})
    assert subscription["status"] == "active"
    assert subscription["start_date"] == "2024-01-20T00:00:00Z"
    assert subscription["collection_method"] == "charge_automatically"

    assert tenant.make("events", guide("events"))["event_id"] == "evt_1234567890abcdef"
    stored = tenant.make("events/bulk", guide("events_bulk"))
    assert (stored["status"], stored["accepted"], stored["duplicates"], stored["refused"]) == ("stored", 1, 0, [])
    [row] = tenant.make("events/usage/meter", guide("usage"))["data"]
    assert (row["customer_id"], row["value"]) == ("acme_corp_001", "2")
    assert (row["start_time"], row["end_time"]) == ("2024-01-20T00:00:00Z", "2024-02-20T00:00:00Z")

    made = {"meter": meter, "plan": plan, "subscription": subscription}
    invoice = finalized_invoice(stack, tenant, made, "15420")
    synced = tenant.make(f"invoices/{invoice.id}/sync", None)
    assert synced["stripe_invoice_id"].startswith("in_")
    assert synced["hosted_invoice_url"]
    assert tenant.make(f"invoices/{invoice.id}/sync", None)["stripe_invoice_id"] == synced["stripe_invoice_id"]

    paid = eventually(lambda: _if_paid(tenant, invoice.id))
    assert paid["invoice_status"] == "finalized"
    assert paid["invoice_number"].startswith("INV-")
    assert (paid["total"], paid["amount_due"], paid["amount_paid"]) == ("119.10", "119.10", "119.10")
    assert paid["payment_details"] == {"payment_method": "card", "last4": "4242", "brand": "visa"}
    assert paid["metadata"]["stripe_hosted_invoice_url"] == synced["hosted_invoice_url"]
    assert paid["paid_at"].endswith("Z")
    [line] = paid["line_items"]
    assert (line["price_type"], line["amount"], line["quantity"]) == ("usage", "119.10", "15420")
    assert [(use["up_to"], use["amount"]) for use in line["breakdown"]] == [
        ("1000", "20.00"),
        ("10000", "72.000"),
        (None, "27.100"),
    ]
    [payment] = tenant.get("payments").json()["items"]
    assert payment["payment_status"] == "succeeded"
    [attempt] = eventually(lambda: tenant.get(f"payments/{payment['id']}").json()["attempts"])
    assert (attempt["number"], attempt["status"], attempt["last4"]) == (1, "succeeded", "4242")
    collection = tenant.get(f"invoices/{invoice.id}/collection").json()
    assert (collection["collected_by"], collection["past_due"], collection["tries"]) == ("stripe", False, 1)
    mapped = tenant.get(f"connections/{connection['id']}/mappings", params={"entity": "invoice"}).json()["items"]
    assert [(each["entity_id"], each["provider_id"]) for each in mapped] == [(invoice.id, synced["stripe_invoice_id"])]
    assert tenant.http.delete(f"/api/v1/{cards}/{card['id']}").status_code == 204
    assert tenant.get(cards).json()["items"] == []


def test_the_guides_payment_body_makes_a_link_on_which_the_invoice_is_paid(stack: Stack, tenant: Tenant) -> None:
    secret = new_account()
    endpoint = _webhook_endpoint(stack, tenant, secret)
    credentials = {"secret_key": secret, "webhook_secret": endpoint["secret"]}
    tenant.make("connections", {"name": "Stripe", "provider": "STRIPE", **credentials})
    meter = tenant.make("meters", METER)
    feature = tenant.make("features", guide("features"))
    plan = tenant.make("plans", guide_plan(feature["id"]))
    tenant.make("customers", guide("customers"))
    ids = {"customer_id": "acme_corp_001", "plan_id": "professional_plan"}
    subscription = tenant.make("subscriptions", {**guide("subscriptions"), **ids})
    made = {"meter": meter, "plan": plan, "subscription": subscription}
    # 1000 units at 0.01, the fee of 10, 9000 at 0.008 and 1600 at 0.005: exactly the 100.00 of the guide.
    invoice = finalized_invoice(stack, tenant, made, "11600")

    payment = tenant.make("payments", {**guide("payments"), "destination_id": invoice.id})
    assert (payment["payment_status"], payment["amount"], payment["currency"]) == ("pending", "100.00", "USD")
    submit_card(payment["payment_url"])

    paid = eventually(lambda: _if_paid(tenant, invoice.id))
    assert paid["amount_paid"] == "100.00"
    assert tenant.get(f"payments/{payment['id']}").json()["payment_status"] == "succeeded"


def _if_paid(tenant: Tenant, invoice_id: str) -> dict[str, Any] | None:
    invoice: dict[str, Any] = tenant.get(f"invoices/{invoice_id}").json()
    return invoice if invoice["payment_status"] == "paid" else None


def _webhook_endpoint(stack: Stack, tenant: Tenant, secret: str) -> dict[str, Any]:
    me = tenant.get("me").json()
    url = f"{stack.url}/api/v1/webhooks/stripe/{me['tenant_id']}/{me['environment_id']}"
    return webhook_endpoint(stack.sandbox.url, secret, url)


def _default_card(stack: Stack, secret: str, customer_id: str) -> str | None:
    card: str | None = _stripe(stack, secret, f"customers/{customer_id}")["invoice_settings"]["default_payment_method"]
    return card


def _stripe(stack: Stack, secret: str, path: str) -> dict[str, Any]:
    answer = httpx.get(f"{stack.sandbox.url}/v1/{path}", headers=_stripe_headers(secret), trust_env=False, timeout=60)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _stripe_headers(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}", "Stripe-Version": "2026-10-28.endive"}
