"""Holes of such integrations that no other file of tests is about; docs/security.md names all, each with its tests."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.invoice import PaymentStatus
from ledger.store import payments
from pipelines.steps import payment_link
from pipelines.steps.payment_link import LinkRequest
from tests.integration.stripe.gateway.cutting import Cut, CuttingGateway
from tests.integration.stripe.gateway.world import NO_URL, OK_URL, World
from tests.support.sandbox_process import submit_card

DAY = 86400


def test_S1_stripe_never_finalizes_or_charges_a_half_built_draft(world: World) -> None:
    world.connect()
    customer = world.customer()
    world.save_card(customer)
    invoice = world.invoice(customer=customer)
    cut = CuttingGateway(0, "after")
    world.sync(world.invoice(("5.00",), customer=customer).id, world.gateways(cut.around))
    died = CuttingGateway(cut.calls.index("create_invoice") + 1, "after")
    with pytest.raises(Cut):
        world.sync(invoice.id, world.gateways(died.around))
    # Long after Stripe would have finalized what advances by itself.
    world.control.clock(advance=3 * DAY)
    world.control.wait_idle()
    half_built = next(each for each in world.stripe_invoices() if each["total"] == 0)
    assert (half_built["status"], half_built["auto_advance"], world.charged()) == ("draft", False, [500])
    world.now += timedelta(days=3)
    assert world.sync(invoice.id).outcome == "synced"
    world.control.wait_idle()
    assert sorted(world.charged()) == [500, 11850]


def test_S3_a_part_payment_that_is_told_again_and_again_counts_once(world: World) -> None:
    world.connect(collection="manual")
    customer = world.customer()
    invoice = world.invoice(customer=customer)
    request = LinkRequest(invoice.id, OK_URL, NO_URL, Decimal("18.50"))
    page = payment_link.create(world.ledger, world.scope, world.link(), request, world.now)
    submit_card(page.checkout_url or "")
    events = world.events()
    for again in (events, events[::-1], events):
        # Stripe tells one thing in several events, and a lost answer brings new ones: none of these is known yet.
        world.hear([{**event, "id": f"{event['id']}_{len(event['id'])}_{id(again)}"} for event in again])
    read = world.read_invoice(invoice.id)
    assert (read.payment_status, read.amount_paid) == (PaymentStatus.PARTIALLY_PAID, Decimal("18.50"))
    assert world.charged() == [1850]


def test_S3_a_page_that_is_said_to_be_paid_is_looked_at_before_anything_is_booked(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    request = LinkRequest(invoice.id, OK_URL, NO_URL)
    page = payment_link.create(world.ledger, world.scope, world.link(), request, world.now)
    session = world.get("/v1/checkout/sessions", limit="1")["data"][0]
    said = {**session, "status": "complete", "payment_status": "paid", "payment_intent": "pi_none"}
    event = {
        "id": "evt_too_early",
        "object": "event",
        "type": "checkout.session.completed",
        "created": int(world.now.timestamp()),
        "livemode": False,
        "data": {"object": said},
    }
    assert world.hear([event]).processed == 1
    with world.ledger.read() as open_session:
        assert payments.get_payment(open_session, world.scope, page.id).status == "pending"
    assert world.read_invoice(invoice.id).amount_paid == 0
    submit_card(page.checkout_url or "")
    world.hear()
    assert world.read_invoice(invoice.id).payment_status == PaymentStatus.PAID


def test_the_ids_of_a_page_for_a_card_belong_together(world: World) -> None:
    world.connect()
    customer = world.customer()
    first, second = world.start_card(customer), world.start_card(customer)
    for started in (first, second):
        session = world.get(f"/v1/checkout/sessions/{started.checkout_session_id}")
        assert (session["setup_intent"], session["url"]) == (started.setup_intent_id, started.checkout_url)
    submit_card(second.checkout_url or "")
    setup = world.get(f"/v1/setup_intents/{second.setup_intent_id}")
    world.hear()
    (card,) = world.get("/v1/payment_methods", customer=setup["customer"])["data"]
    assert (setup["status"], setup["payment_method"]) == ("succeeded", card["id"])
