"""One environment against the real sandbox: a ledger, an account of its own, and short ways to play the customer."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import httpx
import stripe

from billing.adjustments.adjust import InvoiceTerms
from billing.invoice import LineDraft
from billing.period import Period
from billing.ports import CallPace, PaymentGateway, ProviderUnavailable
from billing.price import parse_price
from billing.scope import Scope
from integrations.stripe.gateway import StripeGateway
from integrations.stripe.webhooks import verify
from ledger.db import Ledger
from ledger.store import connections as connection_store
from ledger.store import invoices, mappings, plans, subscriptions
from ledger.store.connections import ConnectionRecord
from ledger.store.customers import CustomerRecord, get_customer
from ledger.store.invoices import InvoiceRecord
from ledger.store.mappings import MappingRecord
from pipelines.steps import connections, process_webhook, sync_invoice
from pipelines.steps.connections import Gateways, Link, NewConnection
from pipelines.steps.save_card import CardSetup, CardSetupStarted
from pipelines.steps.save_card import start as start_card_setup
from tests.support.ledger_rows import BOX, a_customer, a_line
from tests.support.sandbox_process import Control, SandboxProcess, submit_card

WEBHOOK_SECRET = "whsec_test_0123456789abcdef"
OK_URL, NO_URL = "https://app.example/success", "https://app.example/cancel"
T = TypeVar("T")
NO_TERMS = InvoiceTerms()
START = datetime(2026, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """The sandbox's clock is the machine's, and so is ours here."""
    return datetime.now(UTC).replace(microsecond=0)


def answered(call: Callable[[], T]) -> T | None:
    """What a worker gets, or None when a twin of its call was running and it has to come again."""
    try:
        return call()
    except ProviderUnavailable:
        return None


@dataclass(frozen=True)
class QuickControl(Control):
    """The sandbox's control paths over one HTTP client: making one takes longer than a call."""

    http: httpx.Client

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = self.http.request(method, f"{self.url}/_sandbox{path}", json=body, headers=headers)
        answer.raise_for_status()
        return dict(answer.json())


@dataclass
class World:
    sandbox: SandboxProcess
    key: str
    ledger: Ledger
    scope: Scope
    http: httpx.Client
    now: datetime = field(default_factory=now)
    # Waiting between repetitions is the SDK's; tests that are about something else do without.
    network_retries: int = 0
    _gateways: Gateways | None = None
    _heard: set[str] = field(default_factory=set)

    @property
    def control(self) -> QuickControl:
        return QuickControl(self.sandbox.url, self.key, self.http)

    def gateway(self, secret_key: str | None = None, pace: CallPace | None = None) -> StripeGateway:
        return StripeGateway(
            secret_key or self.key,
            api_base=self.sandbox.url,
            max_network_retries=self.network_retries,
            sleep=lambda _: None,
            pace=pace,
        )

    def gateways(self, wrap: Callable[[PaymentGateway], PaymentGateway] | None = None) -> Gateways:
        """Opens the connection; with `wrap` through something that stands before Stripe."""
        if wrap is None:
            self._gateways = self._gateways or Gateways(self.ledger, BOX, self.gateway)
            return self._gateways
        return Gateways(self.ledger, BOX, lambda secret_key, _=None: wrap(self.gateway(secret_key)))

    def link(self) -> Link:
        return self.gateways().require(self.scope)

    def connect(self, **sync_config: Any) -> ConnectionRecord:
        request = NewConnection("Stripe", self.key, (WEBHOOK_SECRET,), sync_config)
        return connections.connect(self.ledger, self.scope, BOX, self.gateway, request, "key_1", self.now)

    def customer(self, external_id: str | None = "acme", email: str | None = "billing@acme.example") -> CustomerRecord:
        with self.ledger.begin() as session:
            return a_customer(session, self.scope, external_id, email=email, now=self.now)

    def customer_of(self, customer_id: str) -> CustomerRecord:
        with self.ledger.read() as session:
            return get_customer(session, self.scope, customer_id)

    def draft(
        self,
        amounts: Sequence[str] = ("10.00", "108.50"),
        currency: str = "USD",
        customer: CustomerRecord | None = None,
        collection_method: str = "charge_automatically",
        terms: InvoiceTerms = NO_TERMS,
    ) -> InvoiceRecord:
        """A priced draft of a new subscription with a line per amount."""
        customer = customer or self.customer()
        with self.ledger.begin() as session:
            plan = plans.create_plan(
                session,
                self.scope,
                name="Pro",
                key=f"pro_{random.getrandbits(64):x}",
                billing_period="monthly",
                interval="P1M",
                currency=currency,
                prices=[plans.NewPrice(None, "Pro plan", parse_price({"pricing_model": "flat", "amount": "10"}))],
                now=self.now,
            )
            subscription = subscriptions.create_subscription(
                session,
                self.scope,
                customer_id=customer.id,
                plan_id=plan.id,
                start_date=START,
                timezone="UTC",
                collection_method=collection_method,
                now=self.now,
            )
            period = Period(START, START + timedelta(days=31))
            made = invoices.ensure_draft(session, self.scope, subscription, period, self.now)
            lines = [_line(plan.prices[0].id, number, amount) for number, amount in enumerate(amounts)]
            return invoices.replace_lines(session, self.scope, made.id, lines, "h", self.now, "1.0", self.now, terms)

    def invoice(self, *args: Any, **kwargs: Any) -> InvoiceRecord:
        """A finalized invoice; as `draft`."""
        draft = self.draft(*args, **kwargs)
        with self.ledger.begin() as session:
            return invoices.finalize(session, self.scope, draft.id, self.now)

    def sync(self, invoice_id: str, gateways: Gateways | None = None) -> sync_invoice.SyncResult:
        return sync_invoice.sync(self.ledger, self.scope, gateways or self.gateways(), invoice_id, self.now)

    def read_invoice(self, invoice_id: str) -> InvoiceRecord:
        with self.ledger.read() as session:
            return invoices.get_invoice(session, self.scope, invoice_id)

    def mapping(self, entity: str, entity_id: str) -> MappingRecord:
        with self.ledger.read() as session:
            found = mappings.list_mappings(session, self.scope, entity=entity, entity_id=entity_id).items
        assert len(found) == 1, found
        return found[0]

    def save_card(
        self, customer: CustomerRecord, number: str = "4242 4242 4242 4242", set_default: bool = True
    ) -> CardSetupStarted:
        """The customer saves a card on the page, and we hear of it."""
        started = self.start_card(customer, set_default)
        assert submit_card(started.checkout_url, card_number=number).status_code == 303
        self.hear()
        return started

    def start_card(self, customer: CustomerRecord, set_default: bool = True) -> CardSetupStarted:
        """A page to save a card on, which nobody has used yet."""
        request = CardSetup(customer.id, OK_URL, NO_URL, set_default)
        return start_card_setup(self.ledger, self.scope, self.link(), request, self.now)

    def events(self) -> list[dict[str, Any]]:
        """Everything that happened in the account, oldest first, as the sandbox would deliver it."""
        self.control.wait_idle()
        found: list[dict[str, Any]] = []
        while True:
            after = {"starting_after": found[-1]["id"]} if found else {}
            page = self.get("/v1/events", limit="100", **after)
            found += page["data"]
            if not page["has_more"]:
                return found[::-1]

    def hear(self, events: Iterable[dict[str, Any]] | None = None) -> process_webhook.Processed:
        """Delivers events (what is new, in order, unless given) and works them off."""
        if events is None:
            events = [event for event in self.events() if event["id"] not in self._heard]
            self._heard |= {event["id"] for event in events}
        for event in events:
            self.receive(event)
        return process_webhook.process_due(self.ledger, self.gateways(), self.now)

    def receive(self, event: dict[str, Any]) -> process_webhook.Received:
        raw = json.dumps(event).encode()
        at = int(self.now.timestamp())
        header = stripe.WebhookSignature.generate_signature_header(raw.decode(), WEBHOOK_SECRET, at)
        return process_webhook.receive(self.ledger, self.scope, BOX, verify, raw, header, self.now, "203.0.113.7")

    def get(self, path: str, **params: str) -> dict[str, Any]:
        """What the account really holds, asked around the gateway."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = self.http.get(self.sandbox.url + path, params=params, headers=headers)
        answer.raise_for_status()
        return dict(answer.json())

    def post(self, path: str, key: str, **form: str) -> dict[str, Any]:
        """Somebody acts in the Dashboard."""
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": key}
        answer = self.http.post(self.sandbox.url + path, data=form, headers=headers)
        answer.raise_for_status()
        return dict(answer.json())

    def delete(self, path: str) -> None:
        answer = self.http.delete(self.sandbox.url + path, headers={"Authorization": f"Bearer {self.key}"})
        answer.raise_for_status()

    def disconnect(self, connection: ConnectionRecord) -> None:
        with self.ledger.begin() as session:
            connection_store.delete_connection(session, self.scope, connection.id, self.now)

    def stripe_invoices(self) -> list[dict[str, Any]]:
        return list(self.get("/v1/invoices", limit="100")["data"])

    def stripe_customers(self) -> list[dict[str, Any]]:
        return list(self.get("/v1/customers", limit="100")["data"])

    def stripe_lines(self, stripe_invoice_id: str) -> list[dict[str, Any]]:
        return list(self.get(f"/v1/invoices/{stripe_invoice_id}/lines", limit="100")["data"])

    def charged(self) -> list[int]:
        """What customers were really charged, in minor units."""
        charges = self.get("/v1/charges", limit="100")["data"]
        return [charge["amount"] for charge in charges if charge["status"] == "succeeded"]


def _line(price_id: str, number: int, amount: str) -> LineDraft:
    if number == 0:
        return a_line(price_id, amount=amount)
    return a_line(
        price_id,
        key=f"usage:{number}",
        amount=amount,
        display_name="Call Duration",
        price_type="usage",
        quantity=Decimal(1085),
    )
