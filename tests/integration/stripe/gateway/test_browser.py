"""Chromium buys: cards are saved and invoices paid on the sandbox's pages as a person does it, and we hear of it."""

from collections.abc import Iterator

import pytest

from ledger.store.invoices import InvoiceRecord
from pipelines.steps.create_payment import NewPayment, create_payment
from pipelines.steps.save_card import CardSetup, start
from tests.integration.stripe.gateway.world import World
from tests.support import browser
from tests.support.browser import Visitor

pytestmark = [pytest.mark.slow, pytest.mark.skipif(browser.found() is None, reason=browser.MISSING)]

GOOD, DECLINED, NO_FUNDS = "4242 4242 4242 4242", "4000 0000 0000 0002", "4000 0000 0000 9995"
FAILS_LATER = "4000 0000 0000 0341"
ASKS_ONCE, ASKS_ALWAYS = "4000 0025 0000 3155", "4000 0027 6000 3184"


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    with browser.chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


def done_url(world: World) -> str:
    return f"{world.sandbox.url}/?done"


def page_to_save_a_card(world: World) -> str:
    setup = CardSetup(world.customer().id, done_url(world), f"{world.sandbox.url}/?cancelled", set_default=True)
    return start(world.ledger, world.scope, world.link(), setup, world.now).checkout_url


def default_card(world: World) -> str | None:
    world.hear()
    [customer] = world.stripe_customers()
    found = customer["invoice_settings"]["default_payment_method"]
    return None if found is None else str(world.get(f"/v1/payment_methods/{found}")["card"]["last4"])


def hosted_page(world: World, **terms: str) -> tuple[InvoiceRecord, str]:
    """An invoice that is open at Stripe, and its page there."""
    invoice = world.invoice(**terms)
    return invoice, world.sync(invoice.id).hosted_invoice_url or ""


def status(world: World, invoice: InvoiceRecord) -> str:
    world.control.wait_idle()
    world.hear()
    return world.read_invoice(invoice.id).payment_status.value


def test_a_card_is_saved_and_a_declined_one_can_be_replaced_on_the_same_page(world: World, visitor: Visitor) -> None:
    world.connect()
    visitor.open(page_to_save_a_card(world))
    assert "Save a card" in visitor.text
    assert "for Acme" in visitor.text
    visitor.picture("1-save-a-card")
    visitor.pay_with(DECLINED, "Save card")
    assert "declined" in visitor.alert
    visitor.picture("2-declined")
    visitor.pay_with(GOOD, "Save card")
    assert visitor.url == done_url(world)
    assert default_card(world) == "4242"


def test_the_bank_may_ask_before_a_card_is_saved(world: World, visitor: Visitor) -> None:
    world.connect()
    page = page_to_save_a_card(world)
    visitor.open(page)
    visitor.pay_with(ASKS_ONCE, "Save card")
    assert "Your bank asks you to authenticate" in visitor.text
    visitor.picture("3-authenticate")
    visitor.press("Fail authentication")
    assert visitor.alert
    visitor.picture("4-not-completed")
    visitor.press("Go back")
    assert visitor.url == page
    visitor.pay_with(ASKS_ONCE, "Save card")
    visitor.press("Complete authentication")
    assert visitor.url == done_url(world)
    assert default_card(world) == "3155"


def test_a_page_can_be_left_and_used_once_only(world: World, visitor: Visitor) -> None:
    world.connect()
    page = page_to_save_a_card(world)
    visitor.open(page)
    visitor.press("Cancel and go back")
    assert visitor.url.endswith("/?cancelled")
    visitor.open(page)
    visitor.pay_with(GOOD, "Save card")
    visitor.open(page)
    assert "no longer open" in visitor.text


def test_an_invoice_is_paid_on_a_payment_link_after_a_card_without_funds(world: World, visitor: Visitor) -> None:
    world.connect()
    invoice = world.invoice()
    wanted = NewPayment(invoice.id, "payment_link", invoice.total, "USD", done_url(world), done_url(world), True)
    link = create_payment(world.ledger, world.scope, world.gateways(), wanted, world.now)
    visitor.open(link.checkout_url or "")
    assert "118.50 USD" in visitor.text
    visitor.picture("5-payment-link")
    visitor.pay_with(NO_FUNDS, "Pay 118.50 USD")
    assert "insufficient funds" in visitor.alert
    visitor.pay_with(GOOD, "Pay 118.50 USD")
    assert visitor.url == done_url(world)
    assert (status(world, invoice), world.charged(), default_card(world)) == ("paid", [11850], "4242")


def test_a_card_that_fails_later_is_replaced_on_the_hosted_invoice_page(world: World, visitor: Visitor) -> None:
    world.connect()
    visitor.open(page_to_save_a_card(world))
    visitor.pay_with(FAILS_LATER, "Save card")
    assert default_card(world) == "0341"
    [customer] = world.stripe_customers()
    invoice = world.invoice(customer=world.customer_of(customer["metadata"]["tallyhouse_customer_id"]))
    page = world.sync(invoice.id).hosted_invoice_url or ""
    assert status(world, invoice) == "failed"
    visitor.open(page)
    visitor.picture("6-open-invoice")
    visitor.pay_with(GOOD, "Pay 118.50 USD")
    assert "Status: paid" in visitor.text
    visitor.picture("7-paid-invoice")
    assert (status(world, invoice), world.charged()) == ("paid", [11850])


def test_an_invoice_that_is_sent_is_paid_with_a_card_that_asks_the_cardholder(world: World, visitor: Visitor) -> None:
    world.connect(collection="manual")
    invoice, page = hosted_page(world, collection_method="send_invoice")
    visitor.open(page)
    visitor.pay_with(ASKS_ALWAYS, "Pay 118.50 USD")
    visitor.press("Complete authentication")
    assert visitor.url == page
    assert "Status: paid" in visitor.text
    assert (status(world, invoice), world.charged()) == ("paid", [11850])
    visitor.press("Printable document")
    visitor.picture("8-document")
    assert "118.50" in visitor.text


def test_both_decline_cards_leave_the_invoice_open_and_unpaid(world: World, visitor: Visitor) -> None:
    world.connect(collection="manual")
    invoice, page = hosted_page(world)
    visitor.open(page)
    for card in (DECLINED, NO_FUNDS):
        visitor.pay_with(card, "Pay 118.50 USD")
        assert visitor.alert
    assert world.charged() == []
    assert status(world, invoice) == "failed"
