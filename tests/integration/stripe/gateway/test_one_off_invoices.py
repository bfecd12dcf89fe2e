"""Invoices that were made by hand go to Stripe like all others, and are voided there first."""

from decimal import Decimal

import pytest

from billing.errors import Conflict
from billing.invoice import InvoiceStatus, PaymentStatus
from billing.one_off import OneOffItem
from ledger.store import audit
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.connections import ConnectionUpdate, change
from pipelines.steps.finalize_invoice import finalize_invoice
from pipelines.steps.one_off_invoice import NewOneOff, create_one_off
from pipelines.steps.stripe_sweep import sweep
from pipelines.steps.void_invoice import void_invoice
from tests.integration.stripe.gateway.world import World
from tests.support.ledger_rows import BOX

ITEMS = (
    OneOffItem("Onboarding", amount=Decimal(500)),
    OneOffItem("Consulting, hours", Decimal("7.5"), unit_price=Decimal("133.33")),
    OneOffItem("Goodwill", amount=Decimal("-99.98")),
)


def drafted(world: World, collection_method: str = "charge_automatically") -> InvoiceRecord:
    with world.ledger.begin() as session:
        wanted = NewOneOff("acme", ITEMS, "USD", collection_method=collection_method)
        return create_one_off(session, world.scope, wanted, "key_1", world.now)


def finalized(world: World, invoice: InvoiceRecord) -> InvoiceRecord:
    return finalize_invoice(world.ledger, world.scope, invoice.id, "key_1", world.now)


def test_S1_a_finalized_one_off_invoice_is_sent_by_the_outbox_and_charged_once(world: World) -> None:
    world.connect()
    world.save_card(world.customer())
    invoice = finalized(world, drafted(world))
    assert sweep(world.ledger, world.gateways(), world.now).done == 1
    sweep(world.ledger, world.gateways(), world.now)
    world.sync(invoice.id)
    world.control.wait_idle()
    world.hear()
    assert world.charged() == [140000]
    paid = world.read_invoice(invoice.id)
    assert (paid.payment_status, paid.amount_paid) == (PaymentStatus.PAID, Decimal("1400.00"))
    stripe_id = world.mapping("invoice", invoice.id).provider_id or ""
    assert sorted((line["amount"], line["description"]) for line in world.stripe_lines(stripe_id)) == [
        (-9998, "Goodwill"),
        (50000, "Onboarding"),
        (99998, "Consulting, hours (7.5)"),
    ]


def test_a_draft_of_a_one_off_invoice_is_not_sent(world: World) -> None:
    world.connect()
    world.customer()
    assert world.sync(drafted(world).id).reason == "invoice_not_finalized"


def test_without_a_connection_a_one_off_invoice_is_finalized_and_waits_for_nobody(world: World) -> None:
    world.customer()
    invoice = finalized(world, drafted(world))
    assert (invoice.status, invoice.total) == (InvoiceStatus.FINALIZED, Decimal("1400.00"))
    assert sweep(world.ledger, world.gateways(), world.now).done == 0


def test_voiding_twice_says_why_once(world: World) -> None:
    world.connect(collection="manual")
    world.customer()
    invoice = finalized(world, drafted(world))
    world.sync(invoice.id)
    for reason in ("ordered twice", "once more"):
        voided = void_invoice(world.ledger, world.scope, world.link(), invoice.id, "key_1", reason, world.now)
    assert (voided.status, voided.void_reason) == (InvoiceStatus.VOID, "ordered twice")
    stripe_id = world.mapping("invoice", invoice.id).provider_id
    assert world.get(f"/v1/invoices/{stripe_id}")["status"] == "void"
    with world.ledger.read() as session:
        entries = audit.list_entries(session, world.scope, entity="invoice", entity_id=invoice.id).items
    assert [entry.detail["reason"] for entry in entries if entry.action == "invoice.voided"] == ["ordered twice"]


def test_what_is_at_stripe_is_not_voided_while_the_connection_is_disabled(world: World) -> None:
    connection = world.connect(collection="manual")
    world.customer()
    invoice = finalized(world, drafted(world))
    world.sync(invoice.id)
    disabled = ConnectionUpdate(status="disabled")
    change(world.ledger, world.scope, BOX, world.gateway, connection.id, disabled, "key_1", world.now)
    with pytest.raises(Conflict) as refused:
        void_invoice(world.ledger, world.scope, None, invoice.id, "key_1", "ordered twice", world.now)
    assert refused.value.code == "connection_inactive"
    assert world.read_invoice(invoice.id).status == InvoiceStatus.FINALIZED
