"""Faults by plan: each one fires when it should, is logged, and does to the effects what it says."""

import itertools
from pathlib import Path

import httpx
import pytest
import stripe

from tests.integration.stripe.sandbox.conftest import Account
from tests.support.sandbox_process import SandboxProcess


def names(account: Account) -> list[str]:
    return [str(customer.name) for customer in account.v1.customers.list().data]


def create(account: Account, name: str = "Acme", key: str = "cus") -> str:
    return str(account.v1.customers.create({"name": name}, account.once(key)).id)


@pytest.mark.parametrize("action", ["rate_limit", "lock_timeout"])
def test_a_rate_limit_is_429_once_logged_and_not_remembered(account: Account, action: str) -> None:
    fault = account.control.fault(action=action, method="POST", path="/v1/customers")
    with pytest.raises(stripe.RateLimitError) as caught:
        create(account)
    assert caught.value.error is not None
    assert caught.value.error.code == action
    create(account)
    (logged,) = account.control.fault_log()
    assert (logged["fault"], logged["action"], logged["detail"]["path"]) == (fault, action, "/v1/customers")


def test_a_500_before_does_nothing_and_is_remembered_by_its_key(account: Account) -> None:
    account.control.fault(action="error", status=500)
    for _ in range(2):
        with pytest.raises(stripe.APIError) as caught:
            create(account)
        assert caught.value.http_status == 500
    assert names(account) == []
    create(account, key="another")


def test_a_500_after_has_done_it_and_still_replays_the_500(account: Account) -> None:
    account.control.fault(action="error", status=500, when="after")
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            create(account)
    assert names(account) == ["Acme"]


@pytest.mark.parametrize("status", [502, 503])
def test_a_gateways_error_after_is_healed_by_the_same_key(account: Account, status: int) -> None:
    account.control.fault(action="error", status=status, when="after")
    with pytest.raises(stripe.APIError) as caught:
        create(account)
    assert caught.value.http_status == status
    create(account)
    assert names(account) == ["Acme"]


@pytest.mark.parametrize(("when", "left"), [("before", []), ("after", ["Acme"])])
def test_a_cut_connection_leaves_the_caller_unsure(account: Account, when: str, left: list[str]) -> None:
    account.control.fault(action="drop", path="/v1/customers", method="POST", when=when)
    with pytest.raises(stripe.APIConnectionError):
        create(account)
    assert names(account) == left
    create(account)
    assert names(account) == ["Acme"]


def test_the_fiftieth_connection_is_cut_like_the_first_and_nothing_stays_open(
    sandbox: SandboxProcess, account: Account
) -> None:
    account.control.fault(action="drop", path="/v1/customers", method="GET", times=50)
    descriptors = Path(f"/proc/{sandbox.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(50):
        with pytest.raises(stripe.APIConnectionError):
            account.v1.customers.list()
    assert len(list(descriptors.iterdir())) < before + 20


def test_the_sdks_own_retries_get_through_a_cut_connection(sandbox: SandboxProcess, account: Account) -> None:
    patient = Account(sandbox, account.key, retries=2)
    account.control.fault(action="drop", method="POST", when="after", times=2)
    create(patient)
    assert names(account) == ["Acme"]
    assert len(account.control.fault_log()) == 2


def test_should_retry_is_told(account: Account) -> None:
    account.control.fault(action="rate_limit", should_retry=True)
    with pytest.raises(stripe.RateLimitError) as caught:
        create(account)
    assert caught.value.headers is not None
    assert caught.value.headers["stripe-should-retry"] == "true"


def test_permission_and_conflict_are_refused_without_effect(account: Account) -> None:
    account.control.fault(action="forbidden", nth=[1])
    account.control.fault(action="conflict", nth=[2])
    with pytest.raises(stripe.PermissionError):
        create(account)
    with pytest.raises(stripe.APIError) as caught:
        create(account)
    assert caught.value.http_status == 409
    assert names(account) == []


def test_a_fault_matches_by_path_key_customer_and_count(account: Account) -> None:
    one, other = account.customer(name="One"), account.customer(name="Two")
    account.control.fault(action="rate_limit", customer=one.id, path="/v1/invoices*", skip=1)
    account.control.fault(action="rate_limit", key="special:*", times=9)
    draft = account.draft(other.id)
    draft = account.draft(one.id)
    with pytest.raises(stripe.RateLimitError):
        account.v1.invoices.update(draft.id, {"description": "x"}, account.once())
    account.v1.invoices.update(draft.id, {"description": "x"}, account.once())
    with pytest.raises(stripe.RateLimitError):
        account.v1.customers.create({"name": "x"}, {"idempotency_key": "special:1"})
    assert len(account.control.fault_log()) == 2


def test_a_planned_decline_hits_charges_of_that_customer_only(account: Account) -> None:
    unlucky, lucky = account.customer_with_card(), account.customer_with_card()
    account.control.fault(on="charge", action="decline", customer=unlucky.id, decline_code="insufficient_funds")
    invoice = account.open_invoice(unlucky.id, 900)
    assert account.paid_invoice(lucky.id, 900).status == "paid"
    with pytest.raises(stripe.CardError) as caught:
        account.v1.invoices.pay(invoice.id, {}, account.once())
    assert caught.value.error is not None
    assert caught.value.error.decline_code == "insufficient_funds"
    assert account.v1.invoices.pay(invoice.id, {}, account.once()).status == "paid"


def test_random_faults_are_the_same_at_every_run(account: Account, sandbox: SandboxProcess) -> None:
    patterns = []
    for other in (account, Account(sandbox)):
        other.control.fault(action="rate_limit", probability=0.5, seed=7, method="GET")
        pattern = ""
        for _ in range(12):
            try:
                other.v1.customers.list()
                pattern += "."
            except stripe.RateLimitError:
                pattern += "x"
        patterns.append(pattern)
    assert patterns[0] == patterns[1]
    assert len(set(patterns[0])) == 2


def test_an_impossible_plan_is_refused(account: Account) -> None:
    for rule in (
        {"action": "explode"},
        {"action": "drop", "nope": 1},
        {"action": "error", "when": "during"},
        {"on": "charge", "action": "drop"},
        {"status": "500"},
    ):
        with pytest.raises(httpx.HTTPStatusError):
            account.control.call("POST", "/faults", rule)


def test_a_crash_between_any_two_calls_charges_once(sandbox: SandboxProcess, account: Account) -> None:
    """The whole flow under cut connections after the commit of each of its calls, each call repeated with its key."""
    patient = Account(sandbox, account.key, retries=2)
    customer = patient.customer_with_card()
    account.control.fault(action="drop", method="POST", when="after", path="/v1/invoices*", nth=[1, 3, 5, 7])
    made = patient.v1.invoices.create({"customer": customer.id, "currency": "usd"}, patient.once())
    patient.v1.invoices.add_lines(made.id, {"lines": [{"amount": 900}]}, patient.once())
    patient.v1.invoices.finalize_invoice(made.id, {}, patient.once())
    paid = patient.v1.invoices.pay(made.id, {}, patient.once())
    assert (paid.status, paid.total) == ("paid", 900)
    (entry,) = account.control.ledger(customer.id)
    assert [(c["invoice"], c["amount"]) for c in entry["charges"]] == [(made.id, 900)]
    assert [log["detail"]["path"].rpartition("/")[2] for log in account.control.fault_log()] == list(
        itertools.chain(["invoices"], ["add_lines"], ["finalize"], ["pay"])
    )
