"""`Idempotency-Key`: a POST that creates happens once, however often it is sent."""

from __future__ import annotations

import pytest

from tests.support.api_catalog import METER, catalogue, finalized_invoice, guide
from tests.support.api_stack import Stack, Tenant
from tests.support.at_once import in_threads
from tests.support.sandbox_process import new_account

KEY = {"Idempotency-Key": "retry-1"}


def test_the_same_key_and_body_get_the_first_answer_again(tenant: Tenant) -> None:
    first = tenant.post("customers", {"name": "A"}, headers=KEY)
    again = tenant.post("customers", {"name": "A"}, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert len(tenant.get("customers").json()["items"]) == 1


def test_the_same_key_with_another_body_or_route_is_refused(tenant: Tenant) -> None:
    tenant.post("customers", {"name": "A"}, headers=KEY)
    for path, body in (("customers", {"name": "B"}), ("meters", METER)):
        answer = tenant.post(path, body, headers=KEY)
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused")
    assert tenant.get("meters").json()["items"] == []


def test_a_refused_request_does_not_use_up_its_key(tenant: Tenant) -> None:
    assert tenant.post("features", guide("features"), headers=KEY).status_code == 422
    tenant.make("meters", METER)
    assert tenant.post("features", guide("features"), headers=KEY).status_code == 201


def test_a_key_belongs_to_one_environment(stack: Stack, tenant: Tenant) -> None:
    other = stack.tenant()
    made = {each.post("customers", {"name": "A"}, headers=KEY).json()["id"] for each in (tenant, other)}
    assert len(made) == 2


def test_ten_at_once_make_one(tenant: Tenant) -> None:
    answers = in_threads([lambda: tenant.post("customers", {"name": "A"}, headers=KEY)] * 10)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(tenant.get("customers").json()["items"]) == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é"])
def test_a_key_that_cannot_be_kept_is_refused(tenant: Tenant, key: str) -> None:
    answer = tenant.post("customers", {"name": "A"}, headers={"Idempotency-Key": key.encode()})
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


def test_a_retried_payment_makes_one_link(stack: Stack, tenant: Tenant) -> None:
    credentials = {"secret_key": new_account(), "webhook_secret": "whsec_0123456789"}
    tenant.make("connections", {"name": "Stripe", **credentials})
    invoice = finalized_invoice(stack, tenant, catalogue(tenant), "11600")
    body = {**guide("payments"), "destination_id": invoice.id}
    first, again = (tenant.post("payments", body, headers=KEY) for _ in range(2))
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert len(tenant.get("payments").json()["items"]) == 1
