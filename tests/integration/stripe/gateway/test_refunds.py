"""Refunds are carried out at Stripe once, each try its record; never more than came in is given back."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.errors import Conflict, InvalidInput
from billing.invoice import PaymentStatus
from ledger.store import invoices, payment_history, payments, refunds
from ledger.store.payments import PaymentRecord
from ledger.store.refunds import RefundRecord
from pipelines.steps.credit_invoice import NewCreditNote, issue_note
from pipelines.steps.pay_invoice import OfflinePayment, pay_with_card, record_offline
from pipelines.steps.refund_payment import WantedRefund, refundable, request_refund
from pipelines.steps.stripe_sweep import sweep
from tests.integration.stripe.gateway.world import World
from tests.support.at_once import in_threads

DAY = 86400
REFUND_FAILS, REFUND_WAITS = "4000 0000 0000 5126", "4000 0000 0000 7726"


def paid(world: World, card: str = "4242 4242 4242 4242") -> PaymentRecord:
    world.connect(collection="manual")
    customer = world.customer()
    world.save_card(customer, card)
    invoice = world.invoice(customer=customer)
    world.sync(invoice.id)
    payment = pay_with_card(world.ledger, world.scope, world.link(), invoice.id, world.now)
    world.hear()
    return payment


def ask(world: World, payment: PaymentRecord, amount: str | None = None) -> RefundRecord:
    wanted = WantedRefund(payment.id, None if amount is None else Decimal(amount), "requested_by_customer")
    return world.ledger.run(lambda session: request_refund(session, world.scope, wanted, "key_1", world.now))


def work(world: World) -> None:
    swept = sweep(world.ledger, world.gateways(), world.now)
    assert (swept.retried, swept.dead) == (0, 0)


def at_stripe(world: World) -> list[dict[str, Any]]:
    return list(world.get("/v1/refunds", limit="100")["data"])[::-1]


def read(world: World, payment: PaymentRecord) -> tuple[str, PaymentStatus, list[tuple[str, str]]]:
    with world.ledger.read() as session:
        now = payments.get_payment(session, world.scope, payment.id)
        invoice = invoices.get_invoice(session, world.scope, payment.invoice_id or "")
        asked = refunds.of_payment(session, world.scope, payment.id)
    return now.status, invoice.payment_status, sorted((f"{each.amount:f}", each.status) for each in asked)


def left(world: World, payment: PaymentRecord) -> str:
    with world.ledger.read() as session:
        return f"{refundable(session, world.scope, payments.get_payment(session, world.scope, payment.id)):f}"


def test_a_refund_in_parts_is_made_at_stripe_and_the_last_part_makes_payment_and_invoice_refunded(world: World) -> None:
    payment = paid(world)
    assert ask(world, payment, "18.50").status == "pending"
    work(world)
    assert read(world, payment) == ("succeeded", "paid", [("18.50", "succeeded")])
    ask(world, payment)
    work(world)
    world.hear()
    assert read(world, payment) == ("refunded", "refunded", [("100.00", "succeeded"), ("18.50", "succeeded")])
    assert [(each["amount"], each["reason"]) for each in at_stripe(world)] == [
        (1850, "requested_by_customer"),
        (10000, "requested_by_customer"),
    ]


def test_more_than_is_left_is_refused_here_and_two_at_once_see_each_other(world: World) -> None:
    payment = paid(world)
    with pytest.raises(InvalidInput) as over:
        ask(world, payment, "118.51")
    assert (over.value.code, over.value.field) == ("amount_over_left", "amount")

    def one() -> str:
        try:
            return ask(world, payment, "100.00").status
        except InvalidInput as error:
            return error.code

    assert sorted(in_threads([one, one])) == ["amount_over_left", "pending"]
    work(world)
    assert [each["amount"] for each in at_stripe(world)] == [10000]


def test_a_refund_of_the_dashboard_counts_and_what_stripe_refuses_has_failed(world: World) -> None:
    payment = paid(world)
    refund = ask(world, payment)
    world.post("/v1/refunds", "dashboard", payment_intent=payment.gateway_payment_id or "", amount="1850")
    work(world)
    assert read(world, payment)[2] == [("118.50", "failed")]
    with world.ledger.read() as session:
        assert refunds.get_refund(session, world.scope, refund.id).failure_reason is not None
    world.hear()
    assert left(world, payment) == "100.00"
    # The next try is a record of its own.
    ask(world, payment)
    work(world)
    world.hear()
    assert read(world, payment) == ("refunded", "refunded", [("100.00", "succeeded"), ("118.50", "failed")])


def test_a_refund_that_the_bank_sends_back_has_failed_and_can_be_made_again(world: World) -> None:
    payment = paid(world, REFUND_FAILS)
    ask(world, payment)
    work(world)
    assert read(world, payment) == ("refunded", "refunded", [("118.50", "succeeded")])
    world.control.clock(advance=DAY + 60)
    world.hear()
    assert read(world, payment) == ("succeeded", "paid", [("118.50", "failed")])
    assert left(world, payment) == "118.50"


def test_a_refund_that_waits_at_stripe_is_pending_until_it_says_more(world: World) -> None:
    payment = paid(world, REFUND_WAITS)
    ask(world, payment, "18.50")
    work(world)
    world.hear()
    assert read(world, payment)[2] == [("18.50", "pending")]
    assert left(world, payment) == "100.00"
    world.control.clock(advance=DAY + 60)
    world.hear()
    assert read(world, payment)[2] == [("18.50", "succeeded")]


def test_a_refund_whose_answer_was_lost_is_found_again_by_our_id(world: World) -> None:
    payment = paid(world)
    ask(world, payment, "18.50")
    world.control.fault(action="drop", when="after", path="/v1/refunds", method="POST")
    assert sweep(world.ledger, world.gateways(), world.now).retried == 1
    world.now += timedelta(days=2)
    world.control.clock(advance=2 * DAY)
    assert sweep(world.ledger, world.gateways(), world.now).done == 1
    assert [each["amount"] for each in at_stripe(world)] == [1850]
    assert read(world, payment)[2] == [("18.50", "succeeded")]


def test_an_offline_payment_s_refund_is_on_record_at_once(world: World) -> None:
    world.connect()
    invoice = world.invoice(customer=world.customer())
    world.sync(invoice.id)
    money = OfflinePayment(invoice.id, Decimal("150.00"), "USD")
    payment = record_offline(world.ledger, world.scope, world.link(), money, world.now)
    # What was too much is the customer's credit already.
    assert left(world, payment) == "118.50"
    ask(world, payment, "18.50")
    assert read(world, payment) == ("succeeded", "paid", [("18.50", "succeeded")])
    ask(world, payment)
    assert read(world, payment)[:2] == ("refunded", "refunded")
    assert at_stripe(world) == []


def test_what_a_credit_note_gave_back_is_not_refunded_and_the_other_way_round(world: World) -> None:
    payment = paid(world)
    with world.ledger.begin() as session:
        wanted = NewCreditNote(payment.invoice_id or "", "Outage", Decimal("18.50"))
        issue_note(session, world.scope, wanted, "key_1", world.now)
    assert left(world, payment) == "100.00"
    ask(world, payment)
    work(world)
    with pytest.raises(Conflict) as nothing:
        ask(world, payment)
    assert nothing.value.code == "nothing_left"
    again = NewCreditNote(payment.invoice_id or "", "All of it")
    with world.ledger.begin() as session, pytest.raises(Conflict) as refused:
        issue_note(session, world.scope, again, "key_1", world.now)
    assert refused.value.code == "already_refunded"
    with world.ledger.begin() as session:
        as_refund = NewCreditNote(payment.invoice_id or "", "All of it", settle_as="refund")
        note = issue_note(session, world.scope, as_refund, "key_1", world.now)
        assert [f"{each.amount:f}" for each in refunds.of_note(session, world.scope, note.id)] == ["100.00"]
    work(world)
    assert [each["amount"] for each in at_stripe(world)] == [10000]


def test_a_payment_that_never_came_in_is_not_given_back(world: World) -> None:
    payment = paid(world, "4000 0000 0000 0341")
    with pytest.raises(Conflict) as refused:
        ask(world, payment)
    assert refused.value.code == "payment_not_refundable"
    with world.ledger.read() as session:
        assert payment_history.refunded(payment_history.list_history(session, world.scope, payment.id)) == 0
