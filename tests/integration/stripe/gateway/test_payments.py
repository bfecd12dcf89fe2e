"""Paying by link, by saved card and offline, and that no two of them collect the same debt."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial

import pytest

from billing.errors import Conflict, InvalidInput
from billing.invoice import InvoiceStatus, PaymentStatus
from billing.ports import ProviderUnavailable
from ledger.store import audit, sessions
from ledger.store.invoices import InvoiceRecord
from ledger.store.payments import PaymentRecord
from pipelines.steps import pay_invoice, payment_link, void_invoice
from pipelines.steps.pay_invoice import OfflinePayment
from pipelines.steps.payment_link import LinkRequest
from tests.integration.stripe.gateway.cutting import Cut, CuttingGateway
from tests.integration.stripe.gateway.world import NO_URL, OK_URL, World, answered
from tests.support.at_once import in_threads
from tests.support.sandbox_process import submit_card

DECLINING = "4000 0000 0000 0341"


def link_for(world: World, invoice: InvoiceRecord, amount: str | None = None, save: bool = False) -> PaymentRecord:
    asked = None if amount is None else Decimal(amount)
    request = LinkRequest(invoice.id, OK_URL, NO_URL, asked, save_card_and_make_default=save)
    return payment_link.create(world.ledger, world.scope, world.link(), request, world.now)


def offline(world: World, invoice: InvoiceRecord, amount: str, connected: bool = True) -> PaymentRecord:
    link = world.link() if connected else None
    request = OfflinePayment(invoice.id, Decimal(amount), "USD", {"reference": "wire 7"})
    return pay_invoice.record_offline(world.ledger, world.scope, link, request, world.now)


def pay(world: World, invoice: InvoiceRecord) -> PaymentRecord:
    return pay_invoice.pay_with_card(world.ledger, world.scope, world.link(), invoice.id, world.now)


def test_a_link_paid_before_the_sync_is_counted_at_stripe_and_not_collected_again(world: World) -> None:
    world.connect()
    customer = world.customer()
    invoice = world.invoice(customer=customer)
    payment = link_for(world, invoice, save=True)
    assert (payment.status, payment.amount) == ("pending", Decimal("118.50"))
    submit_card(payment.checkout_url or "")
    world.hear()
    paid = world.read_invoice(invoice.id)
    assert (paid.payment_status, (paid.payment_details or {})["last4"]) == (PaymentStatus.PAID, "4242")
    (there,) = world.stripe_customers()
    assert there["invoice_settings"]["default_payment_method"] is not None

    result = world.sync(invoice.id)
    world.control.wait_idle()
    assert (result.outcome, result.status) == ("synced", "paid")
    assert world.charged() == [11850]
    assert world.read_invoice(invoice.id).amount_paid == Decimal("118.50")


def test_a_part_paid_by_link_leaves_stripe_the_rest_to_collect(world: World) -> None:
    world.connect()
    customer = world.customer()
    world.save_card(customer)
    invoice = world.invoice(customer=customer)
    submit_card(link_for(world, invoice, "18.50").checkout_url or "", card_number="5555 5555 5555 4444")
    world.hear()
    assert world.read_invoice(invoice.id).payment_status == PaymentStatus.PARTIALLY_PAID
    world.sync(invoice.id)
    world.hear()
    assert sorted(world.charged()) == [1850, 10000]
    read = world.read_invoice(invoice.id)
    assert (read.payment_status, read.amount_paid) == (PaymentStatus.PAID, Decimal("118.50"))


@pytest.mark.parametrize("heard", [True, False])
def test_a_link_that_is_open_when_the_invoice_goes_to_stripe_is_closed_first(world: World, heard: bool) -> None:
    """Paid in the last moment or not at all: in both cases the customer is charged once."""
    world.connect()
    customer = world.customer()
    world.save_card(customer)
    invoice = world.invoice(customer=customer)
    payment = link_for(world, invoice)
    if heard:
        submit_card(payment.checkout_url or "")
    assert world.sync(invoice.id).outcome == "synced"
    if not heard:
        assert submit_card(payment.checkout_url or "").status_code != 303
    world.hear()
    assert world.charged() == [11850]
    assert world.read_invoice(invoice.id).payment_status == PaymentStatus.PAID


def test_once_the_invoice_is_at_stripe_the_link_is_stripes_own_page_of_it(world: World) -> None:
    world.connect(collection="manual")
    customer = world.customer()
    invoice = world.invoice(customer=customer)
    result = world.sync(invoice.id)
    payment = link_for(world, invoice)
    assert payment.checkout_url == result.hosted_invoice_url
    assert link_for(world, invoice) == payment
    with pytest.raises(InvalidInput) as refusal:
        link_for(world, invoice, "10.00")
    assert refusal.value.code == "amount_not_remaining"
    submit_card(payment.checkout_url or "")
    world.hear()
    assert world.read_invoice(invoice.id).payment_status == PaymentStatus.PAID
    assert world.charged() == [11850]
    with pytest.raises(Conflict) as paid:
        link_for(world, invoice)
    assert paid.value.code == "invoice_paid"


def test_a_link_that_saves_the_card_pays_the_invoice_at_stripe_while_stripe_waits(world: World) -> None:
    world.connect()
    customer = world.customer()
    invoice = world.invoice(customer=customer)
    result = world.sync(invoice.id)
    world.control.wait_idle()
    page = link_for(world, invoice, save=True).checkout_url or ""
    assert page != result.hosted_invoice_url
    assert world.get(f"/v1/invoices/{result.stripe_invoice_id}")["auto_advance"] is False
    submit_card(page)
    world.hear()
    assert world.charged() == [11850]
    paid = world.read_invoice(invoice.id)
    assert (paid.payment_status, (paid.payment_details or {})["last4"]) == (PaymentStatus.PAID, "4242")
    assert world.get(f"/v1/invoices/{result.stripe_invoice_id}")["status"] == "paid"
    assert world.mapping("customer", customer.id).detail["default_card"]["last4"] == "4242"


def test_when_such_a_link_expires_stripe_goes_on_collecting(world: World) -> None:
    world.connect()
    customer = world.customer()
    invoice = world.invoice(customer=customer)
    result = world.sync(invoice.id)
    world.control.wait_idle()
    link_for(world, invoice, save=True)
    world.control.clock(advance=25 * 3600)
    world.hear()
    assert world.get(f"/v1/invoices/{result.stripe_invoice_id}")["auto_advance"] is True
    assert world.mapping("invoice", invoice.id).detail["held_for"] is None


def test_money_that_the_invoice_no_longer_takes_is_booked_and_shown_to_people(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    result = world.sync(invoice.id)
    page = link_for(world, invoice, save=True).checkout_url or ""
    submit_card(result.hosted_invoice_url or "")
    submit_card(page)
    world.hear()
    world.hear()
    assert world.read_invoice(invoice.id).amount_paid == Decimal("118.50")
    with world.ledger.read() as session:
        entries = audit.list_entries(session, world.scope, entity="payment").items
    assert [entry.action for entry in entries] == ["payment.not_attached"]


def test_asking_again_for_a_link_returns_it_and_asking_otherwise_replaces_it(world: World) -> None:
    world.connect()
    invoice = world.invoice()
    first, again, other = link_for(world, invoice), link_for(world, invoice), link_for(world, invoice, "50.00")
    assert first == again
    assert other.id != first.id
    assert submit_card(first.checkout_url or "").status_code != 303
    assert submit_card(other.checkout_url or "").status_code == 303
    assert world.charged() == [5000]


def test_two_requests_for_a_link_at_once_open_one_page(world: World) -> None:
    world.connect()
    invoice = world.invoice()
    made = [*in_threads([lambda: answered(lambda: link_for(world, invoice))] * 3), link_for(world, invoice)]
    assert len({payment.checkout_url for payment in made if payment}) == 1
    assert len(world.get("/v1/checkout/sessions", limit="100")["data"]) == 1


def test_S1_a_link_cut_off_after_it_was_made_is_found_again(world: World) -> None:
    world.connect()
    invoice = world.invoice()
    request = LinkRequest(invoice.id, OK_URL, NO_URL)
    # The customer is call 1, the page call 2.
    cut = world.gateways(CuttingGateway(2, "after").around).require(world.scope)
    with pytest.raises(Cut):
        payment_link.create(world.ledger, world.scope, cut, request, world.now)
    made = link_for(world, invoice)
    (there,) = world.get("/v1/checkout/sessions", limit="100")["data"]
    assert made.checkout_url == there["url"]


def test_an_expired_link_is_closed_and_its_payment_canceled(world: World) -> None:
    world.connect()
    invoice = world.invoice()
    payment = link_for(world, invoice)
    world.control.clock(advance=25 * 3600)
    world.hear()
    with world.ledger.read() as session:
        (checkout,) = sessions.list_checkouts(session, world.scope, payment_id=payment.id).items
    assert checkout.status == "expired"
    assert link_for(world, invoice).id != payment.id


@pytest.mark.parametrize(
    ("amount", "code"), [("118.51", "amount_over_remaining"), ("0.10", "below_minimum"), ("0", "amount_over_remaining")]
)
def test_an_amount_that_cannot_be_linked_is_refused(world: World, amount: str, code: str) -> None:
    world.connect()
    with pytest.raises(InvalidInput) as refusal:
        link_for(world, world.invoice(), amount)
    assert (refusal.value.code, refusal.value.field) == (code, "amount")


def test_where_stripe_collects_we_never_charge_as_well(world: World) -> None:
    world.connect()
    invoice = world.invoice()
    world.sync(invoice.id)
    with pytest.raises(Conflict) as refusal:
        pay(world, invoice)
    assert refusal.value.code == "collected_by_stripe"


def test_without_a_saved_card_a_charge_is_refused_before_stripe_is_asked(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    world.sync(invoice.id)
    with pytest.raises(Conflict) as refusal:
        pay(world, invoice)
    assert refusal.value.code == "payment_method_missing"


def test_a_declined_charge_is_followed_by_a_new_attempt_and_not_by_its_own_echo(world: World) -> None:
    world.connect(collection="manual")
    customer = world.customer()
    world.save_card(customer, DECLINING)
    invoice = world.invoice(customer=customer)
    world.sync(invoice.id)
    declined = pay(world, invoice)
    assert (declined.status, declined.failure_code) == ("failed", "generic_decline")
    assert world.read_invoice(invoice.id).payment_status == PaymentStatus.FAILED
    world.save_card(customer)
    paid = pay(world, invoice)
    assert (paid.id, paid.status, paid.attempt) == (declined.id, "succeeded", 2)
    assert pay(world, invoice) == paid
    assert world.charged() == [11850]


@pytest.mark.parametrize("when", ["before", "after"])
def test_S1_a_charge_whose_answer_was_lost_is_not_made_twice(world: World, when: str) -> None:
    world.connect(collection="manual")
    customer = world.customer()
    world.save_card(customer)
    invoice = world.invoice(customer=customer)
    world.sync(invoice.id)
    # Look, payments, customer, then the charge.
    cut = CuttingGateway(4, when)
    link = world.gateways(cut.around).require(world.scope)
    with pytest.raises(Cut):
        pay_invoice.pay_with_card(world.ledger, world.scope, link, invoice.id, world.now)
    assert cut.calls[-1] == "pay_invoice"
    assert pay(world, invoice).status == "succeeded"
    assert world.charged() == [11850]


def test_an_offline_payment_of_a_synced_invoice_stops_stripe_from_collecting(world: World) -> None:
    world.connect()
    customer = world.customer()
    invoice = world.invoice(customer=customer, collection_method="send_invoice")
    result = world.sync(invoice.id)
    with pytest.raises(InvalidInput) as part:
        offline(world, invoice, "10.00")
    assert part.value.code == "amount_not_remaining"
    assert offline(world, invoice, "118.50").status == "succeeded"
    assert world.get(f"/v1/invoices/{result.stripe_invoice_id}")["status"] == "paid"
    world.hear()
    read = world.read_invoice(invoice.id)
    assert (read.payment_status, read.amount_paid) == (PaymentStatus.PAID, Decimal("118.50"))
    assert (read.payment_details or {})["payment_method"] == "offline"
    assert world.charged() == []


def test_offline_payments_add_up_without_any_connection(world: World) -> None:
    invoice = world.invoice()
    assert offline(world, invoice, "18.50", connected=False).metadata == {"reference": "wire 7"}
    assert world.read_invoice(invoice.id).payment_status == PaymentStatus.PARTIALLY_PAID
    offline(world, invoice, "100.00", connected=False)
    assert world.read_invoice(invoice.id).payment_status == PaymentStatus.PAID
    with pytest.raises(Conflict):
        offline(world, invoice, "1.00", connected=False)


def test_an_invoice_paid_offline_before_it_is_synced_is_paid_at_stripe_too(world: World) -> None:
    connection = world.connect()
    customer = world.customer()
    world.save_card(customer)
    invoice = world.invoice(customer=customer)
    offline(world, invoice, "118.50")
    assert world.sync(invoice.id).status == "paid"
    world.control.wait_idle()
    assert world.charged() == []
    assert connection.status == "active"


def test_a_voided_invoice_is_voided_at_stripe_first(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    result = world.sync(invoice.id)
    voided = void_invoice.void_invoice(
        world.ledger, world.scope, world.link(), invoice.id, "key_1", "ordered twice", world.now
    )
    assert voided.status == InvoiceStatus.VOID
    assert world.get(f"/v1/invoices/{result.stripe_invoice_id}")["status"] == "void"


def test_a_paid_invoice_is_not_voided(world: World) -> None:
    world.connect()
    customer = world.customer()
    world.save_card(customer)
    invoice = world.invoice(customer=customer)
    world.sync(invoice.id)
    world.control.wait_idle()
    with pytest.raises(Conflict) as refusal:
        void_invoice.void_invoice(
            world.ledger, world.scope, world.link(), invoice.id, "key_1", "ordered twice", world.now
        )
    assert refusal.value.code == "invoice_paid"
    assert world.read_invoice(invoice.id).payment_status == PaymentStatus.PAID


def test_a_link_asked_for_while_the_invoice_goes_to_stripe_never_lets_both_collect(world: World) -> None:
    """Whoever comes first: the page is closed, or it is Stripe's own, or the request is sent away for now."""
    world.connect()
    customer = world.customer()
    world.save_card(customer)
    for _ in range(3):
        invoice = world.invoice(("10.00",), customer=customer)
        pages: list[str] = []
        sync = partial(world.sync, invoice.id)
        calls: list[Callable[[], object]] = [partial(answered, sync), partial(_ask, world, invoice, pages)]
        in_threads(calls)
        sync()
        for page in pages:
            submit_card(page)
    world.control.wait_idle()
    assert world.charged() == [1000, 1000, 1000]


def _ask(world: World, invoice: InvoiceRecord, pages: list[str]) -> None:
    try:
        pages.append(link_for(world, invoice).checkout_url or "")
    except (Conflict, ProviderUnavailable):
        return
