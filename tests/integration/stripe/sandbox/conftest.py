"""One sandbox for all tests of this folder, an account of its own for each; every exchange must conform to Stripe's
document, so each test also proves that for what it did."""

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from tests.contract import contract
from tests.support.sandbox_process import Control, SandboxProcess, new_account, running_sandbox, submit_card
from tests.support.webhook_receiver import Receiver, webhook_receiver

EXPECT_REFUSAL = {"Sandbox-Expect-Refusal": "1"}


def plain(value: Any) -> dict[str, Any]:
    """A Stripe object as a dict."""
    return dict(value.to_dict())


class Account:
    """A test's own Stripe account: the official client, the control paths, and steps that many tests begin with."""

    def __init__(self, sandbox: SandboxProcess, key: str | None = None, retries: int = 0) -> None:
        self.sandbox = sandbox
        self.key = key or new_account()
        self.client = stripe.StripeClient(self.key, base_addresses={"api": sandbox.url}, max_network_retries=retries)
        # Tests send what the typed parameters would not let them.
        self.v1: Any = self.client.v1
        self.control: Control = sandbox.control(self.key)
        self.count = 0

    def once(self, name: str | None = None) -> Any:
        """Options with an idempotency key; a new one each time unless named."""
        self.count += 1
        return {"idempotency_key": f"test:{name or self.count}"}

    def refused(self, name: str | None = None) -> Any:
        """Options of a call that is sent wrongly on purpose."""
        return {**self.once(name), "headers": EXPECT_REFUSAL}

    def customer(self, **params: Any) -> Any:
        return self.v1.customers.create({"name": "Acme", "email": "a@acme.test", **params}, self.once())

    def customer_with_card(self, card: str = "pm_card_visa") -> Any:
        """A customer whose default for invoices is this test card."""
        customer = self.customer()
        method = self.v1.payment_methods.attach(card, {"customer": customer.id}, self.once())
        return self.v1.customers.update(
            customer.id, {"invoice_settings": {"default_payment_method": method.id}}, self.once()
        )

    def draft(self, customer: str, *amounts: int, **params: Any) -> Any:
        """A draft invoice with a line for each amount."""
        made = self.v1.invoices.create(
            {"customer": customer, "currency": "usd", "auto_advance": False, **params},
            self.once(),
        )
        if not amounts:
            return made
        lines: list[Any] = [{"amount": amount, "description": f"Line of {amount}"} for amount in amounts]
        return self.v1.invoices.add_lines(made.id, {"lines": lines}, self.once())

    def open_invoice(self, customer: str, *amounts: int, **params: Any) -> Any:
        made = self.draft(customer, *amounts, **params)
        return self.v1.invoices.finalize_invoice(made.id, {"auto_advance": False}, self.once())

    def paid_invoice(self, customer: str, *amounts: int) -> Any:
        made = self.open_invoice(customer, *amounts)
        return self.v1.invoices.pay(made.id, {"off_session": True}, self.once())

    def intent_of(self, invoice: str) -> Any:
        """The invoice's PaymentIntent with its latest charge."""
        found = self.v1.invoice_payments.list(
            {"invoice": invoice, "expand": ["data.payment.payment_intent.latest_charge"]}
        )
        return found.data[0].payment.payment_intent

    def setup_session(self, customer: str, **params: Any) -> Any:
        return self.v1.checkout.sessions.create(
            {
                "mode": "setup",
                "customer": customer,
                "currency": "usd",
                "success_url": "http://127.0.0.1:9/ok",
                **params,
            },
            self.once(),
        )

    def event_types(self, **params: Any) -> list[str]:
        """Oldest first."""
        found = self.v1.events.list({"limit": 100, **params})
        return [event.type for event in found.data][::-1]

    def endpoint(self, url: str, *types: str) -> Any:
        events: Any = list(types) or ["*"]
        return self.v1.webhook_endpoints.create(
            {"url": url, "enabled_events": events, "api_version": "2026-10-28.endive"}, self.once()
        )

    def findings(self) -> list[str]:
        """Everything in this account's exchanges and events that Stripe's document does not allow."""
        for _ in self.v1.events.list({"limit": 100}).auto_paging_iter():
            pass
        ident = self.v1.accounts.retrieve_current().id
        return contract.check_all(line for line in self.sandbox.recorded() if line["account"] == ident)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    folder = tmp_path_factory.mktemp("sandbox")
    with running_sandbox(folder / "state", record=folder / "exchanges.jsonl") as running:
        yield running


@pytest.fixture
def account(sandbox: SandboxProcess) -> Iterator[Account]:
    made = Account(sandbox)
    yield made
    made.control.call("DELETE", "/faults")
    assert made.findings() == []


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with webhook_receiver() as running:
        yield running


__all__ = ["Account", "account", "plain", "receiver", "sandbox", "submit_card"]
