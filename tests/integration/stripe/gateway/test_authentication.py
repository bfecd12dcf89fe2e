"""Cards whose bank wants the cardholder: when the card is saved, or when it is charged and nobody is there."""

from billing.invoice import PaymentStatus
from ledger.store import payments
from ledger.store.payments import PaymentRecord
from pipelines.steps import pay_invoice, payment_methods
from tests.integration.stripe.gateway.world import World
from tests.support.sandbox_process import http, submit_card

ASKS_WHEN_SAVED, ASKS_ALWAYS = "4000 0025 0000 3155", "4000 0027 6000 3184"


def authenticate(world: World, location: str) -> None:
    assert http().post(world.sandbox.url + location, data={"outcome": "complete"}).status_code == 303


def payment_of(world: World, invoice_id: str) -> PaymentRecord:
    with world.ledger.read() as session:
        [found] = payments.list_payments(session, world.scope, invoice_id=invoice_id).items
    return found


def test_a_card_is_saved_and_becomes_the_default_once_the_cardholder_has_confirmed(world: World) -> None:
    world.connect()
    customer = world.customer()
    started = world.start_card(customer)
    asked = submit_card(started.checkout_url, card_number=ASKS_WHEN_SAVED)
    world.hear()
    assert payment_methods.list_methods(world.ledger, world.scope, world.link(), customer.id, world.now) == []
    authenticate(world, asked.headers["location"])
    world.hear()
    [saved] = payment_methods.list_methods(world.ledger, world.scope, world.link(), customer.id, world.now)
    assert (saved.method.card.last4, saved.is_default) == ("3155", True)


def test_a_charge_that_needs_the_cardholder_waits_and_is_paid_on_stripes_page_once(world: World) -> None:
    world.connect(collection="manual")
    customer = world.customer()
    asked = submit_card(world.start_card(customer).checkout_url, card_number=ASKS_ALWAYS)
    authenticate(world, asked.headers["location"])
    world.hear()
    invoice = world.invoice(customer=customer)
    page = world.sync(invoice.id).hosted_invoice_url or ""
    tried = pay_invoice.pay_with_card(world.ledger, world.scope, world.link(), invoice.id, world.now)
    assert tried.status == "requires_action"
    world.hear()
    assert payment_of(world, invoice.id).status == "requires_action"
    assert world.read_invoice(invoice.id).payment_status not in {PaymentStatus.PAID, PaymentStatus.FAILED}
    assert world.charged() == []

    answer = submit_card(page, card_number=ASKS_ALWAYS)
    authenticate(world, answer.headers["location"])
    world.hear()
    assert payment_of(world, invoice.id).status == "succeeded"
    assert world.read_invoice(invoice.id).payment_status == PaymentStatus.PAID
    assert world.charged() == [11850]
