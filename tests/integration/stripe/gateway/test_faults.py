"""Timeouts, 5xx, 409 and 429 on the way: the same run recovers where it can, and a later one where it cannot."""

from typing import Any

import pytest

from billing.ports import ProviderKeyRefused, ProviderUnavailable
from tests.integration.stripe.gateway.world import World

CREATES = ["/v1/customers", "/v1/invoices", "/v1/invoices/*/add_lines", "/v1/invoices/*/finalize"]


def assert_one(world: World) -> None:
    (there,) = world.stripe_invoices()
    assert (there["total"], there["status"], len(world.stripe_customers())) == (11850, "open", 1)
    assert len(world.stripe_lines(there["id"])) == 2


@pytest.mark.parametrize("path", CREATES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_S1_a_500_whose_answer_stripe_keeps_repeating_is_settled_by_looking(world: World, path: str, when: str) -> None:
    """The failure is stored under the key and replayed for a day, whether or not the call had its effect."""
    world.connect(collection="manual")
    world.control.fault(action="error", status=500, method="POST", path=path, when=when, should_retry=False)
    invoice = world.invoice()
    with pytest.raises(ProviderUnavailable):
        world.sync(invoice.id)
    assert world.sync(invoice.id).outcome == "synced"
    assert_one(world)
    assert [entry["action"] for entry in world.control.fault_log()] == ["error"]


@pytest.mark.parametrize(
    "fault",
    [
        {"action": "rate_limit", "times": 3},
        {"action": "lock_timeout", "times": 3},
        {"action": "conflict", "times": 1},
        {"action": "drop", "when": "before"},
        {"action": "drop", "when": "after"},
        {"action": "error", "status": 503, "when": "after"},
    ],
    ids=lambda fault: f"{fault['action']}-{fault.get('when', '')}",
)
def test_S1_passing_trouble_is_sat_out_within_one_run(world: World, fault: dict[str, Any]) -> None:
    world.network_retries = 2
    world.connect(collection="manual")
    world.control.fault(path="/v1/invoices", method="POST", **fault)
    assert world.sync(world.invoice().id).outcome == "synced"
    assert_one(world)
    assert len(world.control.fault_log()) == fault.get("times", 1)


@pytest.mark.parametrize("path", CREATES)
def test_S1_an_answer_that_breaks_off_in_the_middle_is_asked_for_again_and_done_once(world: World, path: str) -> None:
    """The SDK does not repeat such a call by itself; the outbox does."""
    world.connect(collection="manual")
    world.control.fault(action="drop", method="POST", path=path, when="during")
    invoice = world.invoice()
    with pytest.raises(ProviderUnavailable):
        world.sync(invoice.id)
    assert world.sync(invoice.id).outcome == "synced"
    assert_one(world)


def test_a_rate_limit_that_does_not_end_is_given_back_for_later(world: World) -> None:
    world.connect(collection="manual")
    world.control.fault(path="/v1/invoices", method="POST", action="rate_limit", times=100)
    with pytest.raises(ProviderUnavailable) as later:
        world.sync(world.invoice().id)
    assert (later.value.code, later.value.retry_after_seconds) == ("provider_rate_limited", 5)
    assert len(world.control.fault_log()) == 6


@pytest.mark.parametrize("path", CREATES[1:])
def test_a_key_that_lost_a_permission_leaves_the_work_to_be_resumed(world: World, path: str) -> None:
    world.connect(collection="manual")
    world.control.fault(action="forbidden", method="POST", path=path)
    invoice = world.invoice()
    with pytest.raises(ProviderKeyRefused):
        world.sync(invoice.id)
    assert world.sync(invoice.id).outcome == "synced"
    assert_one(world)


def test_a_customer_deleted_at_stripe_is_made_anew_for_the_next_invoice(world: World) -> None:
    world.connect(collection="manual")
    customer = world.customer()
    first = world.sync(world.invoice(customer=customer).id)
    old = world.mapping("customer", customer.id).provider_id or ""
    world.delete(f"/v1/customers/{old}")
    second = world.sync(world.invoice(customer=customer).id)
    assert (first.outcome, second.outcome) == ("synced", "synced")
    new = world.mapping("customer", customer.id).provider_id
    assert new not in {None, old}
    assert [there["id"] for there in world.stripe_customers()] == [new]


def test_a_draft_deleted_at_stripe_is_made_anew(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    world.control.fault(action="drop", path="/v1/invoices/*/add_lines")
    with pytest.raises(ProviderUnavailable):
        world.sync(invoice.id)
    (draft,) = world.stripe_invoices()
    world.delete(f"/v1/invoices/{draft['id']}")
    assert world.sync(invoice.id).outcome == "synced"
    assert_one(world)


def test_connecting_anew_to_the_same_account_duplicates_nothing(world: World) -> None:
    old = world.connect(collection="manual")
    invoice = world.invoice()
    first = world.sync(invoice.id)
    world.disconnect(old)
    world.connect(collection="manual")
    again = world.sync(invoice.id)
    assert (again.outcome, again.stripe_invoice_id) == ("already_synced", first.stripe_invoice_id)
    assert_one(world)
