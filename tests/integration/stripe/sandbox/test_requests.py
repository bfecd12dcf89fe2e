"""What every call goes through: who is asking, in which version, with which parameters."""

import pytest
import stripe

from tests.integration.stripe.sandbox.conftest import Account
from tests.support.sandbox_process import SandboxProcess, http, new_account


def test_a_call_without_a_usable_key_is_401_and_never_echoes_it(sandbox: SandboxProcess) -> None:
    for key in ("sk_test_short", "pk_test_" + "a" * 24, "nonsense-nonsense-nonsense"):
        client = stripe.StripeClient(key, base_addresses={"api": sandbox.url})
        with pytest.raises(stripe.AuthenticationError) as caught:
            client.v1.customers.list()
        assert key not in str(caught.value)
    assert http().get(f"{sandbox.url}/v1/customers").status_code == 401


def test_keys_are_accounts_that_never_see_each_other(sandbox: SandboxProcess, account: Account) -> None:
    customer = account.customer()
    other = Account(sandbox)
    assert other.v1.customers.list().data == []
    with pytest.raises(stripe.InvalidRequestError) as caught:
        other.v1.customers.retrieve(customer.id)
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")


def test_a_live_key_is_a_live_account(sandbox: SandboxProcess) -> None:
    live = Account(sandbox, new_account("live"))
    assert live.customer().livemode is True
    assert live.findings() == []


def test_another_version_of_the_api_is_refused(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="Invalid Stripe API version"):
        account.v1.customers.list(options={"stripe_version": "2020-08-27"})


def test_answers_carry_request_id_version_and_key(account: Account) -> None:
    made = account.v1.customers.create({"name": "Acme"}, account.once("headers"))
    headers = made.last_response.headers
    assert headers["request-id"].startswith("req_")
    assert headers["stripe-version"] == "2026-10-28.endive"
    assert headers["idempotency-key"] == "test:headers"


@pytest.mark.parametrize(
    ("params", "param", "code"),
    [
        ({"customer": "cus_x", "line_items": [{"amount": 1}]}, "line_items", "parameter_unknown"),
        ({"customer": "cus_x", "custom_fields": [{"name": "a", "no": 1}]}, "custom_fields[0][no]", "parameter_unknown"),
        ({"customer": "cus_x", "days_until_due": "soon"}, "days_until_due", "parameter_invalid_integer"),
        ({"customer": "cus_x", "auto_advance": "yes"}, "auto_advance", None),
        ({"customer": "cus_x", "collection_method": "charge"}, "collection_method", None),
        ({"customer": "cus_x", "metadata": {"k" * 41: "v"}}, "metadata", None),
        ({"customer": "cus_x", "metadata": {"k": "v" * 501}}, "metadata[k]", None),
        ({"customer": "cus_x", "payment_intent": "pi_1"}, "payment_intent", "parameter_unknown"),
        ({"customer": "cus_x"}, "customer", "resource_missing"),
        ({"currency": "usd"}, "customer", "parameter_missing"),
        ({"customer": "cus_x", "default_tax_rates": ["txr_1"]}, "default_tax_rates", "sandbox_not_implemented"),
    ],
)  # fmt: skip
def test_a_bad_parameter_is_named_as_stripe_names_it(
    account: Account, params: dict[str, object], param: str, code: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.invoices.create(params, account.refused())
    error = caught.value
    assert error.http_status == 400
    assert (error.param, error.code) == (param, code)


def test_a_nested_parameter_that_is_missing_is_named_with_its_place(account: Account) -> None:
    invoice = account.draft(account.customer().id)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.invoices.add_lines(
            invoice.id,
            {"lines": [{"amount": 1}, {"price_data": {"product": "prod_1", "unit_amount": 1}}]},
            account.refused(),
        )
    assert (caught.value.param, caught.value.code) == ("lines[1][price_data][currency]", "parameter_missing")


def test_an_unknown_path_is_404_in_stripes_shape(account: Account) -> None:
    headers = {"Authorization": f"Bearer {account.key}"}
    answer = http().get(f"{account.sandbox.url}/v1/nothing", headers=headers)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith("Unrecognized request URL")


def test_what_stripe_does_and_the_sandbox_does_not_is_said(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="does not implement POST /v1/charges") as caught:
        account.v1.charges.create({"amount": 100, "currency": "usd"}, account.once())
    assert caught.value.code == "sandbox_not_implemented"
    with pytest.raises(stripe.InvalidRequestError, match="Connect"):
        account.v1.customers.list(options={"stripe_account": "acct_1"})


def test_an_empty_string_unsets(account: Account) -> None:
    customer = account.customer(description="old", metadata={"a": "1", "b": "2"})
    account.v1.customers.update(customer.id, {"description": "", "metadata": {"a": ""}}, account.once())
    changed = account.v1.customers.retrieve(customer.id)
    assert changed.description is None
    assert changed.metadata.to_dict() == {"b": "2"}
    account.v1.customers.update(customer.id, {"metadata": ""}, account.once())
    assert account.v1.customers.retrieve(customer.id).metadata.to_dict() == {}
