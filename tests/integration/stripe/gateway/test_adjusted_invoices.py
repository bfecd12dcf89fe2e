"""Discounts, taxes and credits at Stripe: its total is what we ask for, to the last unit (S2)."""

from decimal import Decimal

import pytest

from billing.errors import Conflict
from billing.one_off import OneOffItem
from ledger.store import credit_grants, tax_rates
from ledger.store.credit_grants import NewGrant
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.credit_invoice import NewCreditNote, issue_note, void_note
from pipelines.steps.finalize_invoice import finalize_invoice
from pipelines.steps.one_off_invoice import NewOneOff, create_one_off
from pipelines.steps.pay_invoice import OfflinePayment, record_offline
from tests.integration.stripe.gateway.world import World

ITEMS = (
    OneOffItem("Onboarding", amount=Decimal(100)),
    OneOffItem("Training", amount=Decimal("50.01")),
    OneOffItem("Goodwill", amount=Decimal(-30)),
)


def invoice_with_rates(world: World, *rates: tuple[str, bool]) -> InvoiceRecord:
    """A finalized invoice of 120.01 before tax."""
    with world.ledger.begin() as session:
        made = [
            tax_rates.create_tax_rate(
                session, world.scope, name="VAT", percentage=Decimal(rate), inclusive=inclusive, now=world.now
            )
            for rate, inclusive in rates
        ]
        wanted = NewOneOff("acme", ITEMS, "USD", tax_rate_ids=[each.id for each in made])
        draft = create_one_off(session, world.scope, wanted, "key_1", world.now)
    return finalize_invoice(world.ledger, world.scope, draft.id, "key_1", world.now)


def lines_at_stripe(world: World, invoice: InvoiceRecord) -> list[tuple[str, int]]:
    stripe_id = world.mapping("invoice", invoice.id).provider_id or ""
    return sorted((line["description"], line["amount"]) for line in world.stripe_lines(stripe_id))


def test_S2_a_tax_on_top_is_a_line_of_its_own_and_an_inclusive_one_is_in_the_lines(world: World) -> None:
    world.connect()
    world.save_card(world.customer())
    invoice = invoice_with_rates(world, ("19", False), ("5", True))
    # 120.01 holds 5.71; 19 % of the other 114.30 are 21.72.
    assert invoice.total == Decimal("141.73")
    assert world.sync(invoice.id).outcome == "synced"
    assert lines_at_stripe(world, invoice) == [
        ("Goodwill", -3000),
        ("Onboarding", 10000),
        ("Training", 5001),
        ("VAT 19%", 2172),
    ]
    (there,) = world.stripe_invoices()
    assert there["total"] == 14173
    world.control.wait_idle()
    world.hear()
    assert world.charged() == [14173]
    assert world.read_invoice(invoice.id).amount_paid == Decimal("141.73")


def test_S2_what_credit_pays_is_a_line_below_zero_and_only_the_rest_is_charged(world: World) -> None:
    world.connect()
    customer = world.customer()
    world.save_card(customer)
    with world.ledger.begin() as session:
        credit_grants.grant(session, world.scope, customer.id, NewGrant(Decimal(100), "USD", "purchased"), world.now)
    invoice = invoice_with_rates(world, ("19", False))
    assert (invoice.total, invoice.amount_due) == (Decimal("142.81"), Decimal("42.81"))
    assert world.sync(invoice.id).outcome == "synced"
    assert ("Credit applied", -10000) in lines_at_stripe(world, invoice)
    world.control.wait_idle()
    world.hear()
    assert world.charged() == [4281]
    assert world.read_invoice(invoice.id).payment_status == "paid"


def test_S2_a_credit_note_lowers_what_stripe_asks_for_until_stripe_collects_it(world: World) -> None:
    world.connect()
    world.customer()
    invoice = invoice_with_rates(world, ("19", False))
    wanted = NewCreditNote(invoice.id, "Outage", amount=Decimal("42.81"))
    with world.ledger.begin() as session:
        note = issue_note(session, world.scope, wanted, "key_1", world.now)
    assert world.sync(invoice.id).outcome == "synced"
    (there,) = world.stripe_invoices()
    assert there["total"] == 10000
    with world.ledger.begin() as session, pytest.raises(Conflict) as refused:
        issue_note(session, world.scope, NewCreditNote(invoice.id, "More"), "key_1", world.now)
    assert refused.value.code == "invoice_at_stripe"
    with world.ledger.begin() as session, pytest.raises(Conflict) as not_void:
        void_note(session, world.scope, note.id, "Wrong invoice", "key_1", world.now)
    assert not_void.value.code == "invoice_at_stripe"


def test_what_is_paid_offline_beyond_what_stripe_asks_for_is_kept_as_credit_once(world: World) -> None:
    world.connect()
    customer = world.customer()
    invoice = invoice_with_rates(world)
    world.sync(invoice.id)
    money = OfflinePayment(invoice.id, Decimal("150.00"), "USD")
    paid = record_offline(world.ledger, world.scope, world.link(), money, world.now)
    world.hear()
    read = world.read_invoice(invoice.id)
    assert (read.payment_status, read.amount_paid) == ("paid", Decimal("120.01"))
    with world.ledger.read() as session:
        (kept,) = credit_grants.list_grants(session, world.scope, customer.id).items
    assert (kept.amount, kept.source, kept.source_id) == (Decimal("29.99"), "overpayment", paid.id)
    assert world.charged() == []
