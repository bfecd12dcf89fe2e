"""Balances, minimum amounts, credit notes, automatic collection: sums that must add up."""

import itertools
from typing import Any

import pytest
import stripe

from tests.integration.stripe.sandbox.conftest import Account, plain


def history(account: Account, customer: str) -> list[tuple[str, int, int]]:
    """(type, amount, ending balance), oldest first."""
    found = account.v1.customers.balance_transactions.list(customer).data
    return [(t.type, t.amount, t.ending_balance) for t in found][::-1]


def adds_up(invoice: Any) -> None:
    assert invoice.subtotal == invoice.total == sum(line.amount for line in invoice.lines.data)
    assert invoice.amount_remaining == invoice.amount_due - invoice.amount_paid


def test_a_zero_invoice_is_paid_at_finalization_without_a_payment(account: Account) -> None:
    invoice = account.open_invoice(account.customer_with_card().id, 500, -500)
    assert (invoice.status, invoice.amount_due, invoice.amount_paid) == ("paid", 0, 0)
    assert invoice.status_transitions.paid_at is not None
    assert account.v1.invoice_payments.list({"invoice": invoice.id}).data == []
    kinds = account.event_types()
    assert kinds[-4:] == ["invoice.finalized", "invoice.updated", "invoice.paid", "invoice.payment_succeeded"]
    assert not [kind for kind in kinds if kind.startswith(("invoice_payment", "payment_intent", "charge"))]


def test_an_amount_below_the_minimum_is_carried_to_the_next_invoice(account: Account) -> None:
    customer = account.customer_with_card()
    small = account.open_invoice(customer.id, 49)
    assert (small.status, small.total, small.amount_due, small.amount_paid) == ("paid", 49, 0, 0)
    assert (small.starting_balance, small.ending_balance) == (0, 49)
    assert account.v1.customers.retrieve(customer.id).balance == 49
    following = account.open_invoice(customer.id, 100)
    assert (following.status, following.total, following.amount_due) == ("open", 100, 149)
    assert (following.starting_balance, following.ending_balance) == (49, 0)
    account.v1.invoices.pay(following.id, {}, account.once())
    assert account.control.ledger(customer.id)[0]["charged"] == 149
    assert history(account, customer.id) == [("invoice_too_small", 49, 49), ("applied_to_invoice", -49, 0)]


def test_credit_is_applied_once_and_given_back_when_the_invoice_is_voided(account: Account) -> None:
    customer = account.customer_with_card()
    account.v1.customers.balance_transactions.create(customer.id, {"amount": -300, "currency": "usd"}, account.once())
    draft = account.draft(customer.id, 1000)
    assert (draft.starting_balance, draft.amount_due) == (-300, 700)
    invoice = account.v1.invoices.finalize_invoice(draft.id, {}, account.once())
    assert (invoice.total, invoice.amount_due, invoice.ending_balance) == (1000, 700, 0)
    assert account.open_invoice(customer.id, 1000).amount_due == 1000
    account.v1.invoices.void_invoice(invoice.id, {}, account.once())
    assert account.v1.customers.retrieve(customer.id).balance == -300
    assert history(account, customer.id) == [
        ("adjustment", -300, -300),
        ("applied_to_invoice", 300, 0),
        ("unapplied_from_invoice", -300, -300),
    ]


def test_a_negative_invoice_becomes_credit(account: Account) -> None:
    customer = account.customer()
    invoice = account.open_invoice(customer.id, -250)
    assert (invoice.status, invoice.total, invoice.amount_due, invoice.ending_balance) == ("paid", -250, 0, -250)
    assert account.v1.customers.retrieve(customer.id).balance == -250


def test_balances_of_different_currencies_do_not_mix(account: Account) -> None:
    customer = account.customer_with_card()
    account.open_invoice(customer.id, 49)
    euros = account.open_invoice(customer.id, 100, currency="eur")
    assert (euros.starting_balance, euros.amount_due) == (0, 100)
    expanded = account.v1.customers.retrieve(customer.id, {"expand": ["invoice_credit_balance"]})
    assert plain(expanded.invoice_credit_balance) == {"usd": -49}


def test_an_invoice_too_large_to_charge_is_not_finalized(account: Account) -> None:
    draft = account.draft(account.customer().id, 99_999_999, 1)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.invoices.finalize_invoice(draft.id, {}, account.once())
    assert caught.value.code == "amount_too_large"
    assert account.v1.invoices.retrieve(draft.id).status == "draft"


def test_numbers_have_no_gaps(account: Account) -> None:
    customer = account.customer()
    account.v1.invoices.delete(account.draft(customer.id, 900).id)
    numbers = [account.open_invoice(customer.id, 900).number for _ in range(3)]
    assert [number.partition("-")[2] for number in numbers] == ["0001", "0002", "0003"]


def test_a_credit_note_reduces_an_open_invoice_and_can_be_voided(account: Account) -> None:
    invoice = account.open_invoice(account.customer_with_card().id, 1000)
    note = account.v1.credit_notes.create(
        {"invoice": invoice.id, "amount": 400, "reason": "order_change", "memo": "Late"}, account.once()
    )
    assert (note.type, note.pre_payment_amount, note.post_payment_amount) == ("pre_payment", 400, 0)
    assert note.number == f"{invoice.number}-CN-01"
    reduced = account.v1.invoices.retrieve(invoice.id)
    assert (reduced.amount_due, reduced.amount_remaining, reduced.total) == (600, 600, 1000)
    assert account.intent_of(invoice.id).amount == 600
    assert account.v1.credit_notes.void_credit_note(note.id, {}, account.once()).status == "void"
    assert account.v1.invoices.retrieve(invoice.id).amount_due == 1000
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.credit_notes.void_credit_note(note.id, {}, account.once())
    account.v1.credit_notes.create({"invoice": invoice.id, "amount": 1000}, account.once())
    settled = account.v1.invoices.retrieve(invoice.id)
    assert (settled.status, settled.amount_paid, settled.pre_payment_credit_notes_amount) == ("paid", 0, 1000)


def test_credit_after_payment_adds_up_and_never_exceeds_what_was_paid(account: Account) -> None:
    customer = account.customer_with_card()
    invoice = account.paid_invoice(customer.id, 1000)
    with pytest.raises(stripe.InvalidRequestError, match="must equal"):
        account.v1.credit_notes.create({"invoice": invoice.id, "amount": 500, "refund_amount": 100}, account.once())
    line = invoice.lines.data[0]
    note = account.v1.credit_notes.create(
        {
            "invoice": invoice.id,
            "lines": [{"type": "invoice_line_item", "invoice_line_item": line.id, "amount": 500}],
            "refund_amount": 200,
            "credit_amount": 250,
            "out_of_band_amount": 50,
        },
        account.once(),
    )
    assert (note.total, note.post_payment_amount, len(note.refunds)) == (500, 500, 1)
    assert account.v1.customers.retrieve(customer.id).balance == -250
    after = account.v1.invoices.retrieve(invoice.id)
    assert (after.status, after.amount_paid, after.post_payment_credit_notes_amount) == ("paid", 1000, 500)
    (entry,) = account.control.ledger(customer.id)
    assert (entry["charged"], entry["refunded"], entry["net"]) == (1000, 200, 800)
    with pytest.raises(stripe.InvalidRequestError, match="must not exceed"):
        account.v1.credit_notes.create({"invoice": invoice.id, "amount": 501, "credit_amount": 501}, account.once())
    assert [n.id for n in account.v1.credit_notes.list({"invoice": invoice.id}).data] == [note.id]
    assert [item.amount for item in account.v1.credit_notes.line_items.list(note.id).data] == [500]


def test_an_auto_advancing_invoice_is_collected_by_itself(account: Account) -> None:
    customer = account.customer_with_card()
    draft = account.draft(customer.id, 900)
    account.v1.invoices.finalize_invoice(draft.id, {"auto_advance": True}, account.once())
    account.control.wait_idle()
    paid = account.v1.invoices.retrieve(draft.id)
    assert (paid.status, paid.amount_paid) == ("paid", 900)
    (event,) = account.v1.events.list({"type": "invoice.paid"}).data
    assert event.request is not None
    assert event.request.id is None


def test_an_auto_advancing_draft_is_finalized_after_an_hour(account: Account) -> None:
    account.control.clock(freeze=True)
    draft = account.draft(account.customer_with_card().id, 900, auto_advance=True)
    assert draft.automatically_finalizes_at == draft.created + 3600
    account.control.clock(advance=3599)
    assert account.v1.invoices.retrieve(draft.id).status == "draft"
    account.control.clock(advance=1)
    assert account.v1.invoices.retrieve(draft.id).status == "paid"


def test_a_draft_that_cannot_be_finalized_by_itself_says_why(account: Account) -> None:
    draft = account.draft(account.customer().id, 99_999_999, 1, auto_advance=True)
    account.control.clock(advance=3600)
    stuck = account.v1.invoices.retrieve(draft.id)
    assert (stuck.status, stuck.last_finalization_error.code) == ("draft", "amount_too_large")
    assert account.event_types()[-1] == "invoice.finalization_failed"


def test_declined_collection_is_retried_on_a_schedule_and_then_given_up(account: Account) -> None:
    account.control.clock(freeze=True)
    customer = account.customer_with_card("pm_card_chargeCustomerFail")
    draft = account.draft(customer.id, 900)
    account.v1.invoices.finalize_invoice(draft.id, {"auto_advance": True}, account.once())
    account.control.wait_idle()
    failed = account.v1.invoices.retrieve(draft.id)
    assert (failed.status, failed.attempt_count) == ("open", 1)
    assert failed.next_payment_attempt == failed.status_transitions.finalized_at + 3 * 86400
    assert account.v1.customers.retrieve(customer.id).delinquent is True
    account.control.clock(advance=20 * 86400)
    given_up = account.v1.invoices.retrieve(draft.id)
    assert (given_up.status, given_up.attempt_count, given_up.next_payment_attempt) == ("open", 4, None)
    failures = [event.created for event in account.v1.events.list({"type": "charge.failed"}).data][::-1]
    assert [(after - before) // 86400 for before, after in itertools.pairwise(failures)] == [3, 5, 7]
    assert account.control.ledger() == []


def test_totals_always_add_up(account: Account) -> None:
    customer = account.customer_with_card()
    adds_up(account.draft(customer.id, 1, 20, 300))
    adds_up(account.open_invoice(customer.id, 4000))
    adds_up(account.paid_invoice(customer.id, 50000, -1))
