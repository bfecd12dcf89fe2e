"""Customer, card, invoice, charge, webhook: the whole way, as a connected environment goes it."""

from decimal import Decimal

import pytest

from billing.invoice import PaymentStatus
from pipelines.steps import invoice_draft
from tests.integration.stripe.gateway.world import World


def test_a_saved_card_is_charged_once_for_exactly_the_invoice(world: World) -> None:
    world.connect()
    customer = world.customer()
    started = world.save_card(customer)
    assert (started.status, started.usage) == ("requires_payment_method", "off_session")
    assert started.expires_at - started.created_at == 24 * 3600
    invoice = world.invoice(customer=customer)

    result = world.sync(invoice.id)
    world.control.wait_idle()
    processed = world.hear()

    assert result.outcome == "synced"
    assert (result.stripe_invoice_id or "").startswith("in_")
    assert (result.payment_intent_id or "").startswith("pi_")
    assert processed.dead == processed.retried == 0
    paid = world.read_invoice(invoice.id)
    assert (paid.payment_status, paid.amount_paid) == (PaymentStatus.PAID, Decimal("118.50"))
    assert paid.payment_details == {"payment_method": "card", "last4": "4242", "brand": "visa"}
    assert paid.paid_at is not None
    assert paid.stripe_hosted_invoice_url
    assert paid.invoice_pdf_url
    assert world.charged() == [11850]


def test_a_synced_invoice_is_skipped_and_its_mapping_returned(world: World) -> None:
    world.connect()
    invoice = world.invoice()
    first = world.sync(invoice.id)
    again = world.sync(invoice.id)
    assert (first.outcome, again.outcome) == ("synced", "already_synced")
    assert again.stripe_invoice_id == first.stripe_invoice_id
    assert len(world.stripe_invoices()) == 1


@pytest.mark.parametrize(
    ("amounts", "currency", "minor"),
    [
        (("12345",), "JPY", [12345]),
        (("1.230", "0.540"), "KWD", [1230, 540]),
        (("10.00", "-2.50"), "USD", [1000, -250]),
    ],
)
def test_M1_every_currencys_decimals_arrive_exactly(
    world: World, amounts: tuple[str, ...], currency: str, minor: list[int]
) -> None:
    world.connect()
    result = world.sync(world.invoice(amounts, currency).id)
    assert result.outcome == "synced", result
    assert sorted(line["amount"] for line in world.stripe_lines(result.stripe_invoice_id or "")) == sorted(minor)


def test_more_lines_than_stripe_takes_arrive_summed_up_with_the_same_total(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invoice_draft, "MOST_LINES", 12)
    monkeypatch.setattr(invoice_draft, "LINES_PER_CALL", 5)
    world.connect()
    result = world.sync(world.invoice(["1.00"] * 30).id)
    assert result.outcome == "synced", result
    (there,) = world.stripe_invoices()
    lines = world.stripe_lines(there["id"])
    assert (there["total"], len(lines)) == (3000, 12)
    assert [line["amount"] for line in lines if line["description"] == "19 more lines"] == [1900]
