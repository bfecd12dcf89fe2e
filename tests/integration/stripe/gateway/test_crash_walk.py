"""Promise S1 over the whole life of invoices: cut off at every single call, each thing exists exactly once at the end.

One journey: an invoice with a discount, a tax and credit is sent, credited, charged, credited with a refund and
refunded in part; another one is sent, credited, the credit note and then the invoice are voided. A clean run lists its
calls.
The walk dies before and after each of them and loses each answer on the wire, and then goes on as a new process would.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from billing.adjustments.adjust import DiscountTerms, InvoiceTerms, TaxTerms
from billing.ports import ProviderUnavailable
from ledger.store import credit_grants, payments, refunds
from ledger.store.credit_grants import NewGrant
from ledger.store.customers import CustomerRecord
from ledger.store.invoices import InvoiceRecord
from pipelines.steps import invoice_draft
from pipelines.steps.connections import Gateways
from pipelines.steps.credit_invoice import NewCreditNote, issue_note
from pipelines.steps.pay_invoice import pay_with_card
from pipelines.steps.refund_payment import WantedRefund, carry_out, request_refund
from pipelines.steps.sync_credit_notes import push_notes, void
from pipelines.steps.void_invoice import void_invoice
from tests.integration.stripe.gateway.cutting import Cut, CuttingGateway
from tests.integration.stripe.gateway.world import World

VAT = TaxTerms("txr_1", "VAT", Decimal(19), inclusive=False)
# Everything that changes something at Stripe on the way; the walk would be worth little without one of them.
CHANGES = {
    "create_customer",
    "ensure_coupon",
    "create_invoice",
    "add_lines",
    "finalize_invoice",
    "create_credit_note",
    "pay_invoice",
    "create_refund",
    "void_credit_note",
    "void_invoice",
}


@pytest.fixture(autouse=True)
def _two_calls_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoice_draft, "LINES_PER_CALL", 2)


@dataclass
class Journey:
    """What happens, step by step. A step that talks to Stripe may be run again; what only the ledger does runs once."""

    world: World
    name: str
    customer: CustomerRecord = field(init=False)
    paid: InvoiceRecord = field(init=False)
    void: InvoiceRecord = field(init=False)
    note_id: str = ""
    refund_id: str = ""

    def __post_init__(self) -> None:
        self.customer = self.world.customer(self.name, f"{self.name}@example.com")
        with self.world.ledger.begin() as session:
            credit = NewGrant(Decimal("5.00"), "USD", "purchased")
            credit_grants.grant(session, self.world.scope, self.customer.id, credit, self.world.now)
        coupon = DiscountTerms("dis_1", "coupon_1", self.name, percent_off=Decimal("33.33"))
        terms = InvoiceTerms((coupon,), (VAT,))
        # 100.00 less 33.33 and with 12.67 of tax are 79.34, of which credit pays 5.00.
        self.paid = self.world.invoice(("50.00", "20.00", "30.00"), customer=self.customer, terms=terms)
        self.void = self.world.invoice(("10.00",), customer=self.customer)

    def steps(self) -> Iterator[Callable[[Gateways], Any]]:
        world, paid, other = self.world, self.paid.id, self.void.id
        ledger, scope, now = world.ledger, world.scope, world.now

        def push(invoice_id: str) -> Callable[[Gateways], Any]:
            return lambda gateways: push_notes(ledger, scope, gateways.require(scope), invoice_id, now)

        yield lambda gateways: world.sync(paid, gateways)
        self._save_card()
        self._credit(paid, "10.00", "credit")
        yield push(paid)
        yield lambda gateways: pay_with_card(ledger, scope, gateways.require(scope), paid, now)
        # 5.00 of it go back to the credit that paid, 15.00 to the card.
        self._credit(paid, "20.00", "refund")
        yield push(paid)
        self._refund("12.00")
        yield lambda gateways: carry_out(ledger, scope, gateways.require(scope), self.refund_id, now)
        yield lambda gateways: world.sync(other, gateways)
        self.note_id = self._credit(other, "4.00", "credit")
        yield push(other)
        yield lambda gateways: void(ledger, scope, gateways, self.note_id, "Wrong", "key_1", now)
        yield lambda gateways: void_invoice(ledger, scope, gateways.require(scope), other, "key_1", "Wrong", now)

    def assert_once(self, where: str) -> None:
        world = self.world
        (there,) = [c for c in world.stripe_customers() if c["metadata"]["tallyhouse_customer_id"] == self.customer.id]
        of_customer = {"customer": there["id"], "limit": "100"}
        other, paid = world.get("/v1/invoices", **of_customer)["data"]
        assert (other["status"], other["total"], paid["status"], paid["total"]) == ("void", 1000, "paid", 7434), where
        assert (paid["amount_paid"], paid["total_discount_amounts"][0]["amount"]) == (6434, 3333), where
        for invoice, ours, amounts in (
            (paid, self.paid, [-500, 2000, 3000, 5000]),
            (other, self.void, [1000]),
        ):
            assert invoice["metadata"]["tallyhouse_invoice_id"] == ours.id, where
            assert sorted(line["amount"] for line in world.stripe_lines(invoice["id"])) == amounts, where
            mapping = world.mapping("invoice", ours.id)
            assert (mapping.state, mapping.provider_id) == ("done", invoice["id"]), where
        charges = world.get("/v1/charges", **of_customer)["data"]
        assert [(charge["amount"], charge["amount_refunded"]) for charge in charges] == [(6434, 2700)], where
        made = world.get("/v1/refunds", payment_intent=charges[0]["payment_intent"])["data"]
        assert sorted(refund["amount"] for refund in made) == [1200, 1500], where
        notes = world.get("/v1/credit_notes", **of_customer)["data"]
        assert [(note["amount"], note["status"]) for note in notes] == [
            (400, "void"),
            (1500, "issued"),
            (1000, "issued"),
        ], where
        coupons = [c for c in world.get("/v1/coupons", limit="100")["data"] if c["name"] == self.name]
        assert [coupon["times_redeemed"] for coupon in coupons] == [1], where
        read = world.read_invoice(self.paid.id)
        assert (read.payment_status, read.amount_paid) == ("paid", Decimal("64.34")), where
        assert world.read_invoice(self.void.id).status == "void", where
        with world.ledger.read() as session:
            (payment,) = payments.list_payments(session, world.scope, invoice_id=self.paid.id).items
            ours = refunds.of_payment(session, world.scope, payment.id)
            kept = credit_grants.list_grants(session, world.scope, self.customer.id).items
        assert sorted((f"{each.amount:f}", each.status) for each in ours) == [
            ("12.00", "succeeded"),
            ("15.00", "succeeded"),
        ], where
        assert [each.source for each in kept] == ["purchased"], where

    def _save_card(self) -> None:
        stripe_id = self.world.mapping("customer", self.customer.id).provider_id or ""
        saved = self.world.post("/v1/payment_methods/pm_card_visa/attach", f"{self.name}:card", customer=stripe_id)
        default = {"invoice_settings[default_payment_method]": saved["id"]}
        self.world.post(f"/v1/customers/{stripe_id}", f"{self.name}:default", **default)

    def _credit(self, invoice_id: str, amount: str, settle_as: str) -> str:
        wanted = NewCreditNote(invoice_id, "Outage", Decimal(amount), settle_as=settle_as)
        with self.world.ledger.begin() as session:
            return issue_note(session, self.world.scope, wanted, "key_1", self.world.now).id

    def _refund(self, amount: str) -> None:
        with self.world.ledger.begin() as session:
            (payment,) = payments.list_payments(session, self.world.scope, invoice_id=self.paid.id).items
            wanted = WantedRefund(payment.id, Decimal(amount))
            self.refund_id = request_refund(session, self.world.scope, wanted, "key_1", self.world.now).id


def run(journey: Journey, gateways: Gateways) -> int:
    """The whole journey; a step that died is run again by a new process. How often one died."""
    died = 0
    for step in journey.steps():
        try:
            step(gateways)
        except (Cut, ProviderUnavailable):
            died += 1
            gateways = journey.world.gateways()
            step(gateways)
    return died


def clean_run(world: World) -> tuple[list[str], list[str]]:
    """The calls of a journey that nothing disturbs: ours to the gateway, and the client's on the wire."""
    journey, listening = Journey(world, "clean"), CuttingGateway(0, "before")
    before = len(world.sandbox.recorded())
    assert run(journey, world.gateways(listening.around)) == 0
    wire = [f"{each['method']} {each['path']}" for each in world.sandbox.recorded()[before:]]
    journey.assert_once("clean run")
    assert set(listening.calls) >= CHANGES
    return listening.calls, wire


def cut_at(world: World, at: int, when: str) -> None:
    """The process dies before or after a call to the gateway."""
    journey, cut = Journey(world, f"{when}_{at}"), CuttingGateway(at, when)
    died = run(journey, world.gateways(cut.around))
    assert died == 1, f"nothing died {when} call {at}"
    journey.assert_once(f"{when} call {at}, {cut.calls[at - 1]}")


def lost_at(world: World, at: int, what: str) -> None:
    """Stripe did it, and its answer never came: on the wire, below the client."""
    journey = Journey(world, f"lost_{at}")
    world.control.fault(action="drop", when="after", skip=at)
    died = run(journey, world.gateways())
    assert died == 1, f"nothing was lost at {what}"
    journey.assert_once(f"answer {at} lost, {what}")


def world_for(new_world: Callable[[], World]) -> World:
    """A list at Stripe has a hundred things at most in one answer, so an account serves some points only."""
    world = new_world()
    world.connect(collection="manual")
    return world


def test_S1_a_crash_after_what_follows_an_invoice_leads_to_exactly_one_of_everything(world: World) -> None:
    """The short form; sending the invoice is cut at every call in test_crash_points."""
    world.connect(collection="manual")
    calls, _ = clean_run(world)
    for name in ("ensure_coupon", "create_credit_note", "pay_invoice", "create_refund", "void_credit_note"):
        cut_at(world, calls.index(name) + 1, "after")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_S1_a_crash_at_every_call_of_a_whole_life_leads_to_exactly_one_of_everything(
    new_world: Callable[[], World], when: str
) -> None:
    world = world_for(new_world)
    calls, _ = clean_run(world)
    walked = 0
    for at in range(1, len(calls) + 1):
        world = world_for(new_world) if at % 10 == 0 else world
        cut_at(world, at, when)
        walked += 1
    assert walked == len(calls) >= 40
    print(f"{walked} points, {when}")


@pytest.mark.slow
def test_S1_every_answer_of_a_whole_life_that_is_lost_leads_to_exactly_one_of_everything(
    new_world: Callable[[], World],
) -> None:
    world = world_for(new_world)
    _, wire = clean_run(world)
    walked = 0
    for at, what in enumerate(wire):
        # The two calls after the first invoice's that save the customer's card are the test's own.
        if any("/payment_methods/pm_card_visa" in each for each in wire[max(at - 1, 0) : at + 1]):
            continue
        world = world_for(new_world) if at % 10 == 0 else world
        lost_at(world, at, what)
        walked += 1
    assert walked == len(wire) - 2 >= 45
    print(f"{walked} answers lost")
