"""Credit notes follow their invoice to Stripe, once each, before and after it is paid, and while the customer pays."""

from decimal import Decimal
from typing import Any

import pytest

from billing.adjustments.adjust import InvoiceTerms, TaxTerms
from billing.errors import Conflict
from ledger.store import credit_grants, refunds
from ledger.store.credit_grants import NewGrant
from ledger.store.credit_notes import CreditNoteRecord
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.credit_invoice import NewCreditNote, issue_note
from pipelines.steps.pay_invoice import pay_with_card
from pipelines.steps.stripe_sweep import sweep
from pipelines.steps.sync_credit_notes import void
from tests.integration.stripe.gateway.world import World
from tests.support.sandbox_process import submit_card


def credit(
    world: World, invoice: InvoiceRecord, amount: str | None = None, settle_as: str = "credit"
) -> CreditNoteRecord:
    wanted = NewCreditNote(invoice.id, "Outage", None if amount is None else Decimal(amount), settle_as=settle_as)
    with world.ledger.begin() as session:
        return issue_note(session, world.scope, wanted, "key_1", world.now)


def work(world: World) -> None:
    """The outbox, as the API and the schedule work it off."""
    swept = sweep(world.ledger, world.gateways(), world.now)
    assert (swept.retried, swept.dead) == (0, 0)


def voided(world: World, note: CreditNoteRecord) -> CreditNoteRecord:
    return void(world.ledger, world.scope, world.gateways(), note.id, "Wrong invoice", "key_1", world.now)


def notes_at_stripe(world: World) -> list[dict[str, Any]]:
    return list(world.get("/v1/credit_notes", limit="100")["data"])[::-1]


def grants(world: World, customer_id: str) -> list[tuple[str, str]]:
    with world.ledger.read() as session:
        found = credit_grants.list_grants(session, world.scope, customer_id).items
    return [(each.source, f"{each.amount:f}") for each in found]


def synced_and_open(world: World) -> InvoiceRecord:
    world.connect(collection="manual")
    customer = world.customer()
    world.save_card(customer)
    invoice = world.invoice(customer=customer)
    assert world.sync(invoice.id).outcome == "synced"
    return invoice


def paid(world: World) -> InvoiceRecord:
    invoice = synced_and_open(world)
    pay_with_card(world.ledger, world.scope, world.link(), invoice.id, world.now)
    world.hear()
    return world.read_invoice(invoice.id)


def test_a_note_lowers_what_stripe_asks_for_and_only_the_rest_is_charged(world: World) -> None:
    invoice = synced_and_open(world)
    credit(world, invoice, "18.50")
    work(world)
    (there,) = world.stripe_invoices()
    assert (there["total"], there["amount_remaining"]) == (11850, 10000)
    pay_with_card(world.ledger, world.scope, world.link(), invoice.id, world.now)
    world.hear()
    assert world.charged() == [10000]
    read = world.read_invoice(invoice.id)
    assert (read.payment_status, read.amount_paid, read.amount_remaining) == ("paid", Decimal("100.00"), 0)


def test_a_charge_waits_for_the_notes_that_the_outbox_still_holds(world: World) -> None:
    invoice = synced_and_open(world)
    credit(world, invoice, "18.50")
    pay_with_card(world.ledger, world.scope, world.link(), invoice.id, world.now)
    assert world.charged() == [10000]
    work(world)
    assert [note["amount"] for note in notes_at_stripe(world)] == [1850]


def test_notes_from_before_the_sync_are_sent_before_stripe_collects(world: World) -> None:
    world.connect()
    customer = world.customer()
    world.save_card(customer)
    invoice = world.invoice(customer=customer)
    first, second = credit(world, invoice, "8.50"), credit(world, invoice, "10.00")
    assert world.sync(invoice.id).outcome == "synced"
    world.hear()
    assert world.charged() == [10000]
    ours = [note["metadata"]["tallyhouse_credit_note_id"] for note in notes_at_stripe(world)]
    assert ours == [first.id, second.id]
    assert world.read_invoice(invoice.id).payment_status == "paid"
    work(world)
    assert len(notes_at_stripe(world)) == 2


def test_an_invoice_credited_whole_is_paid_on_both_sides_without_money(world: World) -> None:
    invoice = synced_and_open(world)
    credit(world, invoice)
    work(world)
    world.hear()
    (there,) = world.stripe_invoices()
    assert (there["status"], there["amount_paid"], world.charged()) == ("paid", 0, [])
    read = world.read_invoice(invoice.id)
    assert (read.payment_status, read.amount_paid) == ("paid", 0)
    assert world.mapping("invoice", invoice.id).detail["carried"] is False


def test_what_was_paid_and_becomes_credit_here_is_given_back_outside_of_stripe(world: World) -> None:
    invoice = paid(world)
    note = credit(world, invoice, "18.50")
    work(world)
    (there,) = notes_at_stripe(world)
    assert (there["pre_payment_amount"], there["post_payment_amount"], there["out_of_band_amount"]) == (0, 1850, 1850)
    assert grants(world, invoice.customer_id) == [("credit_note", "18.50")]
    assert world.mapping("credit_note", note.id).provider_id == there["id"]
    with pytest.raises(Conflict) as refused:
        voided(world, note)
    assert refused.value.code == "credit_note_settled"


def test_what_was_paid_and_is_to_be_refunded_is_refunded_at_stripe_once_and_named_by_the_note(world: World) -> None:
    invoice = paid(world)
    note = credit(world, invoice, "18.50", "refund")
    work(world)
    work(world)
    world.hear()
    (there,) = notes_at_stripe(world)
    (refund,) = world.get("/v1/refunds", limit="10")["data"]
    assert (refund["amount"], there["refunds"][0]["refund"]) == (1850, refund["id"])
    with world.ledger.read() as session:
        (ours,) = refunds.of_note(session, world.scope, note.id)
    assert (ours.status, ours.gateway_refund_id) == ("succeeded", refund["id"])
    assert grants(world, invoice.customer_id) == []


@pytest.mark.parametrize("settle_as", ["credit", "refund"])
def test_what_the_customer_pays_in_the_moment_of_the_note_is_given_back(world: World, settle_as: str) -> None:
    invoice = synced_and_open(world)
    (there,) = world.stripe_invoices()
    submit_card(there["hosted_invoice_url"])
    # Stripe has the money and we have not heard of it: the note takes off what is due, in our view.
    note = credit(world, invoice, "18.50", settle_as)
    assert note.pre_payment == Decimal("18.50")
    work(world)
    world.hear()
    read = world.read_invoice(invoice.id)
    assert (read.payment_status, read.amount_paid, read.amount_remaining) == ("paid", Decimal("100.00"), 0)
    (at_stripe,) = notes_at_stripe(world)
    assert at_stripe["post_payment_amount"] == 1850
    refunded = [refund["amount"] for refund in world.get("/v1/refunds", limit="10")["data"]]
    if settle_as == "credit":
        assert (grants(world, invoice.customer_id), refunded) == ([("overpayment", "18.50")], [])
    else:
        assert (grants(world, invoice.customer_id), refunded) == ([], [1850])


def lines_of(world: World, note: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.get(f"/v1/credit_notes/{note['id']}/lines", limit="100")["data"]
    return found


def test_a_note_of_more_lines_than_stripe_takes_names_the_first_and_sums_up_the_rest(world: World) -> None:
    world.connect(collection="manual")
    vat = InvoiceTerms((), (TaxTerms("txr_1", "VAT", Decimal(19), inclusive=False),))
    invoice = world.invoice(("1.00",) * 205, terms=vat)
    assert world.sync(invoice.id).outcome == "synced"
    note = credit(world, invoice)
    work(world)
    (there,) = notes_at_stripe(world)
    assert (there["total"], there["lines"]["has_more"]) == (int(note.total * 100), True)
    assert [tax["amount"] for tax in there["total_taxes"]] == [int(note.tax_total * 100)]
    sent = world.mapping("credit_note", note.id).detail["request"]["lines"]
    assert (len(sent), sent[-1]["description"], sent[-1]["amount"]) == (200, "6 more lines", "6.00")


def test_a_note_that_returns_credit_names_its_lines_by_what_stripe_asked_for(world: World) -> None:
    world.connect(collection="manual")
    customer = world.customer()
    with world.ledger.begin() as session:
        credit_grants.grant(session, world.scope, customer.id, NewGrant(Decimal(50), "USD", "purchased"), world.now)
    invoice = world.invoice(("70.00", "30.00"), customer=customer)
    assert world.sync(invoice.id).outcome == "synced"
    note = credit(world, invoice)
    assert (note.pre_payment, note.credit_returned) == (Decimal("50.00"), Decimal("50.00"))
    work(world)
    (there,) = notes_at_stripe(world)
    assert there["total"] == 5000
    assert [line["amount"] for line in lines_of(world, there)] == [3500, 1500]


def test_what_lines_below_zero_take_off_a_note_is_taken_off_the_others_at_stripe(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice(("100.00", "-30.00", "50.00"))
    assert world.sync(invoice.id).outcome == "synced"
    credit(world, invoice)
    work(world)
    (there,) = notes_at_stripe(world)
    assert (there["total"], [line["amount"] for line in lines_of(world, there)]) == (12000, [8000, 4000])


def test_a_note_is_voided_at_stripe_first_and_its_amount_is_due_again_on_both_sides(world: World) -> None:
    invoice = synced_and_open(world)
    note = credit(world, invoice, "18.50")
    work(world)
    assert voided(world, note).status == "void"
    assert voided(world, note).status == "void"
    (there,) = world.stripe_invoices()
    assert there["amount_remaining"] == 11850
    assert world.read_invoice(invoice.id).amount_remaining == Decimal("118.50")
    assert [each["status"] for each in notes_at_stripe(world)] == ["void"]


def test_a_note_that_waits_in_the_outbox_is_voided_here_alone(world: World) -> None:
    invoice = synced_and_open(world)
    note = credit(world, invoice, "18.50")
    assert voided(world, note).status == "void"
    work(world)
    assert notes_at_stripe(world) == []


def test_a_note_of_ours_that_was_voided_in_the_dashboard_is_void_here(world: World) -> None:
    invoice = synced_and_open(world)
    note = credit(world, invoice, "18.50")
    work(world)
    world.post(f"/v1/credit_notes/{notes_at_stripe(world)[0]['id']}/void", "dashboard")
    world.hear()
    assert voided(world, note).void_reason == "voided at Stripe"
    assert world.read_invoice(invoice.id).amount_remaining == Decimal("118.50")


def test_a_note_is_not_voided_once_the_rest_was_paid_at_stripe(world: World) -> None:
    invoice = synced_and_open(world)
    note = credit(world, invoice, "18.50")
    work(world)
    (there,) = world.stripe_invoices()
    submit_card(there["hosted_invoice_url"])
    with pytest.raises(Conflict) as refused:
        voided(world, note)
    assert refused.value.code == "credit_note_settled"
    assert world.read_invoice(invoice.id).amount_credited == Decimal("18.50")


def test_a_note_that_stripe_refuses_keeps_the_reason_and_stops_the_charge(world: World) -> None:
    invoice = synced_and_open(world)
    (there,) = world.stripe_invoices()
    world.post(f"/v1/invoices/{there['id']}/mark_uncollectible", "dashboard")
    note = credit(world, invoice, "18.50")
    assert sweep(world.ledger, world.gateways(), world.now).dead == 1
    assert world.mapping("credit_note", note.id).last_error == "invoice_uncollectible"
    with pytest.raises(Conflict) as refused:
        pay_with_card(world.ledger, world.scope, world.link(), invoice.id, world.now)
    assert refused.value.code == "credit_note_not_sent"
