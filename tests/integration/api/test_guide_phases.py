"""The guide, phase by phase and body by body, against the running service: its seven phases, its five error scenarios,
its webhook security, and its checklist at the end. Only the billing day is run from here, by the pipeline's own steps:
what else is asked and seen goes through the API, Stripe's API and the command."""

import json
from contextlib import closing
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app
from pipelines.day_range import partition_tags, window_of_tags
from pipelines.steps.chosen import Chosen
from pipelines.steps.collect_quantities import collect_quantities
from pipelines.steps.draft_invoices import draft_invoices
from pipelines.steps.finalize_invoices import finalize_invoices
from pipelines.steps.gate_quantities import gate_quantities
from pipelines.steps.gate_totals import gate_totals
from pipelines.steps.price_invoices import price_invoices
from pipelines.steps.roll_up_usage import roll_up_usage
from tests.support.api_catalog import METER, guide, guide_plan
from tests.support.api_stack import Stack, Tenant, eventually
from tests.support.sandbox_process import new_account, submit_card, webhook_endpoint
from warehouse_sql.client import Warehouse

ALWAYS_DECLINES = "4000 0000 0000 0341"
# What the guide counts in its period, and what its plan makes of it: 10.00, 1000 at 0.01, 9000 at 0.008, 5420 at 0.005.
USAGE, TOTAL = 15420, "119.10"


class Person:
    """Somebody with an API key, an account at Stripe, and the command line."""

    def __init__(self, stack: Stack, tenant: Tenant) -> None:
        self.stack, self.tenant = stack, tenant
        self.url, self.stripe_key = stack.url, new_account()
        self.sandbox = stack.sandbox.control(self.stripe_key)

    def get(self, path: str, **query: str) -> dict[str, Any]:
        answer = self.tenant.get(path, params=query)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def make(self, path: str, body: Any = None) -> dict[str, Any]:
        return self.tenant.make(path, body)

    def tally(self, *words: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.stdout
        return dict(json.loads(done.stdout))

    def bills(self, day: date) -> None:
        """The usage of the guide's day and the invoices of a billing day, of this environment alone."""
        now, chosen = datetime.now(UTC), Chosen(self.tenant.scope.tenant_id, self.tenant.scope.environment_id)
        ledger, settings = self.stack.ledger, self.stack.environment
        names = ("URL", "USER", "PASSWORD", "DATABASE")
        with closing(Warehouse(*(settings[f"TALLY_WAREHOUSE_{name}"] for name in names))) as warehouse:
            start, end = window_of_tags(partition_tags(date(2024, 1, 21), date(2024, 1, 21)))
            roll_up_usage(ledger, warehouse, start, end, now, chosen)
            start, end = window_of_tags(partition_tags(day, day))
            collect_quantities(ledger, warehouse, start, end, now, chosen)
            gate_quantities(ledger, warehouse, start, end, now, chosen)
            draft_invoices(ledger, start, end, now, chosen)
            price_invoices(ledger, start, end, now, "test", chosen)
            gate_totals(ledger, start, end, now, chosen)
            finalize_invoices(ledger, start, end, now, chosen)

    def stripe(self, method: str, path: str, **form: str) -> dict[str, Any]:
        """What the account at Stripe holds, or somebody does there."""
        headers = {"Authorization": f"Bearer {self.stripe_key}"}
        sent = {"params": form} if method == "GET" else {"data": form}
        answer = httpx.request(
            method, f"{self.stack.sandbox.url}/v1/{path}", headers=headers, trust_env=False, timeout=60, **sent
        )
        assert answer.is_success, answer.text
        return dict(answer.json())

    def charged(self) -> list[int]:
        found = self.stripe("GET", "charges", limit="100")["data"]
        return [charge["amount"] for charge in found if charge["status"] == "succeeded"]

    def paid(self, invoice_id: str) -> dict[str, Any]:
        """The invoice, once the webhook has told that it is paid."""

        def look() -> dict[str, Any] | None:
            found = self.get(f"invoices/{invoice_id}")
            return found if found["payment_status"] == "paid" else None

        return eventually(look, 60)

    def saves_card(self, customer_id: str, number: str = "4242 4242 4242 4242") -> dict[str, Any]:
        setup = self.make(f"payments/customers/{customer_id}/setup/intent", guide("setup_intent"))
        assert submit_card(setup["checkout_url"], card_number=number).status_code == 303
        last4 = number[-4:]

        def is_default() -> bool:
            cards = self.get(f"customers/{customer_id}/payment-methods")["items"]
            return any(card["is_default"] and card["last4"] == last4 for card in cards)

        eventually(is_default, 60)
        return setup

    def owes(self, customer_id: str) -> str:
        """An invoice of 50.00 by hand, final and on its way to Stripe."""
        line = {"display_name": "Onboarding", "amount": "50.00"}
        draft = self.make("invoices", {"customer_id": customer_id, "currency": "USD", "lines": [line]})
        return str(self.make(f"invoices/{draft['id']}/finalize")["id"])


@pytest.fixture
def person(stack: Stack, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Person:
    for name, value in {**stack.environment, "TALLY_API_KEY": tenant.key, "TALLY_PUBLIC_URL": stack.url}.items():
        monkeypatch.setenv(name, value)
    return Person(stack, tenant)


def test_the_guide_from_the_connection_to_the_checklist(person: Person) -> None:
    connection = phase_1_the_connection(person)
    feature, plan = phase_2_the_catalog(person)
    customer = phase_3_the_customer_and_a_card(person)
    subscription = phase_4_the_subscription(person, customer, plan)
    phase_5_usage(person)
    invoice_id = phase_6_the_invoice_at_stripe(person, connection, subscription)
    phase_7_the_payment(person, invoice_id, feature)

    a_customer_who_exists_at_stripe_is_used(person, connection)
    an_invoice_that_is_synced_is_skipped(person, invoice_id)
    without_a_card_the_payment_names_what_is_missing(person)
    a_declined_card_is_retried_by_stripe(person)
    a_webhook_with_a_bad_signature_is_refused(person)

    findings = person.tally("doctor")["findings"]
    assert [each["check"] for each in findings if each["level"] == "red"] == []
    assert person.tally("reconcile")["differences"] == []


def phase_1_the_connection(person: Person) -> dict[str, Any]:
    me = person.get("me")
    url = f"{person.url}/api/v1/webhooks/stripe/{me['tenant_id']}/{me['environment_id']}"
    secret = webhook_endpoint(person.stack.sandbox.url, person.stripe_key, url)["secret"]
    connection = person.make(
        "connections",
        {
            "name": "Stripe",
            "provider_type": "stripe",
            "encrypted_secret_data": {"secret_key": person.stripe_key, "webhook_secret": secret},
            "sync_config": {
                "invoice": {"inbound": False, "outbound": True},
                "subscription": {"inbound": True, "outbound": True},
            },
        },
    )
    assert (connection["webhook_url"], connection["secret_key_last4"]) == (url, person.stripe_key[-4:])
    return connection


def phase_2_the_catalog(person: Person) -> tuple[dict[str, Any], dict[str, Any]]:
    person.make("meters", METER)
    feature = person.make("features", guide("features"))
    assert {"name": "API Calls", "key": "api_calls", "feature_type": "metered", "status": "active"}.items() <= (
        feature.items()
    )
    plan = person.make("plans", guide_plan(feature["id"]))
    [product] = eventually(lambda: person.stripe("GET", "products")["data"], 60)
    assert (product["name"], product["metadata"]["tallyhouse_plan_id"]) == ("Professional Plan", plan["id"])
    [price] = eventually(lambda: person.stripe("GET", "prices", **{"expand[]": "data.tiers"})["data"], 60)
    assert [(tier["up_to"], tier["unit_amount_decimal"], tier["flat_amount"]) for tier in price["tiers"]] == [
        (1000, "1", 1000),
        (10000, "0.8", None),
        (None, "0.5", None),
    ]
    return feature, plan


def phase_3_the_customer_and_a_card(person: Person) -> dict[str, Any]:
    customer = person.make("customers", guide("customers"))
    shown = {"name": "Acme Corporation", "email": "billing@acme.com", "status": "active"}
    assert shown.items() <= customer.items()
    [there] = eventually(lambda: person.stripe("GET", "customers")["data"], 60)
    assert (there["email"], there["metadata"]["customer_id"]) == ("billing@acme.com", "acme_corp_001")
    setup = person.saves_card(customer["id"])
    assert set(setup) >= {"setup_intent_id", "checkout_session_id", "checkout_url", "created_at", "expires_at"}
    assert (setup["status"], setup["usage"]) == ("requires_payment_method", "off_session")
    assert setup["customer_id"] == customer["id"]
    return customer


def phase_4_the_subscription(person: Person, customer: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    ids = {"customer_id": customer["id"], "plan_id": plan["id"]}
    subscription = person.make("subscriptions", {**guide("subscriptions"), **ids})
    shown = {**ids, "status": "active", "collection_method": "charge_automatically"}
    assert shown.items() <= subscription.items()
    [mirror] = eventually(lambda: person.stripe("GET", "subscriptions")["data"], 60)
    assert mirror["metadata"]["tallyhouse_subscription_id"] == subscription["id"]
    assert [item["price"]["unit_amount"] for item in mirror["items"]["data"]] == [0]
    return subscription


def phase_5_usage(person: Person) -> None:
    assert person.make("events", guide("events"))["event_id"] == "evt_1234567890abcdef"
    assert person.make("events/bulk", guide("events_bulk"))["accepted"] == 1
    [event] = guide("events_bulk")["events"]
    more = [{**event, "event_id": f"evt_more_{number}"} for number in range(USAGE - 2)]
    for start in range(0, len(more), 1000):
        stored = person.make("events/bulk", {"events": more[start : start + 1000]})
        assert stored["refused"] == []
    [row] = person.make("events/usage/meter", guide("usage"))["data"]
    assert (row["customer_id"], row["value"]) == ("acme_corp_001", str(USAGE))


def phase_6_the_invoice_at_stripe(person: Person, connection: dict[str, Any], subscription: dict[str, Any]) -> str:
    person.bills(date(2024, 2, 20))
    [invoice] = person.get("invoices", subscription_id=subscription["id"])["items"]
    assert (invoice["invoice_status"], invoice["total"]) == ("finalized", TOTAL)
    synced = person.make(f"invoices/{invoice['id']}/sync")
    assert synced["stripe_invoice_id"].startswith("in_")
    assert synced["payment_intent_id"].startswith("pi_")
    assert synced["hosted_invoice_url"]
    assert synced["invoice_pdf"]
    there = person.stripe("GET", f"invoices/{synced['stripe_invoice_id']}")
    assert (there["total"], there["metadata"]["tallyhouse_invoice_id"]) == (11910, invoice["id"])
    mapped = person.get(f"connections/{connection['id']}/mappings", entity="invoice")["items"]
    assert [each["provider_id"] for each in mapped] == [synced["stripe_invoice_id"]]
    return str(invoice["id"])


def phase_7_the_payment(person: Person, invoice_id: str, feature: dict[str, Any]) -> None:
    paid = person.paid(invoice_id)
    assert paid["payment_details"] == {"payment_method": "card", "last4": "4242", "brand": "visa"}
    assert (paid["amount_due"], paid["amount_paid"]) == (TOTAL, TOTAL)
    assert paid["paid_at"].endswith("Z")
    assert paid["invoice_number"].startswith("INV-")
    [line] = paid["line_items"]
    assert (line["display_name"], line["quantity"]) == (feature["name"], str(USAGE))
    assert [(use["up_to"], use["amount"]) for use in line["breakdown"]] == [
        ("1000", "20.00"),
        ("10000", "72.000"),
        (None, "27.100"),
    ]
    assert person.charged() == [11910]


def a_customer_who_exists_at_stripe_is_used(person: Person, connection: dict[str, Any]) -> None:
    there = person.stripe("POST", "customers", name="Globex", email="billing@globex.com")
    globex = {"name": "Globex", "email": "billing@globex.com", "customer_id": "globex"}
    ours = person.make("customers", globex)

    def mapped() -> str | None:
        query = {"entity": "customer", "entity_id": ours["id"]}
        found = person.get(f"connections/{connection['id']}/mappings", **query)["items"]
        return found[0]["provider_id"] if found else None

    assert eventually(mapped, 60) == there["id"]
    assert len(person.stripe("GET", "customers", email="billing@globex.com")["data"]) == 1


def an_invoice_that_is_synced_is_skipped(person: Person, invoice_id: str) -> None:
    first = person.make(f"invoices/{invoice_id}/sync")
    assert person.make(f"invoices/{invoice_id}/sync")["stripe_invoice_id"] == first["stripe_invoice_id"]
    billed = [each for each in person.stripe("GET", "invoices", limit="100")["data"] if each["total"]]
    assert len(billed) == 1


def without_a_card_the_payment_names_what_is_missing(person: Person) -> None:
    invoice_id = person.owes("globex")

    def failed() -> dict[str, Any] | None:
        [*found] = person.get("payments", invoice_id=invoice_id)["items"]
        return found[0] if found and found[0]["payment_status"] == "failed" else None

    payment = eventually(failed, 60)
    assert payment["failure_code"] == "payment_method_missing"
    assert person.get(f"invoices/{invoice_id}/collection")["past_due"] is True
    link = {**guide("payments"), "destination_id": invoice_id, "amount": "50.00", "save_card_and_make_default": False}
    assert submit_card(person.make("payments", link)["payment_url"]).status_code == 303
    person.paid(invoice_id)
    assert person.charged() == [5000, 11910]


def a_declined_card_is_retried_by_stripe(person: Person) -> None:
    customer = person.make("customers", {"name": "Initech", "email": "billing@initech.com", "customer_id": "initech"})
    person.saves_card(customer["id"], ALWAYS_DECLINES)
    invoice_id = person.owes("initech")
    view = f"invoices/{invoice_id}/collection"
    declined = eventually(lambda: found if (found := person.get(view))["attempts"] else None, 60)
    assert (declined["collected_by"], declined["past_due"], declined["tries"]) == ("stripe", True, 1)
    assert declined["next_attempt_at"] is not None
    person.saves_card(customer["id"])
    person.sandbox.call("POST", "/clock", {"advance": 3 * 86400 + 60})
    person.paid(invoice_id)
    assert person.charged() == [5000, 5000, 11910]


def a_webhook_with_a_bad_signature_is_refused(person: Person) -> None:
    me = person.get("me")
    before = str(person.tally("webhooks", "list"))
    forged = json.dumps({"id": "evt_forged", "object": "event", "type": "invoice.paid", "data": {"object": {}}})
    at = int(datetime.now(UTC).timestamp())
    refused = httpx.post(
        f"{person.url}/api/v1/webhooks/stripe/{me['tenant_id']}/{me['environment_id']}",
        content=forged,
        headers={"Stripe-Signature": f"t={at},v1={'0' * 64}"},
        trust_env=False,
        timeout=60,
    )
    assert refused.status_code == 400
    assert "evt_forged" not in refused.text
    assert "evt_forged" not in before + str(person.tally("webhooks", "list"))
