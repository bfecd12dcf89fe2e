"""Why an invoice is not sent, each reason by its name, and what is never pushed to Stripe as collectable."""

from decimal import Decimal
from typing import cast

import pytest

from billing.invoice import InvoiceStatus, PaymentStatus
from billing.ports import PaymentGateway, ProviderInvoice
from ledger.store import connections
from ledger.store.connections import ConnectionRecord
from pipelines.steps import pay_invoice, sync_customer
from tests.integration.stripe.gateway.world import World


def disable(world: World, connection: ConnectionRecord) -> None:
    with world.ledger.begin() as session:
        connections.update_connection(session, world.scope, connection.id, {"status": "disabled"})


def test_without_a_connection_the_sync_is_refused_by_name(world: World) -> None:
    result = world.sync(world.invoice().id)
    assert (result.outcome, result.reason) == ("refused", "no_connection")


def test_with_a_disabled_connection_the_sync_is_refused_by_name(world: World) -> None:
    disable(world, world.connect())
    assert world.sync(world.invoice().id).reason == "connection_inactive"


def test_with_invoice_sync_off_the_sync_is_refused_by_name(world: World) -> None:
    world.connect(invoice={"inbound": False, "outbound": False})
    assert world.sync(world.invoice().id).reason == "invoice_sync_disabled"


def test_a_customer_that_stripe_refuses_is_named_and_can_be_sent_later(world: World) -> None:
    world.connect(collection="manual")
    world.control.fault(action="forbidden", path="/v1/customers", method="POST")
    invoice = world.invoice()
    result = world.sync(invoice.id)
    assert (result.outcome, result.reason) == ("refused", "customer_not_synced")
    assert world.mapping("invoice", invoice.id).last_error == "customer_not_synced"
    assert world.sync(invoice.id).outcome == "synced"
    assert world.mapping("invoice", invoice.id).last_error is None


def test_a_draft_is_not_sent(world: World) -> None:
    world.connect()
    assert world.sync(world.draft().id).reason == "invoice_not_finalized"


def test_a_total_below_zero_asks_for_nothing_at_stripe(world: World) -> None:
    world.connect()
    invoice = world.invoice(("-5.00",))
    assert world.sync(invoice.id).outcome == "synced"
    [there] = world.stripe_invoices()
    assert (there["status"], there["total"], there["amount_due"]) == ("paid", 0, 0)
    assert sorted(line["amount"] for line in world.stripe_lines(there["id"])) == [-500, 500]
    assert world.charged() == []


@pytest.mark.parametrize(
    ("amounts", "currency", "reason"),
    [
        (("0.49",), "USD", "below_minimum"),
        (("49",), "JPY", "below_minimum"),
        (("1000000.00",), "USD", "above_maximum"),
        (("1.234",), "KWD", "amount_not_chargeable"),
        (("5",), "UGX", "amount_not_representable"),
        ((), "USD", "no_lines"),
    ],
)
def test_what_stripe_would_not_collect_as_it_is_stays_here_and_is_visible(
    world: World, amounts: tuple[str, ...], currency: str, reason: str
) -> None:
    world.connect()
    invoice = world.invoice(amounts, currency)
    assert (world.sync(invoice.id).outcome, world.sync(invoice.id).reason) == ("refused", reason)
    mapping = world.mapping("invoice", invoice.id)
    assert (mapping.state, mapping.last_error) == ("failed", reason)
    assert world.read_invoice(invoice.id) == invoice
    assert world.stripe_invoices() == []


def test_a_total_of_zero_is_sent_and_needs_no_payment(world: World) -> None:
    world.connect()
    invoice = world.invoice(("5.00", "-5.00"))
    result = world.sync(invoice.id)
    assert (result.outcome, result.status, result.payment_intent_id) == ("synced", "paid", None)
    read = world.read_invoice(invoice.id)
    assert (read.payment_status, read.amount_paid, read.payment_details) == (PaymentStatus.PAID, Decimal(0), None)


def test_S2_a_draft_that_somebody_changed_is_deleted_and_never_finalized(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    link = world.link()
    customer_id = sync_customer.ensure_customer(world.ledger, world.scope, link, invoice.customer_id, world.now)
    # The line is slipped in before ours, whose answer is compared.
    slipped = _Slipping(world, customer_id, "create_invoice")
    result = world.sync(invoice.id, world.gateways(slipped.around))
    assert (result.outcome, result.reason) == ("failed", "total_differs")
    assert result.detail == "119.50 there, 118.50 here"
    assert world.stripe_invoices() == []
    mapping = world.mapping("invoice", invoice.id)
    assert (mapping.state, mapping.provider_id) == ("failed", None)
    assert (mapping.last_error or "").startswith("total_differs")
    assert world.read_invoice(invoice.id).status == InvoiceStatus.FINALIZED
    assert world.sync(invoice.id).outcome == "synced"


def test_S2_a_draft_that_was_changed_after_it_was_compared_is_not_collected(world: World) -> None:
    world.connect(collection="stripe")
    invoice = world.invoice()
    customer_id = sync_customer.ensure_customer(world.ledger, world.scope, world.link(), invoice.customer_id, world.now)
    slipped = _Slipping(world, customer_id, "add_lines")
    for gateways in (world.gateways(slipped.around), None):
        result = world.sync(invoice.id, gateways)
        assert (result.outcome, result.reason) == ("failed", "total_differs")
        assert result.detail == "119.50 there, 118.50 here"
    (there,) = world.stripe_invoices()
    assert (there["status"], there["auto_advance"]) == ("open", False)
    mapping = world.mapping("invoice", invoice.id)
    assert (mapping.state, mapping.provider_id) == ("failed", there["id"])


def test_S2_an_amount_carried_to_the_customers_balance_is_never_booked_as_cash(world: World) -> None:
    """Stripe judges the minimum after conversion, so a total that we let through may still be carried."""
    world.connect(collection="manual")
    customer = world.customer()
    sync_customer.ensure_customer(world.ledger, world.scope, world.link(), customer.id, world.now)
    (there,) = world.stripe_customers()
    world.post(f"/v1/customers/{there['id']}/balance_transactions", "owed", amount="-60", currency="usd")
    invoice = world.invoice(("1.00",), customer=customer)
    result = world.sync(invoice.id)
    assert (result.outcome, result.status) == ("synced", "paid")
    read = world.read_invoice(invoice.id)
    assert (read.payment_status, read.amount_paid) == (PaymentStatus.PENDING, Decimal(0))
    assert world.mapping("invoice", invoice.id).detail["carried"] is True
    assert world.charged() == []


def test_what_was_owed_from_before_is_not_this_invoices_money(world: World) -> None:
    world.connect()
    customer = world.customer()
    world.save_card(customer)
    (there,) = world.stripe_customers()
    world.post(f"/v1/customers/{there['id']}/balance_transactions", "owed", amount="40", currency="usd")
    invoice = world.invoice(("10.00",), customer=customer)
    world.sync(invoice.id)
    world.hear()
    assert world.charged() == [1040]
    read = world.read_invoice(invoice.id)
    assert (read.payment_status, read.amount_paid) == (PaymentStatus.PAID, Decimal("10.00"))


def test_a_credit_at_stripe_pays_without_being_booked_as_cash(world: World) -> None:
    world.connect()
    customer = world.customer()
    sync_customer.ensure_customer(world.ledger, world.scope, world.link(), customer.id, world.now)
    (there,) = world.stripe_customers()
    world.post(f"/v1/customers/{there['id']}/balance_transactions", "credit", amount="-2000", currency="usd")
    invoice = world.invoice(("10.00",), customer=customer)
    assert world.sync(invoice.id).status == "paid"
    read = world.read_invoice(invoice.id)
    assert (read.payment_status, read.amount_paid) == (PaymentStatus.PAID, Decimal(0))
    assert (read.payment_details or {})["payment_method"] == "customer_balance"


def test_a_partial_offline_payment_keeps_the_invoice_here(world: World) -> None:
    connection = world.connect()
    disable(world, connection)
    invoice = world.invoice(("10.00",))
    part = pay_invoice.OfflinePayment(invoice.id, Decimal("4.00"), "USD")
    pay_invoice.record_offline(world.ledger, world.scope, None, part, world.now)
    with world.ledger.begin() as session:
        connections.update_connection(session, world.scope, connection.id, {"status": "active"})
    assert world.sync(invoice.id).reason == "partly_paid_elsewhere"
    assert world.read_invoice(invoice.id).payment_status == PaymentStatus.PARTIALLY_PAID


class _Slipping:
    """Adds an item to the draft behind our back, once, right after a call of ours."""

    def __init__(self, world: World, customer_id: str, after: str) -> None:
        self._world = world
        self._customer_id = customer_id
        self._after = after

    def around(self, inner: PaymentGateway) -> PaymentGateway:
        world, customer_id, after = self._world, self._customer_id, self._after

        class Around:
            def __getattr__(self, name: str) -> object:
                method = getattr(inner, name)
                return method if name != after else lambda *args: self._slip(method(*args))

            def _slip(self, draft: ProviderInvoice) -> ProviderInvoice:
                form = {"customer": customer_id, "invoice": draft.id, "amount": "100", "currency": "usd"}
                world.post("/v1/invoiceitems", "slipped", **form)
                return draft

        return cast("PaymentGateway", Around())
