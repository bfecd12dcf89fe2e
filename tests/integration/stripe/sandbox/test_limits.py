"""Limits of the account's own and restricted keys: 429 and 403 in Stripe's form, and nothing has happened then."""

from typing import Any

import httpx
import pytest
import stripe

from tests.integration.stripe.sandbox.conftest import EXPECT_REFUSAL, Account
from tests.support.at_once import in_threads


def restricted(account: Account, **rights: str) -> Account:
    """The same account through a restricted key."""
    key = account.control.call("POST", "/restricted_keys", {"rights": rights})["key"]
    return Account(account.sandbox, key)


@pytest.mark.parametrize(
    ("setting", "reason"), [("calls_per_second", "global-rate"), ("endpoint_calls_per_second", "endpoint-rate")]
)
def test_calls_beyond_the_limit_are_429_with_the_reason_and_make_nothing(
    account: Account, setting: str, reason: str
) -> None:
    account.control.settings(**{setting: 0.01})
    # The bucket holds less than one call, and takes a hundred seconds to hold it.
    with pytest.raises(stripe.RateLimitError) as refused:
        account.customer()
    assert (refused.value.http_status, refused.value.error.code) == (429, "rate_limit")
    assert (refused.value.headers or {})["stripe-rate-limited-reason"] == reason
    account.control.settings(**{setting: 0.0})
    assert account.v1.customers.list().data == []


def test_an_endpoint_that_is_limited_leaves_others_alone(account: Account) -> None:
    account.control.settings(endpoint_calls_per_second=1)
    first = account.customer()
    with pytest.raises(stripe.RateLimitError):
        account.customer()
    assert account.v1.customers.retrieve(first.id).id == first.id


def test_a_call_on_an_object_that_another_call_changes_is_a_lock_timeout_and_not_remembered(account: Account) -> None:
    account.control.settings(lock_objects=True)
    invoice = account.draft(account.customer().id, 900)
    account.control.fault(action="slow", seconds=2, path="/v1/invoices/*/finalize")

    def finalize(key: str) -> Any:
        try:
            return account.v1.invoices.finalize_invoice(invoice.id, {}, {"idempotency_key": key}).status
        except stripe.RateLimitError as error:
            return error.error.code

    assert sorted(in_threads([lambda: finalize("one"), lambda: finalize("two")])) == ["lock_timeout", "open"]


def test_a_restricted_key_does_what_was_chosen_for_it_and_is_403_for_the_rest(account: Account) -> None:
    customer = account.customer()
    few = restricted(account, customer="write", invoice="read")
    assert few.v1.customers.retrieve(customer.id).id == customer.id
    few.v1.customers.update(customer.id, {"name": "New"}, {"idempotency_key": "restricted:1"})
    assert few.v1.invoices.list().data == []
    for call in (
        lambda: few.v1.invoices.create({"customer": customer.id}, few.refused("invoice")),
        lambda: few.v1.events.list({}, {"headers": EXPECT_REFUSAL}),
        lambda: few.v1.refunds.list({}, {"headers": EXPECT_REFUSAL}),
    ):
        with pytest.raises(stripe.PermissionError) as refused:
            call()
        assert refused.value.http_status == 403
        assert few.key not in str(refused.value)
    assert "rak_charge_read" in str(refused.value)
    # What was refused is not remembered: with more rights the same call does it.
    more = restricted(account, invoice="write", customer="read")
    assert more.v1.invoices.create({"customer": customer.id}, {"idempotency_key": "test:invoice"}).status == "draft"


def test_a_right_that_does_not_exist_is_refused(account: Account) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        restricted(account, everything="write")
