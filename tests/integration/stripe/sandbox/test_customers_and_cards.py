"""Customers, test cards, and saving a card through a Checkout session's page."""

import pytest
import stripe

from tests.integration.stripe.sandbox.conftest import Account, plain, submit_card
from tests.support.sandbox_process import http


def test_a_customer_is_made_read_changed_listed_and_deleted(account: Account) -> None:
    made = account.customer(
        metadata={"tenant": "t1"}, address={"line1": "1 Road", "country": "GB"}, preferred_locales=["en"]
    )
    assert (made.name, made.balance, made.delinquent, made.livemode) == ("Acme", 0, False, False)
    assert made.address.to_dict()["country"] == "GB"
    account.v1.customers.update(made.id, {"name": "Acme Ltd", "phone": "1"}, account.once())
    assert account.v1.customers.retrieve(made.id).name == "Acme Ltd"
    assert [c.id for c in account.v1.customers.list({"email": "a@acme.test"}).data] == [made.id]
    assert account.v1.customers.delete(made.id).deleted is True
    assert account.v1.customers.retrieve(made.id).to_dict() == {"id": made.id, "object": "customer", "deleted": True}
    assert account.v1.customers.list().data == []
    assert account.event_types() == ["customer.created", "customer.updated", "customer.deleted"]


def test_an_email_without_an_at_is_refused(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.customers.create({"email": "nobody"}, account.refused())
    assert caught.value.code == "email_invalid"


def test_a_card_is_attached_made_the_default_listed_and_detached(account: Account) -> None:
    customer = account.customer_with_card("pm_card_mastercard")
    method_id = customer.invoice_settings.default_payment_method
    (method,) = account.v1.payment_methods.list({"customer": customer.id}).data
    assert (method.id, method.card.brand, method.card.last4) == (method_id, "mastercard", "4444")
    assert [m.id for m in account.v1.customers.payment_methods.list(customer.id).data] == [method_id]
    assert account.v1.payment_methods.detach(method_id, {}, account.once()).customer is None
    assert account.v1.customers.retrieve(customer.id).invoice_settings.default_payment_method is None
    (detached,) = account.v1.events.list({"type": "payment_method.detached"}).data
    assert plain(detached.data.previous_attributes) == {"customer": customer.id}
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        account.v1.payment_methods.attach(method_id, {"customer": customer.id}, account.once())


def test_a_default_card_must_be_the_customers_own(account: Account) -> None:
    one, other = account.customer_with_card(), account.customer()
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.customers.update(
            other.id, {"invoice_settings": {"default_payment_method": one.invoice_settings.default_payment_method}}
        )
    assert caught.value.param == "invoice_settings[default_payment_method]"


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
    ],
)
def test_a_card_that_declines_cannot_be_attached(account: Account, card: str, code: str, decline_code: str) -> None:
    customer = account.customer()
    with pytest.raises(stripe.CardError) as caught:
        account.v1.payment_methods.attach(card, {"customer": customer.id}, account.once())
    assert (caught.value.http_status, caught.value.code) == (402, code)
    assert caught.value.error is not None
    assert caught.value.error.decline_code == decline_code
    assert account.v1.payment_methods.list({"customer": customer.id}).data == []


def test_a_card_saved_on_the_page_is_attached_but_not_made_the_default(account: Account) -> None:
    customer = account.customer()
    session = account.setup_session(
        customer.id,
        success_url="http://127.0.0.1:9/ok?session={CHECKOUT_SESSION_ID}",
        metadata={"ours": "1"},
        setup_intent_data={"metadata": {"tenant": "t1"}},
    )
    assert (session.status, session.payment_status) == ("open", "no_payment_required")
    assert "4242" not in http().get(session.url).text.replace("4242 4242 4242 4242", "")
    answer = submit_card(session.url)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"http://127.0.0.1:9/ok?session={session.id}"
    done = account.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent.payment_method"]})
    assert (done.status, done.url) == ("complete", None)
    intent = done.setup_intent
    assert isinstance(intent, stripe.SetupIntent)
    assert (intent.status, plain(intent.metadata)) == ("succeeded", {"tenant": "t1"})
    assert isinstance(intent.payment_method, stripe.PaymentMethod)
    assert intent.payment_method.customer == customer.id
    assert account.v1.customers.retrieve(customer.id).invoice_settings.default_payment_method is None
    assert account.event_types()[1:] == [
        "setup_intent.created",
        "payment_method.attached",
        "setup_intent.succeeded",
        "checkout.session.completed",
    ]


def test_a_declined_card_shows_why_and_another_may_be_tried(account: Account) -> None:
    session = account.setup_session(account.customer().id)
    declined = submit_card(session.url, card_number="4000000000009995")
    assert declined.status_code == 402
    assert "Your card has insufficient funds." in declined.text
    intent = account.v1.setup_intents.retrieve(session.setup_intent)
    assert intent.status == "requires_payment_method"
    assert intent.last_setup_error is not None
    assert intent.last_setup_error.decline_code == "insufficient_funds"
    assert "setup_intent.setup_failed" in account.event_types()
    assert submit_card(session.url).status_code == 303


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"card_number": "4242 4242 4242 4241"}, "Your card number is incorrect."),
        ({"card_number": "<script>"}, "Your card number is incorrect."),
        ({"card_number": "4012888888881881"}, "used a non test card"),
        ({"exp_month": "13"}, "expiration month is invalid"),
        ({"exp_year": "2019"}, "expiration year is in the past"),
        ({"cvc": "1"}, "security code is invalid"),
    ],
)
def test_what_is_mistyped_is_said_and_never_echoed(account: Account, changes: dict[str, str], message: str) -> None:
    session = account.setup_session(account.customer().id)
    answer = submit_card(session.url, **changes)
    assert answer.status_code == 402
    assert message in answer.text.replace("&#39;", "'")
    assert changes.get("card_number", "2019") not in answer.text
    assert account.v1.checkout.sessions.retrieve(session.id).status == "open"


def test_a_card_that_asks_for_authentication_is_saved_after_it(account: Account) -> None:
    session = account.setup_session(account.customer().id)
    asked = submit_card(session.url, card_number="4000002500003155")
    assert asked.headers["location"] == f"/authenticate/{session.setup_intent}"
    intent = account.v1.setup_intents.retrieve(session.setup_intent)
    assert (intent.status, intent.next_action and intent.next_action.type) == ("requires_action", "redirect_to_url")
    page = account.sandbox.url + asked.headers["location"]
    assert "authenticate" in http().get(page).text
    failed = http().post(page, data={"outcome": "fail"})
    assert failed.status_code == 402
    assert f"/pay/c/{session.id}" in failed.text
    submit_card(session.url, card_number="4000002500003155")
    assert http().post(page, data={"outcome": "complete"}).headers["location"] == "http://127.0.0.1:9/ok"
    assert account.v1.setup_intents.retrieve(session.setup_intent).status == "succeeded"


def test_a_session_expires_by_call_or_by_time_and_its_page_closes(account: Account) -> None:
    customer = account.customer()
    by_call, by_time = account.setup_session(customer.id), account.setup_session(customer.id)
    assert account.v1.checkout.sessions.expire(by_call.id, {}, account.once()).status == "expired"
    with pytest.raises(stripe.InvalidRequestError, match="Only Checkout Sessions"):
        account.v1.checkout.sessions.expire(by_call.id, {}, account.once())
    account.control.clock(advance=24 * 3600 + 1)
    assert account.v1.checkout.sessions.retrieve(by_time.id).status == "expired"
    assert account.v1.setup_intents.retrieve(by_time.setup_intent).status == "canceled"
    assert "no longer open" in http().get(by_time.url).text
    assert submit_card(by_time.url).status_code == 400
    assert account.event_types(type="checkout.session.expired") == ["checkout.session.expired"] * 2


def test_a_setup_session_without_currency_or_types_is_refused(account: Account) -> None:
    params: stripe.params.checkout.SessionCreateParams = {"mode": "setup", "success_url": "http://127.0.0.1:9/"}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.checkout.sessions.create(params, account.refused())
    assert caught.value.param == "currency"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.checkout.sessions.create(
            {**params, "currency": "usd", "success_url": "javascript:alert(1)"}, account.refused()
        )
    assert caught.value.param == "success_url"


def test_the_rest_of_a_customer_can_be_set(account: Account) -> None:
    customer = account.customer(balance=-100, invoice_prefix="ACME01", tax_exempt="exempt", business_name="Acme Ltd")
    assert account.v1.customers.retrieve(customer.id).balance == -100
    changed = account.v1.customers.update(
        customer.id,
        {
            "balance": 50, "next_invoice_sequence": 42, "tax_exempt": "", "business_name": "",
            "shipping": {"name": "Dock", "address": {"line1": "1 Road"}},
            "invoice_settings": {"footer": "Thanks", "custom_fields": [{"name": "PO", "value": "1"}]},
        },
        account.once(),
    )  # fmt: skip
    assert (changed.balance, changed.tax_exempt, changed.shipping.address.line1) == (50, "none", "1 Road")
    history = account.v1.customers.balance_transactions.list(customer.id).data
    assert [(entry.type, entry.amount) for entry in history] == [("adjustment", 150), ("initial", -100)]
    assert account.v1.customers.balance_transactions.retrieve(customer.id, history[0].id).ending_balance == 50
    invoice = account.open_invoice(customer.id, 900)
    assert (invoice.number, invoice.footer, invoice.amount_due) == ("ACME01-0042", "Thanks", 950)


def test_a_card_may_be_made_from_a_token_changed_and_read_through_its_customer(account: Account) -> None:
    method = account.v1.payment_methods.create(
        {"type": "card", "card": {"token": "tok_visa"}, "billing_details": {"name": "A", "address": {"city": "B"}}},
        account.once(),
    )
    assert (method.card.last4, method.billing_details.address.city) == ("4242", "B")
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.payment_methods.update(method.id, {"metadata": {"a": "1"}}, account.once())
    customer = account.customer(payment_method=method.id)
    account.v1.payment_methods.update(method.id, {"card": {"exp_year": 2040}, "metadata": {"a": "1"}}, account.once())
    found = account.v1.customers.payment_methods.retrieve(customer.id, method.id)
    assert (found.card.exp_year, plain(found.metadata)) == (2040, {"a": "1"})
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.payment_methods.attach(method.id, {"customer": account.customer().id}, account.once())
    with pytest.raises(stripe.InvalidRequestError, match="does not implement the parameter card"):
        account.v1.payment_methods.create(
            {"type": "card", "card": {"number": "4242424242424242", "exp_month": 1, "exp_year": 2040}},
            account.refused(),
        )
