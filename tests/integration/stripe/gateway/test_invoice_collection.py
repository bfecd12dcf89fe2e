"""How collecting goes: each try with its card and reason, the next one, past due; Stripe's retries are followed."""

from datetime import timedelta

from pipelines.steps.invoice_collection import Collection, collection_of
from tests.integration.stripe.gateway.world import World

DAY = 86400
ALWAYS_DECLINES = "4000 0000 0000 0341"


def collection(world: World, invoice_id: str) -> Collection:
    with world.ledger.read() as session:
        return collection_of(session, world.scope, invoice_id, world.now)


def cards(found: Collection) -> list[tuple[str, str]]:
    return [(entry.status, entry.detail["last4"]) for entry in found.attempts]


def test_stripes_own_retries_are_followed_until_the_card_is_replaced(world: World) -> None:
    world.connect()
    customer = world.customer()
    world.save_card(customer, ALWAYS_DECLINES)
    invoice = world.invoice(customer=customer)
    before = collection(world, invoice.id)
    assert (before.collected_by, before.past_due, before.tries, before.attempts) == (None, False, 0, ())
    world.sync(invoice.id)
    world.control.wait_idle()
    world.hear()
    declined = collection(world, invoice.id)
    assert (declined.collected_by, declined.past_due, declined.tries) == ("stripe", True, 1)
    assert [(entry.number, entry.status, entry.detail["last4"]) for entry in declined.attempts] == [
        (1, "failed", "0341")
    ]
    assert declined.next_attempt_at is not None
    assert timedelta(days=2) < declined.next_attempt_at - world.now < timedelta(days=4)

    world.save_card(customer, "4242 4242 4242 4242")
    world.control.clock(advance=3 * DAY + 60)
    world.control.wait_idle()
    world.hear()
    paid = collection(world, invoice.id)
    assert (paid.payment_status, paid.past_due, paid.next_attempt_at) == ("paid", False, None)
    assert [(entry.status, entry.detail["last4"]) for entry in paid.attempts] == [
        ("failed", "0341"),
        ("succeeded", "4242"),
    ]
    assert world.charged() == [11850]


def test_an_invoice_that_was_sent_is_past_due_after_its_day(world: World) -> None:
    world.connect(collection="manual", days_until_due=14)
    invoice = world.invoice(collection_method="send_invoice")
    world.sync(invoice.id)
    sent = collection(world, invoice.id)
    assert (sent.collected_by, sent.past_due) == ("manual", False)
    assert sent.due_at is not None
    assert abs(sent.due_at - world.now - timedelta(days=14)) < timedelta(minutes=5)
    world.now += timedelta(days=15)
    assert collection(world, invoice.id).past_due
