"""Idempotency-Key: one execution, the same answer again, whatever happened in between."""

import threading
from typing import Any

import pytest
import stripe

from tests.integration.stripe.sandbox.conftest import Account
from tests.support.sandbox_process import SandboxProcess


def test_the_same_key_replays_the_first_answer_and_does_nothing_again(account: Account) -> None:
    first = account.v1.customers.create({"name": "Acme"}, account.once("cus"))
    again = account.v1.customers.create({"name": "Acme"}, account.once("cus"))
    assert again.id == first.id
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert len(account.v1.customers.list().data) == 1


def test_a_key_with_other_parameters_or_another_path_is_refused(account: Account) -> None:
    account.v1.customers.create({"name": "Acme"}, account.once("cus"))
    with pytest.raises(stripe.IdempotencyError) as caught:
        account.v1.customers.create({"name": "Other"}, account.refused("cus"))
    assert caught.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError):
        account.v1.products.create({"name": "Acme"}, account.refused("cus"))


def test_a_declined_payment_is_replayed_until_a_new_key_tries_again(account: Account) -> None:
    customer = account.customer_with_card("pm_card_chargeCustomerFail")
    invoice = account.open_invoice(customer.id, 900)
    codes = []
    for key in ("pay:1", "pay:1", "pay:2"):
        with pytest.raises(stripe.CardError) as caught:
            account.v1.invoices.pay(invoice.id, {}, account.once(key))
        assert caught.value.error is not None
        codes.append(caught.value.error.charge)
    assert codes[0] == codes[1] != codes[2]
    assert len(account.v1.charges.list({"customer": customer.id}).data) == 2


def test_failed_validation_is_not_remembered_but_a_refusal_by_state_is(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.customers.create({"name": "Acme", "nope": 1}, account.refused("cus"))
    assert account.v1.customers.create({"name": "Acme"}, account.once("cus")).name == "Acme"
    paid = account.paid_invoice(account.customer_with_card().id, 900)
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError, match="already paid") as caught:
            account.v1.invoices.pay(paid.id, {}, account.once("again"))
    assert caught.value.headers is not None
    assert caught.value.headers["idempotent-replayed"] == "true"


def test_a_key_is_forgotten_after_a_day_of_sandbox_time(account: Account) -> None:
    first = account.v1.customers.create({"name": "Acme"}, account.once("cus"))
    account.control.clock(advance=24 * 3600 - 60)
    assert account.v1.customers.create({"name": "Acme"}, account.once("cus")).id == first.id
    account.control.clock(advance=61)
    assert account.v1.customers.create({"name": "Acme"}, account.once("cus")).id != first.id


def test_a_key_in_use_is_409_and_what_ran_ran_once(account: Account) -> None:
    account.control.fault(action="slow", path="/v1/customers", seconds=1, times=1)
    answers: list[Any] = []

    def create() -> None:
        try:
            answers.append(account.v1.customers.create({"name": "Acme"}, account.once("cus")).id)
        except stripe.APIError as error:
            answers.append((error.http_status, error.error.code if error.error else None))

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert (409, "idempotency_key_in_use") in answers
    assert len(account.v1.customers.list().data) == 1


def test_keys_are_limited_in_length(sandbox: SandboxProcess) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="255"):
        Account(sandbox).v1.customers.create({"name": "Acme"}, {"idempotency_key": "k" * 256})
