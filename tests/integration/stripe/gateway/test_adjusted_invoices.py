"""Discounts, taxes and credits at Stripe: its total is what we ask for, to the last unit (S2)."""

from decimal import Decimal

from billing.adjustments.adjust import DiscountTerms, InvoiceTerms, TaxTerms
from billing.credit_note import LineAmount
from billing.one_off import OneOffItem
from ledger.store import credit_grants, customers, tax_rates
from ledger.store.credit_grants import NewGrant
from ledger.store.invoices import InvoiceRecord
from pipelines.steps import invoice_draft
from pipelines.steps.credit_invoice import NewCreditNote, issue_note
from pipelines.steps.finalize_invoice import finalize_invoice
from pipelines.steps.one_off_invoice import NewOneOff, create_one_off
from pipelines.steps.pay_invoice import OfflinePayment, record_offline
from pipelines.steps.sync_credit_notes import push_notes
from tests.integration.stripe.gateway.world import World

ITEMS = (
    OneOffItem("Onboarding", amount=Decimal(100)),
    OneOffItem("Training", amount=Decimal("50.01")),
    OneOffItem("Goodwill", amount=Decimal(-30)),
)
SORRY = DiscountTerms("dis_2", "coupon_2", "Sorry", amount_off=Decimal("7.77"), currency="USD")
VAT = TaxTerms("txr_1", "VAT", Decimal(19), inclusive=False)


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


def test_S2_taxes_are_taxes_at_stripe_and_every_amount_of_them_is_ours(world: World) -> None:
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
    ]
    (there,) = world.stripe_invoices()
    assert (there["subtotal"], there["total"], there["total_excluding_tax"]) == (12001, 14173, 11430)
    on_top, included = sorted(there["total_taxes"], key=lambda tax: str(tax["tax_behavior"]))
    assert (on_top["amount"], on_top["taxable_amount"], included["amount"]) == (2172, 11430, 571)
    rate = world.get(f"/v1/tax_rates/{on_top['tax_rate_details']['tax_rate']}")
    assert (rate["display_name"], rate["percentage"], rate["active"]) == ("VAT", 19, False)
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


def discounted(world: World, *discounts: DiscountTerms) -> InvoiceRecord:
    """A finalized invoice of 118.50 before discounts and 19 % tax."""
    with world.ledger.read() as session:
        known = customers.get_customer(session, world.scope, "acme")
    return world.invoice(customer=known, terms=InvoiceTerms(discounts, (VAT,)))


def test_S2_discounts_are_discounts_at_stripe_to_the_last_unit(world: World) -> None:
    world.connect()
    world.save_card(world.customer())
    third = DiscountTerms("dis_1", "coupon_1", "A third off, as agreed with the sales team in Berlin", Decimal("33.33"))
    invoice = discounted(world, third, SORRY)
    assert world.sync(invoice.id).outcome == "synced"
    (there,) = world.stripe_invoices()
    ours = [int(each.amount * 100) for each in invoice.discounts]
    assert (there["subtotal"], [each["amount"] for each in there["total_discount_amounts"]]) == (11850, ours)
    assert [f"{each.amount:f}" for each in invoice.discounts] == ["39.50", "7.77"]
    assert there["total"] == int(invoice.total * 100)
    names = [world.get(f"/v1/coupons/{coupon.id}")["name"] for coupon in invoice_draft.coupons_of(invoice, "native")]
    assert names == ["A third off, as agreed with the sales te", "Sorry"]
    world.hear()
    assert world.charged() == [there["total"]]


def test_equal_discounts_share_a_coupon_and_one_that_was_deleted_is_made_again(world: World) -> None:
    world.connect(collection="manual")
    world.customer()
    first = discounted(world, SORRY)
    world.sync(first.id)
    second = discounted(world, SORRY)
    world.sync(second.id)
    (coupon,) = world.get("/v1/coupons")["data"]
    assert (coupon["amount_off"], coupon["times_redeemed"]) == (777, 2)
    world.delete(f"/v1/coupons/{coupon['id']}")
    third = discounted(world, SORRY)
    assert world.sync(third.id).outcome == "synced"
    assert [each["total"] for each in world.stripe_invoices()] == [13177, 13177, 13177]


def test_S2_what_stripe_does_not_take_as_taxes_goes_as_lines_with_the_same_total(world: World) -> None:
    world.connect(collection="manual")
    world.customer()
    world.control.fault(action="error", status=400, method="POST", path="/v1/invoices/*/add_lines")
    invoice = discounted(world, SORRY)
    assert world.sync(invoice.id).outcome == "synced"
    (there,) = world.stripe_invoices()
    assert (there["total"], there["total_taxes"], there["discounts"]) == (int(invoice.total * 100), [], [])
    assert ("VAT 19%", int(invoice.tax_total * 100)) in lines_at_stripe(world, invoice)


def test_a_credit_note_takes_its_tax_back_at_stripe(world: World) -> None:
    world.connect(collection="manual")
    world.customer()
    invoice = invoice_with_rates(world, ("19", False), ("5", True))
    world.sync(invoice.id)
    items = [LineAmount(invoice.lines[0].id, share=Decimal(1))]
    with world.ledger.begin() as session:
        note = issue_note(session, world.scope, NewCreditNote(invoice.id, "Not held", items=items), "key_1", world.now)
    assert push_notes(world.ledger, world.scope, world.link(), invoice.id, world.now) is None
    (there,) = world.get("/v1/credit_notes")["data"]
    ours = sorted(int(tax.amount * 100) for tax in note.lines[0].taxes)
    assert sorted(tax["amount"] for tax in there["total_taxes"]) == ours
    assert (there["total"], there["total_excluding_tax"]) == (int(note.total * 100), int(note.total * 100) - sum(ours))


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
