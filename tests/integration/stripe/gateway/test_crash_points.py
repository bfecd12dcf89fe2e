"""Promise S1: cut off between any two calls, a second run ends with one customer, one invoice and one set of lines."""

from datetime import timedelta

import pytest

from ledger.store.customers import CustomerRecord
from ledger.store.invoices import InvoiceRecord
from pipelines.steps import invoice_draft
from tests.integration.stripe.gateway.cutting import Cut, CuttingGateway
from tests.integration.stripe.gateway.world import World, answered
from tests.support.at_once import in_threads

AMOUNTS = ("1.00", "2.00", "3.50")


@pytest.fixture(autouse=True)
def _two_calls_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoice_draft, "LINES_PER_CALL", 2)


def assert_once(world: World, customer: CustomerRecord, invoice: InvoiceRecord, where: str) -> None:
    (there,) = [c for c in world.stripe_customers() if c["metadata"]["tallyhouse_customer_id"] == customer.id]
    (made,) = world.get("/v1/invoices", customer=there["id"])["data"]
    assert made["metadata"]["tallyhouse_invoice_id"] == invoice.id, where
    assert (made["total"], made["status"]) == (650, "open"), where
    lines = world.stripe_lines(made["id"])
    assert sorted(line["amount"] for line in lines) == [100, 200, 350], where
    assert {line["metadata"]["tallyhouse_line_id"] for line in lines} == {line.id for line in invoice.lines}, where
    mapping = world.mapping("invoice", invoice.id)
    assert (mapping.state, mapping.provider_id) == ("done", made["id"]), where


@pytest.mark.parametrize("when", ["before", "after"])
def test_S1_a_crash_at_any_call_leads_to_exactly_one_of_everything(world: World, when: str) -> None:
    world.connect(collection="manual")
    at, died = 0, True
    while died:
        at += 1
        customer = world.customer(f"customer_{at}", f"c{at}@example.com")
        invoice = world.invoice(AMOUNTS, customer=customer)
        cut = CuttingGateway(at, when)
        try:
            world.sync(invoice.id, world.gateways(cut.around))
            died = False
        except Cut:
            assert world.sync(invoice.id).outcome == "synced"
        assert_once(world, customer, invoice, f"{when} call {at} of {cut.calls}")
    # Looked for by email, the customer, the invoice, its lines in two calls, finalized: no look of its own.
    assert at == 7, "every call was cut once"


def test_S1_a_crash_is_recovered_from_after_the_keys_were_forgotten(world: World) -> None:
    world.connect(collection="manual")
    at, died = 0, True
    while died:
        at += 1
        customer = world.customer(f"customer_{at}", None if at == 1 else f"c{at}@example.com")
        invoice = world.invoice(AMOUNTS, customer=customer)
        cut = CuttingGateway(at, "after")
        try:
            world.sync(invoice.id, world.gateways(cut.around))
            died = False
        except Cut:
            world.control.clock(advance=25 * 3600)
            world.now += timedelta(hours=25)
            assert world.sync(invoice.id).outcome == "synced"
        assert_once(world, customer, invoice, f"call {at} of {cut.calls}")


def test_S1_workers_at_once_make_one_customer_and_one_invoice(world: World) -> None:
    world.connect(collection="manual")
    customer = world.customer()
    invoice = world.invoice(AMOUNTS, customer=customer)
    results = [*in_threads([lambda: answered(lambda: world.sync(invoice.id))] * 4), world.sync(invoice.id)]
    assert {result.outcome for result in results if result} <= {"synced", "already_synced"}
    assert len({result.stripe_invoice_id for result in results if result}) == 1
    assert len(world.stripe_customers()) == 1
    assert_once(world, customer, invoice, "four workers")


def test_S1_two_workers_over_the_same_invoices_send_each_once_also_when_the_currency_changes(world: World) -> None:
    world.connect(collection="manual")
    customers = [world.customer(f"customer_{number}", f"c{number}@example.com") for number in range(2)]
    # A customer of Stripe's has a balance in each currency; one of ours may be billed in any.
    made = [
        world.invoice(("100", "250"), currency=currency, customer=customer)
        for customer in customers
        for currency in ("USD", "JPY", "KWD")
    ]

    def work(invoices: list[InvoiceRecord]) -> None:
        for invoice in invoices:
            answered(lambda invoice=invoice: world.sync(invoice.id))

    in_threads([lambda: work(made), lambda: work(made[::-1])])
    assert {world.sync(invoice.id).outcome for invoice in made} <= {"synced", "already_synced"}
    assert len(world.stripe_customers()) == len(customers)
    there = {each["metadata"]["tallyhouse_invoice_id"]: each for each in world.stripe_invoices()}
    assert len(world.stripe_invoices()) == len(there) == len(made)
    totals = {"usd": 35000, "jpy": 350, "kwd": 350000}
    for invoice in made:
        seen = there[invoice.id]
        assert (seen["total"], seen["status"]) == (totals[seen["currency"]], "open")
        assert len(world.stripe_lines(seen["id"])) == 2
