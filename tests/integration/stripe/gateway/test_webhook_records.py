"""What came of each webhook: deliveries noted, events that nobody delivered found, what was given up tried again."""

from datetime import timedelta

import pytest

from billing.errors import NotFound
from ledger.store import inbox
from ledger.store.inbox import InboxRecord
from pipelines.steps import process_webhook, stripe_backlog
from pipelines.steps.process_webhook import HANDLERS
from pipelines.steps.recover_events import EVENTS_API, Recovered, recover_events
from pipelines.steps.replay_webhooks import replay
from tests.integration.stripe.gateway.world import World
from tests.support.sandbox_process import submit_card

# What Stripe tells about everything that we keep there.
TOLD = """
    checkout.session.completed checkout.session.expired setup_intent.succeeded setup_intent.setup_failed
    payment_method.attached payment_method.updated payment_method.automatically_updated payment_method.detached
    customer.created customer.updated customer.deleted invoice.finalized invoice.finalization_failed invoice.paid
    invoice.payment_failed invoice.payment_action_required invoice.payment_succeeded invoice.voided
    invoice.marked_uncollectible invoice.overdue invoice.overpaid invoice.updated invoice.deleted invoice_payment.paid
    payment_intent.succeeded payment_intent.payment_failed payment_intent.requires_action payment_intent.canceled
    charge.refunded refund.created refund.updated refund.failed charge.dispute.created charge.dispute.funds_withdrawn
    charge.dispute.funds_reinstated charge.dispute.closed credit_note.created credit_note.voided
"""


def events(world: World, state: str | None = None) -> list[InboxRecord]:
    with world.ledger.read() as session:
        return inbox.list_events(session, world.scope, state=state, limit=100).items


def recover(world: World) -> Recovered:
    return recover_events(world.ledger, world.gateways(), world.scope, world.now)


def test_every_type_that_concerns_us_is_acted_on() -> None:
    assert set(TOLD.split()) <= HANDLERS.keys()


def test_each_delivery_is_noted_with_where_it_came_from(world: World) -> None:
    world.connect()
    world.start_card(world.customer())
    event = world.events()[0]
    for _ in range(3):
        world.receive(event)
    [stored] = events(world)
    with world.ledger.read() as session:
        deliveries = inbox.list_deliveries(session, world.scope, stored.id)
    assert [(each.source, each.fresh) for each in deliveries] == [
        ("203.0.113.7", True),
        ("203.0.113.7", False),
        ("203.0.113.7", False),
    ]


def test_S3_events_that_nobody_delivered_are_found_and_end_in_the_same_state(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    submit_card(world.sync(invoice.id).hosted_invoice_url or "")
    world.control.wait_idle()
    found = recover(world)
    assert found.missed == found.looked_at > 3
    assert process_webhook.process_due(world.ledger, world.gateways(), world.now).dead == 0
    assert world.read_invoice(invoice.id).payment_status == "paid"
    with world.ledger.read() as session:
        sources = {
            each.source for event in events(world) for each in inbox.list_deliveries(session, world.scope, event.id)
        }
    assert sources == {EVENTS_API}
    assert recover(world).missed == 0


def test_S3_an_event_that_is_delivered_after_it_was_found_is_worked_off_once(world: World) -> None:
    world.connect(collection="manual")
    world.save_card(world.customer())
    world.hear()
    assert recover(world).missed == 0
    world.now += timedelta(hours=2)
    heard = {event.provider_event_id for event in events(world)}
    world.start_card(world.customer("late", "late@example.com"))
    fresh = [event for event in world.events() if event["id"] not in heard]
    assert recover(world).missed == len([event for event in fresh if event["type"] in HANDLERS]) == 1
    assert not any(world.receive(event).fresh for event in fresh if event["type"] in HANDLERS)


def test_a_connection_that_does_not_answer_keeps_no_other_from_being_read(world: World) -> None:
    world.connect()
    world.control.fault(action="forbidden", method="GET", path="/v1/events")
    followed = stripe_backlog.follow_all_open(world.ledger, world.gateways(), world.now)
    assert [failure.code for failure in followed.failures] == ["provider_key_refused"]
    world.customer()
    assert stripe_backlog.follow_all_open(world.ledger, world.gateways(), world.now).failures == ()


def test_what_was_given_up_can_be_replayed_and_then_succeeds(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    submit_card(world.sync(invoice.id).hosted_invoice_url or "")
    heard = world.events()
    world.control.fault(action="error", status=503, method="GET", path="/v1/*", times=5000)
    world.hear(heard)
    for _ in range(process_webhook.MOST_ATTEMPTS):
        world.now += timedelta(hours=7)
        process_webhook.process_due(world.ledger, world.gateways(), world.now)
    dead = events(world, "failed")
    assert {event.type for event in dead} >= {"invoice.paid"}
    assert world.read_invoice(invoice.id).payment_status == "pending"

    world.control.call("DELETE", "/faults")
    assert replay(world.ledger, world.scope, (), "test", world.now) == len(dead)
    process_webhook.process_due(world.ledger, world.gateways(), world.now)
    assert events(world, "failed") == []
    assert world.read_invoice(invoice.id).payment_status == "paid"
    with pytest.raises(NotFound):
        replay(world.ledger, world.scope, ("whk_none",), "test", world.now)
