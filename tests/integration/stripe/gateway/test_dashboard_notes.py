"""Credit notes that somebody issues in Stripe's Dashboard: our books say the same to the last unit, and once."""

from decimal import Decimal
from typing import Any

import pytest

from ledger.store import credit_notes, payments, refunds
from ledger.store.credit_notes import CreditNoteRecord
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.pay_invoice import pay_with_card
from pipelines.steps.process_webhook import process_due
from pipelines.steps.refund_payment import refundable
from pipelines.steps.sync_credit_notes import follow_note
from tests.integration.stripe.gateway.test_credit_notes import credit, grants, paid, synced_and_open, voided, work
from tests.integration.stripe.gateway.world import World
from tests.support.at_once import in_threads


def in_dashboard(world: World, invoice: InvoiceRecord, **form: str) -> dict[str, Any]:
    stripe_invoice = world.mapping("invoice", invoice.id).provider_id or ""
    return world.post("/v1/credit_notes", f"dashboard:{sorted(form.items())}", invoice=stripe_invoice, **form)


def notes(world: World, invoice: InvoiceRecord) -> list[CreditNoteRecord]:
    with world.ledger.read() as session:
        return credit_notes.of_invoice(session, world.scope, invoice.id)


def left(world: World, invoice: InvoiceRecord) -> str:
    """What may still be refunded."""
    with world.ledger.read() as session:
        (payment,) = payments.list_payments(session, world.scope, invoice_id=invoice.id, status="succeeded").items
        return f"{refundable(session, world.scope, payment):f}"


def settled_by(world: World, note: CreditNoteRecord) -> list[tuple[str, str, bool]]:
    with world.ledger.read() as session:
        found = refunds.of_note(session, world.scope, note.id)
    return [(f"{each.amount:f}", each.status, each.gateway is not None) for each in found]


def test_a_note_of_the_dashboard_lowers_what_is_due_here_and_only_the_rest_is_charged(world: World) -> None:
    invoice = synced_and_open(world)
    there = in_dashboard(world, invoice, amount="1850", memo="Outage")
    world.hear()
    (note,) = notes(world, invoice)
    assert (note.total, note.pre_payment, note.reason) == (
        Decimal("18.50"),
        Decimal("18.50"),
        "issued at Stripe: Outage",
    )
    assert world.mapping("credit_note", note.id).provider_id == there["id"]
    assert world.read_invoice(invoice.id).amount_remaining == Decimal("100.00")
    pay_with_card(world.ledger, world.scope, world.link(), invoice.id, world.now)
    world.hear()
    read = world.read_invoice(invoice.id)
    assert (world.charged(), read.payment_status, read.amount_paid, read.amount_remaining) == (
        [10000],
        "paid",
        Decimal("100.00"),
        0,
    )
    work(world)
    assert len(world.get("/v1/credit_notes", limit="10")["data"]) == 1


def test_a_note_that_credits_one_line_there_credits_that_line_here(world: World) -> None:
    invoice = synced_and_open(world)
    stripe_id = world.mapping("invoice", invoice.id).provider_id or ""
    ours = {line.key: line.id for line in invoice.lines}
    usage = next(
        line for line in world.stripe_lines(stripe_id) if line["metadata"]["tallyhouse_line_id"] == ours["usage:1"]
    )
    one_line = {"lines[0][type]": "invoice_line_item", "lines[0][invoice_line_item]": usage["id"]}
    in_dashboard(world, invoice, **one_line, **{"lines[0][amount]": "850"})
    world.hear()
    (note,) = notes(world, invoice)
    assert [(line.line_id, f"{line.amount:f}") for line in note.lines] == [(ours["usage:1"], "8.50")]


@pytest.mark.parametrize(
    ("given_back", "by_refund"), [("refund_amount", True), ("out_of_band_amount", False), ("credit_amount", False)]
)
def test_what_a_note_of_the_dashboard_gave_back_is_on_record_once_and_is_no_credit_here(
    world: World, given_back: str, by_refund: bool
) -> None:
    invoice = paid(world)
    in_dashboard(world, invoice, amount="1850", **{given_back: "1850"})
    world.hear()
    (note,) = notes(world, invoice)
    assert (note.pre_payment, note.paid_back, note.settle_as) == (0, Decimal("18.50"), "refund")
    assert settled_by(world, note) == [("18.50", "succeeded", by_refund)]
    assert (left(world, invoice), grants(world, invoice.customer_id)) == ("100.00", [])
    work(world)
    assert len(world.get("/v1/refunds", limit="10")["data"]) == int(by_refund)


def test_a_note_of_the_dashboard_is_taken_over_once_by_two_workers_and_by_every_delivery(world: World) -> None:
    invoice = synced_and_open(world)
    there = in_dashboard(world, invoice, amount="1850")

    def one() -> bool:
        return follow_note(world.ledger, world.scope, world.link(), there["id"], world.now)

    assert in_threads([one, one]) == [True, True]
    world.hear()
    world.hear(world.events()[::-1])
    assert len(notes(world, invoice)) == 1
    assert world.read_invoice(invoice.id).amount_credited == Decimal("18.50")


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_note_of_the_dashboard_is_voided_on_both_sides_whoever_voids_it(world: World, where: str) -> None:
    invoice = synced_and_open(world)
    there = in_dashboard(world, invoice, amount="1850")
    world.hear()
    (note,) = notes(world, invoice)
    if where == "here":
        assert voided(world, note).status == "void"
    else:
        world.post(f"/v1/credit_notes/{there['id']}/void", "void")
        world.hear()
    assert notes(world, invoice) == []
    assert world.get(f"/v1/credit_notes/{there['id']}")["status"] == "void"
    assert world.read_invoice(invoice.id).amount_remaining == Decimal("118.50")
    assert world.stripe_invoices()[0]["amount_remaining"] == 11850


def test_a_note_of_the_dashboard_that_was_voided_before_we_heard_of_it_changes_nothing(world: World) -> None:
    invoice = synced_and_open(world)
    there = in_dashboard(world, invoice, amount="1850")
    world.post(f"/v1/credit_notes/{there['id']}/void", "void")
    world.hear()
    assert (notes(world, invoice), world.read_invoice(invoice.id).amount_credited) == ([], 0)


def test_a_note_that_ours_leave_no_room_for_waits_for_a_person_and_nothing_is_booked(world: World) -> None:
    invoice = synced_and_open(world)
    credit(world, invoice, "110.00")
    in_dashboard(world, invoice, amount="1850")
    heard = world.hear()
    assert (heard.retried, heard.dead) == (1, 0)
    assert [f"{note.total:f}" for note in notes(world, invoice)] == ["110.00"]
    # Ours is voided, which leaves room: the event is tried again by itself.
    voided(world, notes(world, invoice)[0])
    world.now = world.now.replace(year=world.now.year + 1)
    assert process_due(world.ledger, world.gateways(), world.now).processed >= 1
    assert [f"{note.total:f}" for note in notes(world, invoice)] == ["18.50"]


def test_a_refund_that_a_note_of_the_dashboard_named_and_the_bank_sends_back_has_failed_here(world: World) -> None:
    invoice = synced_and_open(world)
    customer = world.customer_of(invoice.customer_id)
    world.save_card(customer, "4000 0000 0000 5126")
    pay_with_card(world.ledger, world.scope, world.link(), invoice.id, world.now)
    world.hear()
    in_dashboard(world, invoice, amount="1850", refund_amount="1850")
    world.hear()
    (note,) = notes(world, invoice)
    assert left(world, invoice) == "100.00"
    world.control.clock(advance=86400 + 60)
    world.hear()
    assert settled_by(world, note) == [("18.50", "failed", True)]
    assert left(world, invoice) == "118.50"
