"""Two tenants see nothing of each other, on every route that the document names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support.api_catalog import METER, catalogue, finalized_invoice, guide, guide_plan
from tests.support.api_stack import Stack, Tenant
from tests.support.sandbox_process import new_account

DAY = "2024-01-21T00:00:00Z"
RANGE = f"start_time={DAY}&end_time=2024-02-01T00:00:00Z"


@dataclass(frozen=True)
class Attempt:
    """What a stranger sends to one operation, and which answers give nothing away."""

    path: str
    body: Any = None
    statuses: tuple[int, ...] = (404,)
    headers: tuple[tuple[str, str], ...] = ()


@pytest.fixture(scope="module")
def owner(stack: Stack) -> tuple[Tenant, dict[str, str]]:
    """A tenant with one of everything, and the ids of it."""
    tenant = stack.tenant()
    credentials = {"secret_key": new_account(), "webhook_secret": "whsec_0123456789"}
    connection = tenant.make("connections", {"name": "Stripe", **credentials})
    made = catalogue(tenant)
    invoice = finalized_invoice(stack, tenant, made, "11600")
    payment = tenant.make("payments", {**guide("payments"), "destination_id": invoice.id})
    tenant.make("events", guide("events"))
    run = tenant.make("runs", {"kind": "usage", "first_day": "2024-01-21"})
    ids = {name: thing["id"] for name, thing in made.items()}
    ids["price"] = made["plan"]["prices"][0]["id"]
    grant = {"amount": "1.00", "currency": "USD"}
    ids["grant"] = tenant.make(f"customers/{ids['customer']}/credits", grant)["id"]
    note = {"reason": "Outage", "amount": "0.01"}
    ids["credit_note"] = tenant.make(f"invoices/{invoice.id}/credit-notes", note)["id"]
    ids["tax_rate"] = tenant.make("tax-rates", {"name": "VAT", "percentage": "19"})["id"]
    ids["coupon"] = tenant.make("coupons", {"code": "OFF", "name": "Off", "percent_off": "20"})["id"]
    ids["discount"] = tenant.make("discounts", {"coupon_id": "OFF", "customer_id": ids["customer"]})["id"]
    ids |= {"connection": connection["id"], "invoice": invoice.id, "payment": payment["id"]}
    ids["run"] = run["id"]
    ids["rerate"] = tenant.make("rerates", {"first_day": "2024-01-21"})["id"]
    return tenant, {**ids, "line": invoice.lines[0].id}


def attempts(ids: dict[str, str], tenant: Tenant) -> dict[str, Attempt]:
    """One for every operation of the document; a route without one fails the test below."""
    scope = tenant.scope
    event = {**guide("events"), "customer_id": ids["customer"]}
    return {
        "get_me": Attempt("/api/v1/me", statuses=(200,)),
        "get_environment": Attempt("/api/v1/environment", statuses=(200,)),
        "change_environment": Attempt("/api/v1/environment", {"billing_grace_seconds": 60}, (200,)),
        "create_run": Attempt(
            "/api/v1/runs",
            {"kind": "billing", "first_day": "2024-02-01", "subscription_id": ids["subscription"]},
            (422,),
        ),
        "get_run": Attempt(f"/api/v1/runs/{ids['run']}"),
        "list_runs": Attempt("/api/v1/runs", statuses=(200,)),
        "create_connection": Attempt("/api/v1/connections", {"name": "S", "secret_key": "sk_test_x"}, (422,)),
        "get_connection": Attempt(f"/api/v1/connections/{ids['connection']}"),
        "list_connections": Attempt("/api/v1/connections", statuses=(200,)),
        "change_connection": Attempt(f"/api/v1/connections/{ids['connection']}", {"status": "disabled"}),
        "delete_connection": Attempt(f"/api/v1/connections/{ids['connection']}"),
        "list_mappings": Attempt(f"/api/v1/connections/{ids['connection']}/mappings"),
        "create_meter": Attempt("/api/v1/meters", {**METER, "name": "The stranger's own"}, (201,)),
        "get_meter": Attempt("/api/v1/meters/meter_of_the_owner"),
        "list_meters": Attempt("/api/v1/meters", statuses=(200,)),
        "change_meter": Attempt("/api/v1/meters/meter_of_the_owner", {"name": "Mine"}),
        "archive_meter": Attempt("/api/v1/meters/meter_of_the_owner/archive"),
        "list_meter_versions": Attempt("/api/v1/meters/meter_of_the_owner/versions"),
        "test_meter": Attempt(
            "/api/v1/meters/test", {"meter": "meter_of_the_owner", "events": [guide("events")]}, (422,)
        ),
        "list_unusable_events": Attempt(f"/api/v1/meters/meter_of_the_owner/unusable-events?{RANGE}"),
        "get_arrivals": Attempt(f"/api/v1/meters/meter_of_the_owner/arrivals?{RANGE}"),
        "get_freshness": Attempt("/api/v1/meters/meter_of_the_owner/freshness"),
        "create_feature": Attempt("/api/v1/features", {**guide("features"), "meter_id": "meter_of_the_owner"}, (422,)),
        "get_feature": Attempt(f"/api/v1/features/{ids['feature']}"),
        "list_features": Attempt("/api/v1/features", statuses=(200,)),
        "change_feature": Attempt(f"/api/v1/features/{ids['feature']}", {"name": "Mine"}),
        "archive_feature": Attempt(f"/api/v1/features/{ids['feature']}/archive"),
        "list_feature_versions": Attempt(f"/api/v1/features/{ids['feature']}/versions"),
        "create_plan": Attempt("/api/v1/plans", guide_plan(ids["feature"]), (422,)),
        "get_plan": Attempt(f"/api/v1/plans/{ids['plan']}"),
        "list_plans": Attempt("/api/v1/plans", statuses=(200,)),
        "change_plan": Attempt(f"/api/v1/plans/{ids['plan']}", {"name": "Mine"}),
        "archive_plan": Attempt(f"/api/v1/plans/{ids['plan']}/archive"),
        "list_plan_versions": Attempt(f"/api/v1/plans/{ids['plan']}/versions"),
        "create_price": Attempt(
            "/api/v1/prices", {"plan_id": ids["plan"], "pricing_model": "flat", "amount": "1"}, (422,)
        ),
        "get_price": Attempt(f"/api/v1/prices/{ids['price']}"),
        "list_prices": Attempt("/api/v1/prices", statuses=(200,)),
        "change_price": Attempt(f"/api/v1/prices/{ids['price']}", {"display_name": "Mine"}),
        "archive_price": Attempt(f"/api/v1/prices/{ids['price']}/archive"),
        "list_price_versions": Attempt(f"/api/v1/prices/{ids['price']}/versions"),
        "preview_price": Attempt("/api/v1/prices/preview", {}, (422,)),
        "create_coupon": Attempt("/api/v1/coupons", {"name": "x", "percent_off": "20"}, (422,)),
        "get_coupon": Attempt(f"/api/v1/coupons/{ids['coupon']}"),
        "list_coupons": Attempt("/api/v1/coupons", statuses=(200,)),
        "archive_coupon": Attempt(f"/api/v1/coupons/{ids['coupon']}/archive"),
        "create_discount": Attempt(
            "/api/v1/discounts", {"coupon_id": ids["coupon"], "customer_id": ids["customer"]}, (422,)
        ),
        "get_discount": Attempt(f"/api/v1/discounts/{ids['discount']}"),
        "list_discounts": Attempt("/api/v1/discounts", statuses=(200,)),
        "end_discount": Attempt(f"/api/v1/discounts/{ids['discount']}/end"),
        "grant_credit": Attempt(f"/api/v1/customers/{ids['customer']}/credits", {"amount": "1.00", "currency": "USD"}),
        "get_credits": Attempt(f"/api/v1/customers/{ids['customer']}/credits"),
        "list_credit_movements": Attempt(f"/api/v1/customers/{ids['customer']}/credits/movements"),
        "void_credit": Attempt(f"/api/v1/customers/{ids['customer']}/credits/{ids['grant']}/void"),
        "create_credit_note": Attempt(f"/api/v1/invoices/{ids['invoice']}/credit-notes", {"reason": "x"}),
        "preview_credit_note": Attempt(f"/api/v1/invoices/{ids['invoice']}/credit-notes/preview", {"reason": "x"}),
        "get_credit_note": Attempt(f"/api/v1/credit-notes/{ids['credit_note']}"),
        "list_credit_notes": Attempt("/api/v1/credit-notes", statuses=(200,)),
        "list_late_events": Attempt("/api/v1/late-events", statuses=(200,)),
        "create_rerate": Attempt(
            "/api/v1/rerates", {"first_day": "2024-01-21", "subscription_id": ids["subscription"]}, (422,)
        ),
        "get_rerate": Attempt(f"/api/v1/rerates/{ids['rerate']}"),
        "list_rerates": Attempt("/api/v1/rerates", statuses=(200,)),
        "list_rerate_differences": Attempt(f"/api/v1/rerates/{ids['rerate']}/differences"),
        "apply_rerate": Attempt(f"/api/v1/rerates/{ids['rerate']}/apply", {"person": "Me", "reason": "mine"}),
        "refund_payment": Attempt(f"/api/v1/payments/{ids['payment']}/refunds", {}),
        "void_credit_note": Attempt(f"/api/v1/credit-notes/{ids['credit_note']}/void", {"reason": "x"}),
        "create_tax_rate": Attempt("/api/v1/tax-rates", {"name": "VAT"}, (422,)),
        "get_tax_rate": Attempt(f"/api/v1/tax-rates/{ids['tax_rate']}"),
        "list_tax_rates": Attempt("/api/v1/tax-rates", statuses=(200,)),
        "archive_tax_rate": Attempt(f"/api/v1/tax-rates/{ids['tax_rate']}/archive"),
        "create_customer": Attempt("/api/v1/customers", guide("customers"), (201,)),
        "get_customer": Attempt(f"/api/v1/customers/{ids['customer']}"),
        "list_customers": Attempt("/api/v1/customers", statuses=(200,)),
        "list_payment_methods": Attempt(f"/api/v1/customers/{ids['customer']}/payment-methods", statuses=(404, 409)),
        "choose_payment_method": Attempt(
            f"/api/v1/customers/{ids['customer']}/payment-methods/pm_1/default", statuses=(404, 409)
        ),
        "detach_payment_method": Attempt(
            f"/api/v1/customers/{ids['customer']}/payment-methods/pm_1", statuses=(404, 409)
        ),
        "change_customer": Attempt(f"/api/v1/customers/{ids['customer']}", {"tax_exempt": True}),
        "create_subscription": Attempt(
            "/api/v1/subscriptions", {"customer_id": ids["customer"], "plan_id": ids["plan"]}, (422,)
        ),
        "preview_periods": Attempt("/api/v1/subscriptions/preview", {}, (422,)),
        "get_subscription": Attempt(f"/api/v1/subscriptions/{ids['subscription']}"),
        "show_upcoming_invoice": Attempt(f"/api/v1/subscriptions/{ids['subscription']}/upcoming-invoice"),
        "list_subscription_periods": Attempt(f"/api/v1/subscriptions/{ids['subscription']}/periods"),
        "change_subscription": Attempt(f"/api/v1/subscriptions/{ids['subscription']}", {"metadata": {}}),
        "cancel_subscription": Attempt(f"/api/v1/subscriptions/{ids['subscription']}/cancel"),
        "withdraw_cancellation": Attempt(f"/api/v1/subscriptions/{ids['subscription']}/withdraw-cancellation"),
        "pause_subscription": Attempt(f"/api/v1/subscriptions/{ids['subscription']}/pause"),
        "resume_subscription": Attempt(f"/api/v1/subscriptions/{ids['subscription']}/resume"),
        "change_subscription_plan": Attempt(
            f"/api/v1/subscriptions/{ids['subscription']}/change-plan", {"plan_id": ids["plan"]}, (422,)
        ),
        "list_subscription_changes": Attempt(f"/api/v1/subscriptions/{ids['subscription']}/history"),
        "withdraw_change": Attempt(f"/api/v1/subscriptions/{ids['subscription']}/history/1/withdraw"),
        "list_subscriptions": Attempt("/api/v1/subscriptions", statuses=(200,)),
        "send_event": Attempt("/api/v1/events", event, (422,)),
        "send_events": Attempt("/api/v1/events/bulk", {"events": [event]}, (422,)),
        "list_events": Attempt("/api/v1/events", statuses=(200,)),
        "list_event_conflicts": Attempt("/api/v1/events/conflicts", statuses=(200,)),
        "explain_event": Attempt(f"/api/v1/events/{guide('events')['event_id']}"),
        "void_event": Attempt(f"/api/v1/events/{guide('events')['event_id']}/void", {"reason": "not mine"}),
        "amend_event": Attempt(
            f"/api/v1/events/{guide('events')['event_id']}/amend", {"reason": "not mine", "properties": {}}
        ),
        "query_usage": Attempt(
            "/api/v1/events/usage/meter", {**guide("usage"), "meter_id": "meter_of_the_owner"}, (422,)
        ),
        "query_usage_of_meters": Attempt(
            "/api/v1/events/usage",
            {"meter_ids": ["meter_of_the_owner"], "start_time": DAY, "end_time": "2024-02-01T00:00:00Z"},
            (200,),
        ),
        "get_invoice": Attempt(f"/api/v1/invoices/{ids['invoice']}"),
        "list_invoices": Attempt("/api/v1/invoices", statuses=(200,)),
        "sync_invoice": Attempt(f"/api/v1/invoices/{ids['invoice']}/sync"),
        "create_invoice": Attempt(
            "/api/v1/invoices",
            {"customer_id": ids["customer"], "currency": "USD", "lines": [{"display_name": "x", "amount": "1"}]},
            (422,),
        ),
        "show_invoice": Attempt(f"/api/v1/invoices/{ids['invoice']}/html"),
        "get_collection": Attempt(f"/api/v1/invoices/{ids['invoice']}/collection"),
        "print_invoice": Attempt(f"/api/v1/invoices/{ids['invoice']}/pdf"),
        "change_invoice": Attempt(f"/api/v1/invoices/{ids['invoice']}", {"tax_rate_ids": []}),
        "finalize_invoice": Attempt(f"/api/v1/invoices/{ids['invoice']}/finalize"),
        "void_invoice": Attempt(f"/api/v1/invoices/{ids['invoice']}/void", {"reason": "mine"}),
        "list_gates": Attempt(f"/api/v1/invoices/{ids['invoice']}/gates"),
        "override_gate": Attempt(
            f"/api/v1/invoices/{ids['invoice']}/gates/totals_match_lines/override", {"person": "Me", "reason": "mine"}
        ),
        "explain_line": Attempt(f"/api/v1/invoices/{ids['invoice']}/lines/{ids['line']}/explain"),
        "list_line_events": Attempt(f"/api/v1/invoices/{ids['invoice']}/lines/{ids['line']}/events"),
        "recompute_invoice": Attempt(f"/api/v1/invoices/{ids['invoice']}/recompute"),
        "start_card_setup": Attempt(
            f"/api/v1/payments/customers/{ids['customer']}/setup/intent", guide("setup_intent"), (404, 409)
        ),
        "create_payment": Attempt(
            "/api/v1/payments", {**guide("payments"), "destination_id": ids["invoice"]}, (409, 422)
        ),
        "get_payment": Attempt(f"/api/v1/payments/{ids['payment']}"),
        "list_payments": Attempt("/api/v1/payments", statuses=(200,)),
        "receive_stripe_event": Attempt(
            f"/api/v1/webhooks/stripe/{scope.tenant_id}/{scope.environment_id}",
            {},
            (400,),
            (("Stripe-Signature", "t=1,v1=00"),),
        ),
        "healthz": Attempt("/healthz", statuses=(200,)),
        "readyz": Attempt("/readyz", statuses=(200,)),
    }


def test_two_tenants_see_nothing_of_each_other_on_any_route(stack: Stack, owner: tuple[Tenant, dict[str, str]]) -> None:
    tenant, ids = owner
    tenant.make("meters", {**METER, "id": "meter_of_the_owner"})
    stranger = stack.tenant()
    paths = stranger.http.get("/openapi.json").json()["paths"]
    operations = {
        operation["operationId"]: method.upper() for path in paths.values() for method, operation in path.items()
    }
    planned = attempts(ids, tenant)
    assert operations.keys() == planned.keys(), "every route needs a case here"

    guessable = "meter_api_requests"
    secrets = [
        *(each for each in ids.values() if each != guessable),
        tenant.scope.tenant_id,
        tenant.scope.environment_id,
    ]
    before = _everything(tenant)
    for name, attempt in planned.items():
        answer = stranger.http.request(operations[name], attempt.path, json=attempt.body, headers=dict(attempt.headers))
        assert answer.status_code in attempt.statuses, (name, answer.text)
        if name.startswith("list_") and answer.is_success:
            assert not _foreign(answer), name
        said = answer.text.replace(attempt.path, "")
        assert not [each for each in secrets if each in said], (name, answer.text)
        if operations[name] != "GET":
            assert _everything(tenant) == before, f"{name} changed something of the owner's"


def test_usage_of_a_meter_with_the_same_id_holds_only_ones_own_events(
    stack: Stack, owner: tuple[Tenant, dict[str, str]]
) -> None:
    stranger = stack.tenant()
    stranger.make("meters", METER)
    question = {name: value for name, value in guide("usage").items() if name != "customer_id"}
    assert stranger.make("events/usage/meter", question)["data"] == []
    assert owner[0].make("events/usage/meter", question)["data"] != []


def _foreign(answer: httpx.Response) -> list[Any]:
    """Items of a list that the stranger has not made in this test."""
    own = {"The stranger's own", "Acme Corporation"}
    return [item for item in answer.json()["items"] if item.get("name") not in own]


def _everything(tenant: Tenant) -> list[Any]:
    lists = (
        "connections",
        "meters",
        "features",
        "plans",
        "prices",
        "customers",
        "subscriptions",
        "invoices",
        "payments",
        "runs",
        "environment",
    )
    event = tenant.get(f"events/{guide('events')['event_id']}").json()["events"]
    return [event, *(tenant.get(name).json() for name in lists)]
