"""Who retries a declined card is one setting and never both: with "tallyhouse" we do, on the connection's schedule."""

import contextlib
from datetime import timedelta
from typing import Any

import pytest

from billing.errors import Conflict
from ledger.store import audit
from ledger.store.invoices import InvoiceRecord
from pipelines.steps import connections, create_payment, stripe_sweep
from pipelines.steps.collect_invoice import collect
from pipelines.steps.connections import ConnectionUpdate
from pipelines.steps.create_payment import NewPayment
from pipelines.steps.invoice_collection import Collection, collection_of
from tests.integration.stripe.gateway.cutting import Cut, CuttingGateway
from tests.integration.stripe.gateway.world import NO_URL, OK_URL, World
from tests.support.ledger_rows import BOX
from tests.support.sandbox_process import submit_card

DAY = timedelta(days=1)
ALWAYS_DECLINES = "4000 0000 0000 0341"


def collection(world: World, invoice_id: str) -> Collection:
    with world.ledger.read() as session:
        return collection_of(session, world.scope, invoice_id, world.now)


def sent(world: World, card: str | None = ALWAYS_DECLINES, **settings: Any) -> InvoiceRecord:
    """An invoice that was sent, of a customer with a card; we collect it."""
    world.connect(**{"collection": "tallyhouse", **settings})
    customer = world.customer()
    if card is not None:
        world.save_card(customer, card)
        sweep(world)
    invoice = world.invoice(customer=customer)
    assert world.sync(invoice.id).outcome == "synced"
    return invoice


def sweep(world: World) -> None:
    stripe_sweep.sweep(world.ledger, world.gateways(), world.now)


def later(world: World, gap: timedelta) -> None:
    """Both clocks go on, Stripe does whatever it wants, and we sweep."""
    world.now += gap
    world.control.clock(advance=int(gap.total_seconds()))
    world.control.wait_idle()
    sweep(world)


def tries(world: World) -> list[str]:
    """What Stripe really did to the card, oldest first."""
    return [charge["status"] for charge in reversed(world.get("/v1/charges", limit="100")["data"])]


def test_a_declined_card_is_tried_again_on_our_days_and_then_left_past_due(world: World) -> None:
    invoice = sent(world, retry_days=[1, 2])
    sweep(world)
    first = collection(world, invoice.id)
    assert (first.collected_by, first.tries, first.past_due) == ("tallyhouse", 1, True)
    assert first.next_attempt_at == world.now + DAY
    sweep(world)
    later(world, DAY - timedelta(minutes=1))
    assert tries(world) == ["failed"]
    later(world, timedelta(minutes=1))
    assert (len(tries(world)), collection(world, invoice.id).next_attempt_at) == (2, world.now + 2 * DAY)
    later(world, 2 * DAY)
    world.hear()
    over = collection(world, invoice.id)
    assert (over.tries, over.next_attempt_at, over.past_due, over.provider_status) == (3, None, True, "open")
    assert [entry.reason for entry in over.attempts] == ["generic_decline"] * 3
    later(world, 30 * DAY)
    assert tries(world) == ["failed"] * 3
    with world.ledger.read() as session:
        [entry] = [e for e in audit.list_entries(session, world.scope).items if e.action == "invoice.given_up"]
    assert (entry.entity_id, entry.detail["tries"]) == (invoice.id, 3)


def test_an_invoice_is_written_off_after_the_last_try_where_the_setting_says_so(world: World) -> None:
    invoice = sent(world, retry_days=[], after_last_try="uncollectible")
    sweep(world)
    [there] = world.stripe_invoices()
    assert (there["status"], collection(world, invoice.id).provider_status) == ("uncollectible", "uncollectible")
    assert tries(world) == ["failed"]


def test_a_new_card_is_tried_at_once_and_charged_once(world: World) -> None:
    invoice = sent(world)
    sweep(world)
    assert tries(world) == ["failed"]
    world.save_card(world.customer_of(invoice.customer_id))
    sweep(world)
    paid = collection(world, invoice.id)
    assert (paid.payment_status, paid.next_attempt_at, paid.past_due) == ("paid", None, False)
    later(world, 30 * DAY)
    assert (tries(world), world.charged()) == (["failed", "succeeded"], [11850])


def test_a_customer_without_a_card_is_past_due_until_they_save_one(world: World) -> None:
    invoice = sent(world, card=None)
    sweep(world)
    waiting = collection(world, invoice.id)
    assert (waiting.tries, waiting.past_due, waiting.next_attempt_at) == (1, True, world.now + 3 * DAY)
    assert tries(world) == []
    world.save_card(world.customer_of(invoice.customer_id))
    sweep(world)
    assert (world.charged(), collection(world, invoice.id).payment_status) == ([11850], "paid")


def test_a_card_that_was_reported_lost_is_never_tried_again(world: World) -> None:
    invoice = sent(world, card="4242 4242 4242 4242")
    world.control.fault(on="charge", action="decline", decline_code="lost_card")
    sweep(world)
    later(world, 3 * DAY)
    assert (tries(world), collection(world, invoice.id).tries) == (["failed"], 2)


@pytest.mark.parametrize(("first", "then"), [("stripe", "tallyhouse"), ("tallyhouse", "stripe")])
def test_an_invoice_is_collected_to_its_end_by_who_began_whatever_the_setting_says_later(
    world: World, first: str, then: str
) -> None:
    connection = world.connect(collection=first)
    customer = world.customer()
    world.save_card(customer, ALWAYS_DECLINES)
    invoice = world.invoice(customer=customer)
    world.sync(invoice.id)
    world.control.wait_idle()
    sweep(world)
    wanted = ConnectionUpdate(sync_config={"collection": then})
    connections.change(world.ledger, world.scope, BOX, world.gateway, connection.id, wanted, "key_1", world.now)
    world.hear()
    for day in range(1, 17):
        later(world, DAY)
        world.hear()
        # Both have the same days: at once, and after 3, 5 and 7 more. Two owners would make twice as many tries.
        assert len(tries(world)) == sum(due <= day for due in (0, 3, 8, 15)), day
    assert collection(world, invoice.id).collected_by == first
    if first == "stripe":
        wanted = NewPayment(invoice.id, "card", invoice.total, "USD")
        with pytest.raises(Conflict, match="collects this invoice by itself"):
            create_payment.create_payment(world.ledger, world.scope, world.gateways(), wanted, world.now)


def test_nobody_charges_while_a_page_is_open_on_which_the_customer_may_pay(world: World) -> None:
    invoice = sent(world, card="4242 4242 4242 4242")
    wanted = NewPayment(invoice.id, "payment_link", invoice.total, "USD", OK_URL, NO_URL, True)
    page = create_payment.create_payment(world.ledger, world.scope, world.gateways(), wanted, world.now)
    sweep(world)
    assert tries(world) == []
    assert submit_card(page.checkout_url or "").status_code == 303
    world.hear()
    later(world, 2 * DAY)
    assert (world.charged(), collection(world, invoice.id).payment_status) == ([11850], "paid")


def test_a_page_that_nobody_used_holds_the_try_until_it_has_closed(world: World) -> None:
    invoice = sent(world, card="4242 4242 4242 4242")
    wanted = NewPayment(invoice.id, "payment_link", invoice.total, "USD", OK_URL, NO_URL, True)
    create_payment.create_payment(world.ledger, world.scope, world.gateways(), wanted, world.now)
    sweep(world)
    later(world, timedelta(hours=26))
    assert (world.charged(), collection(world, invoice.id).payment_status) == ([11850], "paid")


@pytest.mark.parametrize("when", ["before", "after"])
def test_S1_a_crash_around_any_call_makes_no_try_twice_and_counts_each(world: World, when: str) -> None:
    world.connect(collection="tallyhouse")
    customer = world.customer()
    world.save_card(customer, ALWAYS_DECLINES)
    points = 0
    while True:
        invoice = world.invoice(customer=customer)
        world.sync(invoice.id)
        before, cut = len(tries(world)), CuttingGateway(points + 1, when)
        with contextlib.suppress(Cut):
            collect(world.ledger, world.scope, world.gateways(cut.around), invoice.id, world.now)
        world.now += timedelta(minutes=1)
        collect(world.ledger, world.scope, world.gateways(), invoice.id, world.now)
        assert (len(tries(world)) - before, collection(world, invoice.id).tries) == (1, 1), cut.calls
        if len(cut.calls) <= points:
            break
        points += 1
    assert points >= 5
    assert "pay_invoice" in cut.calls


def test_a_try_whose_answer_was_lost_is_the_same_try(world: World) -> None:
    invoice = sent(world)
    world.control.fault(action="drop", path="/v1/invoices/*/pay", when="after")
    sweep(world)
    assert (tries(world), collection(world, invoice.id).tries) == (["failed"], 0)
    later(world, timedelta(minutes=1))
    assert (tries(world), collection(world, invoice.id).tries) == (["failed"], 1)
