"""Each try is a record of its own; refunds and disputes are read from Stripe; a refund that failed is undone here."""

from typing import Any

from billing.invoice import PaymentStatus
from ledger.store import audit, payment_history, payments
from ledger.store.payment_history import HistoryRecord
from ledger.store.payments import PaymentRecord
from pipelines.steps import pay_invoice, payment_methods
from tests.integration.stripe.gateway.world import World

DAY = 86400
ALWAYS_DECLINES, REFUND_FAILS, DISPUTED = "4000 0000 0000 0341", "4000 0000 0000 5126", "4000 0000 0000 0259"


def pay(world: World, invoice_id: str) -> PaymentRecord:
    return pay_invoice.pay_with_card(world.ledger, world.scope, world.link(), invoice_id, world.now)


def paid_invoice(world: World, card: str) -> tuple[str, PaymentRecord]:
    world.connect(collection="manual")
    customer = world.customer()
    world.save_card(customer, card)
    invoice = world.invoice(customer=customer)
    world.sync(invoice.id)
    payment = pay(world, invoice.id)
    world.hear()
    return invoice.id, payment


def read(world: World, payment: PaymentRecord) -> tuple[PaymentRecord, list[HistoryRecord]]:
    with world.ledger.read() as session:
        history = payment_history.list_history(session, world.scope, payment.id)
        return payments.get_payment(session, world.scope, payment.id), history


def refund(world: World, payment: PaymentRecord, **form: str) -> dict[str, Any]:
    return world.post("/v1/refunds", "dashboard", payment_intent=payment.gateway_payment_id or "", **form)


def test_each_try_is_a_numbered_record_with_its_card_and_its_reason(world: World) -> None:
    invoice_id, payment = paid_invoice(world, ALWAYS_DECLINES)
    assert payment.status == "failed"
    world.now = world.now.replace(microsecond=0)
    pay(world, invoice_id)
    customer_id = payment.customer_id
    with_customer = world.mapping("customer", customer_id)
    world.control.clock(advance=60)
    world.post("/v1/payment_methods/pm_card_mastercard/attach", "another", customer=with_customer.provider_id or "")
    another = payment_methods.list_methods(world.ledger, world.scope, world.link(), customer_id, world.now)
    mastercard = next(saved.method.id for saved in another if saved.method.card.brand == "mastercard")
    payment_methods.choose_default(world.ledger, world.scope, world.link(), customer_id, mastercard, world.now)
    assert pay(world, invoice_id).status == "succeeded"
    world.hear()
    _, history = read(world, payment)
    tries = [(entry.number, entry.status, entry.reason, entry.detail["last4"]) for entry in history]
    assert tries == [
        (1, "failed", "generic_decline", "0341"),
        (2, "failed", "generic_decline", "0341"),
        (3, "succeeded", None, "4444"),
    ]
    assert {f"{entry.amount}" for entry in history} == {"118.50"}
    assert world.charged() == [11850]


def test_refunds_are_read_and_a_whole_one_is_seen_on_payment_and_invoice(world: World) -> None:
    invoice_id, payment = paid_invoice(world, "4242 4242 4242 4242")
    refund(world, payment, amount="1850", reason="requested_by_customer")
    world.hear()
    partly, history = read(world, payment)
    assert (partly.status, f"{payment_history.refunded(history)}") == ("succeeded", "18.50")
    world.post("/v1/refunds", "dashboard:2", payment_intent=payment.gateway_payment_id or "")
    world.hear()
    wholly, history = read(world, payment)
    given_back = [(entry.number, f"{entry.amount}", entry.status) for entry in history if entry.kind == "refund"]
    assert given_back == [(1, "18.50", "succeeded"), (2, "100.00", "succeeded")]
    assert (wholly.status, world.read_invoice(invoice_id).payment_status) == ("refunded", PaymentStatus.REFUNDED)


def test_a_refund_that_failed_after_all_is_undone_in_our_books(world: World) -> None:
    invoice_id, payment = paid_invoice(world, REFUND_FAILS)
    refund(world, payment)
    world.hear()
    assert read(world, payment)[0].status == "refunded"
    assert world.read_invoice(invoice_id).payment_status == PaymentStatus.REFUNDED
    before = world.events()
    world.control.clock(advance=DAY + 60)
    world.hear()
    undone, history = read(world, payment)
    assert undone.status == "succeeded"
    assert [entry.status for entry in history if entry.kind == "refund"] == ["failed"]
    assert world.read_invoice(invoice_id).payment_status == PaymentStatus.PAID
    # Heard again, old events change nothing.
    world.hear(before[::-1])
    assert read(world, payment) == (undone, history)


def test_a_dispute_is_seen_with_its_reason_and_written_to_the_audit_log(world: World) -> None:
    invoice_id, payment = paid_invoice(world, DISPUTED)
    world.control.wait_idle()
    world.hear()
    _, history = read(world, payment)
    [dispute] = [entry for entry in history if entry.kind == "dispute"]
    assert (dispute.status, dispute.reason, f"{dispute.amount}") == ("needs_response", "fraudulent", "118.50")
    world.post(f"/v1/disputes/{dispute.gateway_id}/close", "dashboard")
    world.hear()
    _, history = read(world, payment)
    assert [entry.status for entry in history if entry.kind == "dispute"] == ["lost"]
    with world.ledger.read() as session:
        entries = audit.list_entries(session, world.scope, entity="payment", entity_id=payment.id).items
    noted = {entry.detail["status"] for entry in entries if entry.action == "payment.disputed"}
    assert noted == {"needs_response", "lost"}
    assert world.read_invoice(invoice_id).payment_status == PaymentStatus.PAID
