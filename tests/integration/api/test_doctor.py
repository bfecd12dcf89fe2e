"""`tally doctor` and `tally reconcile` against the running service: red says what to do, and goes when it is done."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from tests.support.api_catalog import catalogue, finalized_invoice, guide
from tests.support.api_stack import Stack, Tenant, eventually
from tests.support.sandbox_process import new_account, submit_card, webhook_endpoint


@pytest.fixture
def environment(stack: Stack, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Tenant:
    for name, value in {**stack.environment, "TALLY_API_KEY": tenant.key, "TALLY_PUBLIC_URL": stack.url}.items():
        monkeypatch.setenv(name, value)
    return tenant


def tally(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)


def levels(result: Result) -> dict[str, str]:
    return {each["check"]: each["level"] for each in findings(result)}


def findings(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    return found


def test_without_a_connection_the_checklist_is_red_and_each_point_names_the_way_out(environment: Tenant) -> None:
    looked = tally("doctor")
    assert looked.exit_code == 1
    assert levels(looked)["Stripe connection"] == "red"
    assert levels(looked)["API"] == "green"
    assert all(each["way_out"] for each in findings(looked) if each["level"] != "green")


def test_the_checklist_turns_green_point_by_point_and_both_sides_agree(stack: Stack, environment: Tenant) -> None:
    secret = new_account()
    connection = environment.make("connections", {"name": "Stripe", "secret_key": secret})
    looked = levels(tally("doctor"))
    assert (looked["webhook endpoint"], looked["webhook secret"]) == ("red", "red")

    endpoint = webhook_endpoint(stack.sandbox.url, secret, connection["webhook_url"])
    path = f"/api/v1/connections/{connection['id']}"
    assert environment.http.patch(path, json={"webhook_secret": endpoint["secret"]}).is_success
    made = catalogue(environment)
    setup = environment.make(f"payments/customers/{made['customer']['id']}/setup/intent", guide("setup_intent"))
    submit_card(setup["checkout_url"])
    cards = f"customers/{made['customer']['id']}/payment-methods"
    eventually(lambda: any(each["is_default"] for each in environment.get(cards).json()["items"]))
    environment.make("events", {**guide("events"), "timestamp": datetime.now(UTC).isoformat()})
    invoice = finalized_invoice(stack, environment, made, "11600")
    environment.make(f"invoices/{invoice.id}/sync", None)
    eventually(lambda: environment.get(f"invoices/{invoice.id}").json()["payment_status"] == "paid")

    done = tally("doctor")
    assert done.exit_code == 0, done.stdout
    amber = {name for name, level in levels(done).items() if level == "amber"}
    # A test key in a test environment, with every right, and nobody who watches or answers.
    assert amber == {"environment", "Stripe connection", "rights of the key", "alerting", "customer support"}
    assert secret not in done.stdout
    said = {each["check"]: each["detail"] for each in findings(done)}
    assert said["invoices and their sync"] == "invoices at Stripe: 1"

    reconciled = tally("reconcile")
    assert (reconciled.exit_code, json.loads(reconciled.stdout)["differences"]) == (0, [])
