"""Invoices from draft to paid: lines, states and the moves that are refused."""

from typing import Any

import pytest
import stripe

from tests.integration.stripe.sandbox.conftest import Account, plain, submit_card
from tests.support.sandbox_process import http


def test_an_invoice_is_drafted_filled_finalized_and_paid_with_the_default_card(account: Account) -> None:
    customer = account.customer_with_card()
    draft = account.draft(
        customer.id,
        1000,
        10850,
        collection_method="charge_automatically",
        pending_invoice_items_behavior="exclude",
        metadata={"ours": "inv_1"},
        custom_fields=[{"name": "Period", "value": "2025-12"}],
    )
    assert (draft.status, draft.total, draft.amount_due, draft.number) == ("draft", 11850, 11850, None)
    assert (draft.hosted_invoice_url, draft.invoice_pdf) == (None, None)
    assert [line.amount for line in draft.lines.data] == [1000, 10850]
    with pytest.raises(AttributeError):
        draft.payments  # noqa: B018 - only there when asked for
    final = account.v1.invoices.finalize_invoice(
        draft.id, {"auto_advance": False, "expand": ["payments"]}, account.once()
    )
    prefix = account.v1.customers.retrieve(customer.id).invoice_prefix
    assert (final.status, final.number) == ("open", f"{prefix}-0001")
    assert final.payments is not None
    (payment,) = final.payments.data
    assert (payment.status, payment.amount_requested, payment.is_default) == ("open", 11850, True)
    assert http().get(str(final.hosted_invoice_url)).status_code == 200
    paid = account.v1.invoices.pay(draft.id, {"off_session": True}, account.once())
    assert (paid.status, paid.amount_paid, paid.amount_remaining, paid.attempt_count) == ("paid", 11850, 0, 1)
    assert paid.status_transitions.paid_at is not None
    charge = account.intent_of(draft.id).latest_charge
    assert (charge.amount, charge.payment_method_details.card.last4) == (11850, "4242")
    assert account.control.ledger(customer.id)[0]["charged"] == 11850
    assert [t for t in account.event_types() if t.startswith(("invoice", "charge", "payment_intent"))][-6:] == [
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
    ]


def test_lines_may_be_priced_by_stripe_and_halves_round_up(account: Account) -> None:
    product = account.v1.products.create({"name": "Calls"}, account.once())
    draft = account.draft(account.customer().id)
    data: Any = {"currency": "usd", "product": product.id, "unit_amount_decimal": "0.5"}
    filled = account.v1.invoices.add_lines(
        draft.id,
        {
            "lines": [
                {"price_data": data, "quantity": 5, "period": {"start": 1, "end": 2}, "metadata": {"line": "1"}},
                {"price_data": {**data, "unit_amount_decimal": "0.000000000001"}, "quantity": 1000},
                {"amount": -100, "description": "Discount", "discountable": False},
            ]
        },
        account.once(),
    )
    assert [line.amount for line in filled.lines.data] == [3, 0, -100]
    first = filled.lines.data[0]
    assert (first.description, first.quantity, first.period.end, plain(first.metadata)) == (
        "Calls",
        5,
        2,
        {"line": "1"},
    )
    assert first.pricing is not None
    assert str(first.pricing.unit_amount_decimal) == "0.5"
    assert filled.total == -97


def test_lines_are_changed_and_removed_in_drafts_only(account: Account) -> None:
    draft = account.draft(account.customer().id, 100, 200, 300)
    one, two, _ = draft.lines.data
    changed = account.v1.invoices.update_lines(
        draft.id, {"lines": [{"id": one.id, "amount": 150, "description": "New"}]}, account.once()
    )
    assert (changed.total, changed.lines.data[0].description) == (650, "New")
    fewer = account.v1.invoices.remove_lines(
        draft.id, {"lines": [{"id": two.id, "behavior": "delete"}]}, account.once()
    )
    assert [line.amount for line in fewer.lines.data] == [150, 300]
    account.v1.invoices.finalize_invoice(draft.id, {}, account.once())
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.invoices.add_lines(draft.id, {"lines": [{"amount": 1}]}, account.once())
    assert caught.value.code == "invoice_not_editable"


def test_an_invoice_shows_ten_lines_and_lists_all_in_order(account: Account) -> None:
    draft = account.draft(account.customer().id, *range(101, 126))
    assert ([line.amount for line in draft.lines.data], draft.lines.has_more) == (list(range(101, 111)), True)
    listed = account.v1.invoices.line_items.list(draft.id, {"limit": 7}).auto_paging_iter()
    assert [line.amount for line in listed] == list(range(101, 126))


def test_an_invoice_takes_at_most_250_items(account: Account) -> None:
    draft = account.draft(account.customer().id, *[1] * 250)
    with pytest.raises(stripe.InvalidRequestError, match="at most 250"):
        account.v1.invoices.add_lines(draft.id, {"lines": [{"amount": 1}]}, account.once())


def test_pending_items_join_an_invoice_that_includes_them(account: Account) -> None:
    customer = account.customer()
    item = account.v1.invoice_items.create({"customer": customer.id, "amount": 500, "currency": "usd"}, account.once())
    assert account.draft(customer.id, 100).total == 100
    included = account.draft(customer.id, pending_invoice_items_behavior="include")
    assert (included.total, len(included.lines.data)) == (500, 1)
    listed = account.v1.invoice_items.list({"customer": customer.id, "invoice": included.id}).data
    assert [i.id for i in listed] == [item.id]
    account.v1.invoices.delete(included.id)
    assert [i.id for i in account.v1.invoice_items.list({"pending": True}).data] == [item.id]


def test_only_a_draft_is_deleted_and_only_an_open_invoice_voided(account: Account) -> None:
    customer = account.customer_with_card()
    draft = account.draft(customer.id, 100)
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.invoices.void_invoice(draft.id, {}, account.once())
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.invoices.pay(draft.id, {}, account.once())
    assert account.v1.invoices.delete(draft.id).deleted is True
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.invoices.retrieve(draft.id)
    assert caught.value.http_status == 404
    opened = account.open_invoice(customer.id, 100)
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.invoices.delete(opened.id)
    voided = account.v1.invoices.void_invoice(opened.id, {}, account.once())
    assert (voided.status, voided.status_transitions.voided_at is not None) == ("void", True)
    (payment,) = account.v1.invoice_payments.list({"invoice": opened.id}).data
    assert payment.status == "canceled"
    assert account.intent_of(opened.id).status == "canceled"
    for refused in (account.v1.invoices.pay, account.v1.invoices.void_invoice, account.v1.invoices.finalize_invoice):
        with pytest.raises(stripe.InvalidRequestError):
            refused(opened.id, {}, account.once())
    assert account.control.ledger() == []


def test_paying_a_paid_invoice_is_refused_and_charges_nothing_more(account: Account) -> None:
    customer = account.customer_with_card()
    paid = account.paid_invoice(customer.id, 5000)
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        account.v1.invoices.pay(paid.id, {}, account.once())
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.invoices.finalize_invoice(paid.id, {}, account.once())
    assert caught.value.code == "invoice_not_editable"
    (entry,) = account.control.ledger(customer.id)
    assert (entry["charged"], len(entry["charges"])) == (5000, 1)


def test_an_uncollectible_invoice_can_still_be_paid(account: Account) -> None:
    invoice = account.open_invoice(account.customer_with_card().id, 700)
    assert account.v1.invoices.mark_uncollectible(invoice.id, {}, account.once()).status == "uncollectible"
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.invoices.mark_uncollectible(invoice.id, {}, account.once())
    assert account.v1.invoices.pay(invoice.id, {}, account.once()).status == "paid"


def test_a_declined_card_is_402_and_leaves_the_invoice_open(account: Account) -> None:
    customer = account.customer_with_card("pm_card_chargeCustomerFail")
    invoice = account.open_invoice(customer.id, 900)
    with pytest.raises(stripe.CardError) as caught:
        account.v1.invoices.pay(invoice.id, {"off_session": True}, account.once("pay:1"))
    error = caught.value.error
    assert error is not None
    assert (caught.value.code, error.decline_code, error.advice_code) == (
        "card_declined",
        "generic_decline",
        "try_again_later",
    )
    assert error.payment_intent is not None
    assert error.payment_intent.status == "requires_payment_method"
    after = account.v1.invoices.retrieve(invoice.id)
    assert (after.status, after.attempted, after.attempt_count, after.amount_remaining) == ("open", True, 1, 900)
    assert account.event_types()[-4:] == [
        "charge.failed",
        "payment_intent.payment_failed",
        "invoice.updated",
        "invoice.payment_failed",
    ]
    good = account.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id}, account.once())
    paid = account.v1.invoices.pay(invoice.id, {"payment_method": good.id}, account.once("pay:2"))
    assert (paid.status, paid.attempt_count) == ("paid", 1)


def test_an_invoice_without_any_card_says_so(account: Account) -> None:
    invoice = account.open_invoice(account.customer().id, 900)
    with pytest.raises(stripe.InvalidRequestError, match="default_payment_method") as caught:
        account.v1.invoices.pay(invoice.id, {}, account.once())
    assert caught.value.http_status == 400


def test_the_invoices_own_card_goes_before_the_customers_default(account: Account) -> None:
    customer = account.customer_with_card("pm_card_visa")
    other = account.v1.payment_methods.attach("pm_card_amex", {"customer": customer.id}, account.once())
    invoice = account.open_invoice(customer.id, 900, default_payment_method=other.id)
    account.v1.invoices.pay(invoice.id, {}, account.once())
    assert account.intent_of(invoice.id).latest_charge.payment_method_details.card.brand == "amex"


def test_money_that_came_another_way_is_recorded_and_never_charged(account: Account) -> None:
    invoice = account.open_invoice(account.customer_with_card().id, 900)
    paid = account.v1.invoices.pay(invoice.id, {"paid_out_of_band": True}, account.once())
    assert (paid.status, paid.amount_paid, paid.amount_paid_off_stripe) == ("paid", 900, 900)
    assert account.control.ledger() == []
    assert account.intent_of(invoice.id).status == "canceled"


def test_an_invoice_to_be_sent_has_a_due_date_and_is_sent(account: Account) -> None:
    customer = account.customer()
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.draft(customer.id, collection_method="send_invoice")
    assert caught.value.code == "parameter_missing"
    invoice = account.open_invoice(customer.id, 900, collection_method="send_invoice", days_until_due=30)
    assert invoice.due_date == invoice.status_transitions.finalized_at + 30 * 86400
    account.v1.invoices.send_invoice(invoice.id, {}, account.once())
    assert account.event_types()[-1] == "invoice.sent"
    account.control.clock(advance=31 * 86400)
    assert "invoice.overdue" in account.event_types()
    with pytest.raises(stripe.InvalidRequestError, match="collection method"):
        account.v1.invoices.send_invoice(account.open_invoice(customer.id, 900).id, {}, account.once())


def test_after_finalizing_only_what_is_not_money_changes(account: Account) -> None:
    invoice = account.open_invoice(account.customer().id, 900)
    changed = account.v1.invoices.update(invoice.id, {"metadata": {"a": "1"}}, account.once())
    assert plain(changed.metadata) == {"a": "1"}
    for params in ({"collection_method": "send_invoice", "days_until_due": 3}, {"number": "X-1"}):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            account.v1.invoices.update(invoice.id, params, account.once())
        assert caught.value.code == "invoice_not_editable"


def test_our_own_number_is_kept_and_unique(account: Account) -> None:
    customer = account.customer()
    assert account.open_invoice(customer.id, 900, number="INV-202512-00001").number == "INV-202512-00001"
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        account.draft(customer.id, number="INV-202512-00001")


def test_the_hosted_page_takes_a_payment_and_a_card_it_does_not_keep(account: Account) -> None:
    customer = account.customer()
    invoice = account.open_invoice(customer.id, 900)
    page = str(invoice.hosted_invoice_url)
    assert "9.00 USD" in http().get(page).text
    declined = submit_card(page, card_number="4000000000000002")
    assert declined.status_code == 402
    assert "Your card was declined." in declined.text
    assert submit_card(page).headers["location"] == f"/i/{invoice.id}"
    assert account.v1.invoices.retrieve(invoice.id).status == "paid"
    assert account.v1.payment_methods.list({"customer": customer.id}).data == []
    assert submit_card(page).status_code == 400
    assert "Printable document" in http().get(page).text
    assert http().get(str(invoice.invoice_pdf)).status_code == 200


def test_a_card_that_always_authenticates_waits_for_the_cardholder(account: Account) -> None:
    invoice = account.open_invoice(account.customer_with_card("pm_card_authenticationRequired").id, 900)
    with pytest.raises(stripe.CardError) as caught:
        account.v1.invoices.pay(invoice.id, {"off_session": True}, account.once())
    assert caught.value.code == "invoice_payment_intent_requires_action"
    intent = account.intent_of(invoice.id)
    assert intent.status == "requires_action"
    assert "invoice.payment_action_required" in account.event_types()
    answer = http().post(intent.next_action.redirect_to_url.url, data={"outcome": "complete"})
    assert answer.headers["location"] == f"/i/{invoice.id}"
    assert account.v1.invoices.retrieve(invoice.id).status == "paid"


def test_a_payment_of_ones_own_can_be_attached_and_pays_part(account: Account) -> None:
    customer = account.customer_with_card()
    invoice = account.open_invoice(customer.id, 1000)
    part = account.v1.payment_intents.create(
        {
            "amount": 400, "currency": "usd", "customer": customer.id, "confirm": True, "off_session": True,
            "payment_method": customer.invoice_settings.default_payment_method,
        },
        account.once(),
    )  # fmt: skip
    partly = account.v1.invoices.attach_payment(invoice.id, {"payment_intent": part.id}, account.once())
    assert (partly.status, partly.amount_paid, partly.amount_remaining) == ("open", 400, 600)
    whole = account.v1.invoices.pay(invoice.id, {}, account.once())
    assert (whole.status, whole.amount_paid, whole.amount_remaining) == ("paid", 1000, 0)
    assert sorted(c["amount"] for c in account.control.ledger(customer.id)[0]["charges"]) == [400, 600]


def test_an_item_may_leave_a_draft_come_back_and_be_deleted(account: Account) -> None:
    draft = account.draft(account.customer().id, 100, 200)
    line = draft.lines.data[1]
    item = line.parent.invoice_item_details.invoice_item
    fewer = account.v1.invoices.remove_lines(
        draft.id, {"lines": [{"id": line.id, "behavior": "unassign"}]}, account.once()
    )
    assert (fewer.total, account.v1.invoice_items.retrieve(item).invoice) == (100, None)
    back = account.v1.invoices.add_lines(
        draft.id, {"lines": [{"invoice_item": item}], "invoice_metadata": {"a": "1"}}, account.once()
    )
    assert (back.total, plain(back.metadata)) == (300, {"a": "1"})
    one = account.v1.invoices.line_items.update(draft.id, back.lines.data[1].id, {"amount": 250}, account.once())
    assert (one.amount, account.v1.invoice_items.retrieve(item).amount) == (250, 250)
    assert account.v1.invoice_items.delete(item).deleted is True
    assert account.v1.invoices.retrieve(draft.id).total == 100


@pytest.mark.parametrize(
    "line",
    [
        {"description": "no price"},
        {"amount": 1, "quantity": 2},
        {"amount": 1, "pricing": {"price": "price_1"}},
        {"amount": 1, "period": {"start": 2, "end": 1}},
        {"pricing": {"price": "price_none"}},
        {"price_data": {"currency": "eur", "unit_amount": 1, "product_data": {"name": "x"}}},
        {"price_data": {"currency": "usd", "product_data": {"name": "x"}}},
    ],
    ids=str,
)
def test_a_line_that_does_not_say_one_price_in_the_invoices_currency_is_refused(
    account: Account, line: dict[str, Any]
) -> None:
    draft = account.draft(account.customer().id)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.invoices.add_lines(draft.id, {"lines": [{"amount": 1}, line]}, account.refused())
    assert (caught.value.http_status, str(caught.value.param)[:8]) in ((400, "lines[1]"), (400, "unit_amo"))
    assert account.v1.invoices.retrieve(draft.id).lines.data == []


def test_drafts_change_freely(account: Account) -> None:
    customer = account.customer_with_card()
    draft = account.draft(customer.id, 100)
    method = customer.invoice_settings.default_payment_method
    changed = account.v1.invoices.update(
        draft.id,
        {
            "collection_method": "send_invoice", "days_until_due": 10, "description": "For June", "footer": "Thanks",
            "default_payment_method": method, "custom_fields": [{"name": "PO", "value": "7"}],
            "rendering": {"amount_tax_display": "exclude_tax"}, "auto_advance": True,
        },
        account.once(),
    )  # fmt: skip
    assert (changed.collection_method, changed.due_date, changed.footer) == (
        "send_invoice",
        changed.created + 864000,
        "Thanks",
    )
    back = account.v1.invoices.update(
        draft.id,
        {"collection_method": "charge_automatically", "custom_fields": "", "description": "", "auto_advance": False},
        account.once(),
    )
    assert (back.due_date, back.custom_fields, back.description, back.automatically_finalizes_at) == (None,) * 4
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.draft(account.customer().id, default_payment_method=method)
    assert caught.value.param == "default_payment_method"
