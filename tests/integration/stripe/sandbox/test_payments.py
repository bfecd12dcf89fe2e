"""PaymentIntents, payment pages, refunds, products and prices."""

from typing import Any

import pytest
import stripe

from tests.integration.stripe.sandbox.conftest import Account, plain, submit_card
from tests.support.sandbox_process import http


def charge(account: Account, card: str, **params: Any) -> Any:
    """A confirmed off-session payment of 20.00 USD with a customer's saved card."""
    customer = account.customer_with_card(card)
    return account.v1.payment_intents.create(
        {
            "amount": 2000, "currency": "usd", "customer": customer.id, "confirm": True, "off_session": True,
            "payment_method": customer.invoice_settings.default_payment_method, **params,
        },
        account.once(),
    )  # fmt: skip


def test_a_payment_is_made_confirmed_and_shown_with_its_charge(account: Account) -> None:
    intent = charge(account, "pm_card_visa", metadata={"ours": "pay_1"}, expand=["latest_charge"])
    assert (intent.status, intent.amount_received) == ("succeeded", 2000)
    assert plain(intent.latest_charge.metadata) == {"ours": "pay_1"}
    assert account.v1.charges.retrieve(intent.latest_charge.id).paid is True
    assert [c.id for c in account.v1.charges.list({"payment_intent": intent.id}).data] == [intent.latest_charge.id]


def test_a_payment_may_be_made_first_and_confirmed_later(account: Account) -> None:
    intent = account.v1.payment_intents.create({"amount": 2000, "currency": "usd"}, account.once())
    assert intent.status == "requires_payment_method"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.payment_intents.confirm(intent.id, {}, account.once())
    assert caught.value.code == "payment_intent_unexpected_state"
    done = account.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"}, account.once())
    assert done.status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.payment_intents.cancel(intent.id, {}, account.once())


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
        ("pm_card_authenticationRequired", "authentication_required", "authentication_required"),
        ("pm_card_authenticationRequiredOnSetup", "authentication_required", "authentication_required"),
    ],
)
def test_a_declined_payment_needs_another_card(account: Account, card: str, code: str, decline_code: str) -> None:
    with pytest.raises(stripe.CardError) as caught:
        charge(account, card)
    error = caught.value.error
    assert error is not None
    assert (caught.value.code, error.decline_code) == (code, decline_code)
    assert error.payment_intent is not None
    failed = account.v1.payment_intents.retrieve(error.payment_intent.id)
    assert failed.status == "requires_payment_method"
    assert failed.last_payment_error is not None
    assert failed.last_payment_error.charge == error.charge
    canceled = account.v1.payment_intents.cancel(failed.id, {"cancellation_reason": "abandoned"}, account.once())
    assert canceled.status == "canceled"


def test_on_session_a_card_may_ask_for_the_cardholder(account: Account) -> None:
    intent = account.v1.payment_intents.create(
        {"amount": 2000, "currency": "usd", "confirm": True, "payment_method": "pm_card_authenticationRequired"},
        account.once(),
    )
    assert intent.status == "requires_action"
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    page = str(intent.next_action.redirect_to_url.url)
    assert http().post(page, data={"outcome": "complete"}).status_code == 303
    assert account.v1.payment_intents.retrieve(intent.id).status == "succeeded"
    assert http().get(page).status_code == 404


def test_an_invoices_payment_is_not_changed_or_cancelled_by_itself(account: Account) -> None:
    intent = account.intent_of(account.open_invoice(account.customer().id, 900).id)
    with pytest.raises(stripe.InvalidRequestError, match="void or expire"):
        account.v1.payment_intents.cancel(intent.id, {}, account.once())
    with pytest.raises(stripe.InvalidRequestError, match="cannot be changed"):
        account.v1.payment_intents.update(intent.id, {"amount": 1}, account.once())
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.payment_intents.confirm(
            intent.id, {"payment_method": "pm_card_visa", "amount_to_confirm": 100}, account.once()
        )
    assert caught.value.param == "amount_to_confirm"


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        (49, "usd", "amount_too_small"),
        (29, "gbp", "amount_too_small"),
        (49, "jpy", "amount_too_small"),
        (100_000_000, "usd", "amount_too_large"),
        (1001, "kwd", None),
        (150, "isk", None),
        (100, "zzz", None),
    ],
)
def test_amounts_that_cannot_be_charged_are_refused(
    account: Account, amount: int, currency: str, code: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.payment_intents.create({"amount": amount, "currency": currency}, account.once())
    assert caught.value.code == code


def test_a_payment_page_takes_a_payment_and_saves_the_card_if_asked(account: Account) -> None:
    customer = account.customer()
    session = account.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": customer.id,
            "success_url": "http://127.0.0.1:9/ok",
            "cancel_url": "http://127.0.0.1:9/back",
            "line_items": [
                {
                    "price_data": {"currency": "usd", "product_data": {"name": "<b>Plan</b>"}, "unit_amount": 1500},
                    "quantity": 2,
                }
            ],
            "payment_intent_data": {"setup_future_usage": "off_session", "metadata": {"ours": "pay_1"}},
            "expand": ["line_items"],
        },
        account.once(),
    )
    assert (session.amount_total, session.payment_status, session.payment_intent) == (3000, "unpaid", None)
    assert session.line_items is not None
    assert [item.amount_total for item in session.line_items.data] == [3000]
    page = http().get(str(session.url)).text
    assert "30.00 USD" in page
    assert "&lt;b&gt;Plan&lt;/b&gt;" in page
    assert "http://127.0.0.1:9/back" in page
    assert submit_card(str(session.url), card_number="4000000000000002").status_code == 402
    assert submit_card(str(session.url)).status_code == 303
    done = account.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (done.status, done.payment_status) == ("complete", "paid")
    intent = done.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert (intent.amount_received, plain(intent.metadata)) == (3000, {"ours": "pay_1"})
    assert len(account.v1.payment_methods.list({"customer": customer.id}).data) == 1
    assert account.control.ledger(customer.id)[0]["charged"] == 3000


def payment_session(account: Account, **params: Any) -> Any:
    line = {"price_data": {"currency": "usd", "product_data": {"name": "Plan"}, "unit_amount": 1500}}
    return account.v1.checkout.sessions.create(
        {"mode": "payment", "success_url": "http://127.0.0.1:9/ok", "line_items": [line], **params}, account.once()
    )


def test_a_page_without_a_customer_makes_one_if_asked(account: Account) -> None:
    session = payment_session(account, customer_creation="always", customer_email="new@acme.test")
    assert session.customer is None
    submit_card(session.url, name="New Person")
    done = account.v1.checkout.sessions.retrieve(session.id, {"expand": ["customer", "payment_intent"]})
    assert (done.customer.email, done.customer.name) == ("new@acme.test", "New Person")
    assert done.payment_intent.customer == done.customer.id
    assert done.customer_details.email == "new@acme.test"
    assert payment_session(account).customer_details is None


def test_an_expired_payment_page_cancels_what_was_tried(account: Account) -> None:
    session = payment_session(account)
    submit_card(session.url, card_number="4000000000000002")
    account.v1.checkout.sessions.expire(session.id, {}, account.once())
    (intent,) = account.v1.payment_intents.list().data
    assert (intent.status, intent.cancellation_reason) == ("canceled", "expired")
    assert [item.amount_total for item in account.v1.checkout.sessions.line_items.list(session.id).data] == [1500]


def test_metadata_can_be_changed_afterwards(account: Account) -> None:
    customer = account.customer_with_card()
    invoice = account.paid_invoice(customer.id, 900)
    v1, metadata = account.v1, {"metadata": {"a": "1"}}
    intent = account.intent_of(invoice.id)
    refund = v1.refunds.create({"payment_intent": intent.id, "amount": 10}, account.once())
    note = v1.credit_notes.create({"invoice": invoice.id, "amount": 10, "credit_amount": 10}, account.once())
    changed = [
        v1.refunds.update(refund.id, metadata, account.once()),
        v1.credit_notes.update(note.id, metadata, account.once()),
        v1.payment_intents.update(intent.id, metadata, account.once()),
        v1.checkout.sessions.update(payment_session(account).id, metadata, account.once()),
    ]
    assert [plain(one.metadata) for one in changed] == [{"a": "1"}] * 4
    with pytest.raises(stripe.InvalidRequestError):
        v1.payment_intents.update(intent.id, {"amount": 1000}, account.once())
    charge_with_refunds = v1.charges.retrieve(refund.charge, {"expand": ["refunds"]})
    assert [r.id for r in charge_with_refunds.refunds.data] == [refund.id]


def test_refunds_never_exceed_the_charge(account: Account) -> None:
    intent = charge(account, "pm_card_visa")
    one = account.v1.refunds.create({"payment_intent": intent.id, "amount": 500}, account.once())
    assert (one.status, one.charge) == ("succeeded", intent.latest_charge)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        account.v1.refunds.create({"payment_intent": intent.id, "amount": 1501}, account.once())
    account.v1.refunds.create({"charge": str(intent.latest_charge)}, account.once())
    refunded = account.v1.charges.retrieve(str(intent.latest_charge))
    assert (refunded.amount_refunded, refunded.refunded) == (2000, True)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.refunds.create({"charge": str(intent.latest_charge)}, account.once())
    assert caught.value.code == "charge_already_refunded"
    assert [r.amount for r in account.v1.refunds.list({"payment_intent": intent.id}).data] == [1500, 500]
    assert account.event_types()[-2:] == ["refund.created", "charge.refunded"]


def test_refunds_settle_or_fail_later_with_their_test_cards(account: Account) -> None:
    pending = account.v1.refunds.create({"payment_intent": charge(account, "pm_card_pendingRefund").id}, account.once())
    failing = account.v1.refunds.create({"payment_intent": charge(account, "pm_card_refundFail").id}, account.once())
    assert (pending.status, failing.status) == ("pending", "succeeded")
    account.control.clock(advance=2 * 86400)
    assert account.v1.refunds.retrieve(pending.id).status == "succeeded"
    failed = account.v1.refunds.retrieve(failing.id, {"expand": ["charge"]})
    assert failed.status == "failed"
    assert isinstance(failed.charge, stripe.Charge)
    assert (failed.charge.amount_refunded, failed.charge.refunded) == (0, False)
    assert "refund.failed" in account.event_types()


def test_a_disputed_payment_is_taken_back_and_can_be_won_or_lost(account: Account) -> None:
    intents = [charge(account, "pm_card_createDispute") for _ in range(2)]
    account.control.wait_idle()
    won, lost = (account.v1.disputes.list({"payment_intent": intent.id}).data[0] for intent in intents)
    assert (won.status, won.amount, won.charge) == ("needs_response", 2000, intents[0].latest_charge)
    assert account.v1.charges.retrieve(won.charge).disputed is True
    evidence = {"evidence": {"uncategorized_text": "winning_evidence"}}
    assert account.v1.disputes.update(won.id, evidence, account.once()).status == "won"
    assert account.v1.disputes.close(lost.id, {}, account.once()).status == "lost"
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        account.v1.disputes.close(lost.id, {}, account.once())
    kinds = account.event_types()
    assert [kind for kind in kinds if kind.startswith("charge.dispute")] == [
        *["charge.dispute.created", "charge.dispute.funds_withdrawn"] * 2,
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
        "charge.dispute.closed",
    ]


def test_products_and_prices_are_made_changed_and_listed(account: Account) -> None:
    product = account.v1.products.create({"name": "Plan", "id": "plan_pro", "metadata": {"a": "1"}}, account.once())
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.products.create({"name": "Plan", "id": "plan_pro"}, account.once())
    assert caught.value.code == "resource_already_exists"
    price = account.v1.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount_decimal": "0.8", "lookup_key": "calls"},
        account.once(),
    )
    assert (str(price.unit_amount_decimal), price.unit_amount) == ("0.8", None)
    assert [p.id for p in account.v1.prices.list({"lookup_keys": ["calls"], "active": True}).data] == [price.id]
    account.v1.prices.update(price.id, {"active": False}, account.once())
    assert account.v1.prices.list({"active": True, "product": product.id}).data == []
    assert account.v1.products.update(product.id, {"name": "Pro"}, account.once()).name == "Pro"
    assert [p.name for p in account.v1.products.list({"ids": ["plan_pro"]}).data] == ["Pro"]
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.products.delete(product.id)
