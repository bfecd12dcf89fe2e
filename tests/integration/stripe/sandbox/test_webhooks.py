"""Webhook deliveries: signed so that the SDK accepts them, retried, and disturbed only by plan."""

import json
import time
from typing import Any

import pytest
import stripe

from tests.contract import contract
from tests.integration.stripe.sandbox.conftest import Account
from tests.support.webhook_receiver import Receiver

SECRET = "whsec_new_secret_of_the_test"


def types(receiver: Receiver) -> list[str]:
    return [json.loads(arrival.body)["type"] for arrival in receiver.arrivals]


def test_each_event_is_delivered_signed_and_conforms(account: Account, receiver: Receiver) -> None:
    endpoint = account.endpoint(receiver.url)
    account.paid_invoice(account.customer_with_card().id, 900)
    account.control.wait_idle()
    told = account.event_types()
    assert types(receiver) == told
    for arrival in receiver.arrivals:
        event = account.client.construct_event(arrival.body, arrival.signature, endpoint.secret)
        assert contract.check_event(json.loads(arrival.body)) == []
        assert event.api_version == "2026-10-28.endive"
        with pytest.raises(stripe.SignatureVerificationError):
            account.client.construct_event(arrival.body + b" ", arrival.signature, endpoint.secret)
    assert all(event.pending_webhooks == 0 for event in account.v1.events.list({"limit": 100}).data)


def test_the_secret_is_shown_once_and_only_wanted_types_are_sent(account: Account, receiver: Receiver) -> None:
    endpoint = account.endpoint(receiver.url, "customer.updated", "customer.deleted")
    assert endpoint.secret.startswith("whsec_")
    with pytest.raises(AttributeError):
        account.v1.webhook_endpoints.retrieve(endpoint.id).secret  # noqa: B018
    customer = account.customer()
    account.v1.customers.update(customer.id, {"name": "New"}, account.once())
    receiver.wait_for(1)
    account.v1.webhook_endpoints.update(endpoint.id, {"disabled": True}, account.once())
    account.v1.customers.delete(customer.id)
    account.v1.webhook_endpoints.update(endpoint.id, {"disabled": False, "enabled_events": ["*"]}, account.once())
    account.control.wait_idle()
    assert types(receiver) == ["customer.updated"]
    account.v1.webhook_endpoints.delete(endpoint.id)
    assert account.v1.webhook_endpoints.list().data == []


def test_endpoints_off_this_machine_of_another_version_and_a_seventeenth_are_refused(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.webhook_endpoints.create(
            {"url": "http://127.0.0.1:9/", "enabled_events": ["*"], "api_version": "2020-08-27"}, account.once()
        )
    assert caught.value.param == "api_version"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.endpoint("https://example.com/hooks")
    assert (caught.value.code, caught.value.param) == ("url_invalid", "url")
    for _ in range(16):
        account.endpoint("http://127.0.0.1:9/hooks", "customer.deleted")
    with pytest.raises(stripe.InvalidRequestError, match="maximum of 16"):
        account.endpoint("http://127.0.0.1:9/hooks")


def test_a_failing_receiver_is_tried_again_with_growing_gaps_and_fresh_signatures(
    account: Account, receiver: Receiver
) -> None:
    account.control.settings(retry_base_seconds=0.4, retry_factor=2.0, max_attempts=3)
    receiver.answer = lambda before: 500 if before < 2 else 200
    account.endpoint(receiver.url, "customer.created")
    account.customer()
    receiver.wait_for(3)
    account.control.wait_idle()
    assert len({json.loads(arrival.body)["id"] for arrival in receiver.arrivals}) == 1
    assert receiver.arrivals[0].signature != receiver.arrivals[2].signature
    log = account.control.deliveries()["log"]
    assert [(entry["attempt"], entry["status"]) for entry in log] == [(1, 500), (2, 500), (3, 200)]
    assert log[1]["at"] - log[0]["at"] > 0.4
    assert log[2]["at"] - log[1]["at"] > 0.8
    assert [d["state"] for d in account.control.deliveries()["deliveries"]] == ["delivered"]


def test_deliveries_give_up_after_the_last_attempt(account: Account, receiver: Receiver) -> None:
    account.control.settings(retry_base_seconds=0.01, max_attempts=2)
    receiver.answer = lambda _: 503
    account.endpoint(receiver.url, "customer.created")
    account.customer()
    account.control.wait_idle()
    assert [d["state"] for d in account.control.deliveries()["deliveries"]] == ["failed"]
    assert len(receiver.arrivals) == 2


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_held_deliveries_are_released_in_the_order_asked_for(account: Account, receiver: Receiver, order: str) -> None:
    account.endpoint(receiver.url)
    account.control.settings(hold=True, order=order, seed=3)
    account.paid_invoice(account.customer_with_card().id, 900)
    assert receiver.arrivals == []
    account.control.settings(hold=False)
    account.control.wait_idle()
    told = account.event_types()
    assert sorted(types(receiver)) == sorted(told)
    assert types(receiver) == told[::-1] if order == "reversed" else types(receiver) != told


def test_duplicates_delays_drops_and_bad_signatures_happen_by_plan(account: Account, receiver: Receiver) -> None:
    endpoint = account.endpoint(
        receiver.url, "customer.created", "product.created", "price.created", "customer.deleted"
    )
    for action, kind, more in (
        ("duplicate", "customer.created", {"copies": 2}),
        ("drop", "product.created", {}),
        ("delay", "price.created", {"seconds": 0.3}),
        ("bad_signature", "customer.deleted", {}),
    ):
        account.control.fault(on="webhook", action=action, type=kind, **more)
    started = time.monotonic()
    customer = account.customer()
    account.v1.prices.create({"currency": "usd", "unit_amount": 100, "product_data": {"name": "Plan"}}, account.once())
    account.v1.customers.delete(customer.id)
    account.control.wait_idle()
    assert time.monotonic() - started > 0.3
    assert sorted(types(receiver)) == ["customer.created"] * 3 + ["customer.deleted", "price.created"]
    copies = [a.body for a in receiver.arrivals if json.loads(a.body)["type"] == "customer.created"]
    assert len({json.loads(copy)["id"] for copy in copies}) == 1
    (deleted,) = [a for a in receiver.arrivals if json.loads(a.body)["type"] == "customer.deleted"]
    with pytest.raises(stripe.SignatureVerificationError):
        account.client.construct_event(deleted.body, deleted.signature, endpoint.secret)
    assert sorted(entry["action"] for entry in account.control.fault_log()) == [
        "bad_signature",
        "delay",
        "drop",
        "duplicate",
    ]


def test_both_secrets_sign_during_a_roll(account: Account, receiver: Receiver) -> None:
    endpoint = account.endpoint(receiver.url, "customer.created")
    body: dict[str, Any] = {"secret": SECRET, "overlap_seconds": 60}
    assert SECRET not in str(account.control.call("POST", f"/webhook_endpoints/{endpoint.id}/roll", body))
    account.customer()
    (arrival,) = receiver.wait_for(1)
    assert arrival.signature.count("v1=") == 2
    for secret in (endpoint.secret, SECRET):
        account.client.construct_event(arrival.body, arrival.signature, secret)


def test_an_event_can_be_sent_again(account: Account, receiver: Receiver) -> None:
    account.endpoint(receiver.url, "customer.created")
    account.customer()
    (event,) = account.v1.events.list().data
    receiver.wait_for(1)
    assert account.control.call("POST", f"/events/{event.id}/resend") == {"queued": 1}
    first, second = receiver.wait_for(2)
    assert json.loads(first.body)["id"] == json.loads(second.body)["id"] == event.id


def test_events_of_updates_say_what_was_before(account: Account) -> None:
    customer = account.customer()
    account.v1.customers.update(customer.id, {"name": "New", "metadata": {"a": "1"}}, account.once())
    (event,) = account.v1.events.list({"types": ["customer.updated"]}).data
    assert event.data.previous_attributes == stripe.StripeObject.construct_from(
        {"name": "Acme", "metadata": {"a": None}}, account.key
    )
    assert event.request is not None
    assert event.request.idempotency_key == "test:2"
