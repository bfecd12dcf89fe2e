"""The guide's payment body, word for word, on a plan that comes to its amount."""

from __future__ import annotations

from typing import Any

from tests.support.api_catalog import METER, finalized_invoice, guide, guide_plan
from tests.support.api_stack import Stack, Tenant, eventually
from tests.support.sandbox_process import new_account, submit_card, webhook_endpoint


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
