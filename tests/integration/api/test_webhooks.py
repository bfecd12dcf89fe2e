"""S3 over HTTP: a webhook is verified, stored once and answered at once; S4: nothing secret comes back."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from ledger.store import inbox
from tests.support.api_process import running_api
from tests.support.api_stack import Stack, Tenant, eventually
from tests.support.sandbox_process import new_account

SECRET = "whsec_0123456789abcdef"


def _event(event_id: str, kind: str = "product.created") -> bytes:
    body = {
        "id": event_id,
        "object": "event",
        "type": kind,
        "created": int(time.time()),
        "livemode": False,
        "api_version": "2026-10-28.endive",
        "data": {"object": {"id": "prod_1", "object": "product"}},
    }
    return json.dumps(body).encode()


def _signature(body: bytes, secret: str = SECRET, at: int | None = None) -> str:
    moment = int(time.time()) if at is None else at
    mac = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={mac}"


def _deliver(stack: Stack, tenant: Tenant, body: bytes, signature: str | None) -> httpx.Response:
    scope = tenant.scope
    url = f"{stack.url}/api/v1/webhooks/stripe/{scope.tenant_id}/{scope.environment_id}"
    headers = {"Content-Type": "application/json"} | ({} if signature is None else {"Stripe-Signature": signature})
    return httpx.post(url, content=body, headers=headers, trust_env=False, timeout=60)


def _stored(stack: Stack, tenant: Tenant) -> dict[str, str]:
    with stack.ledger.read() as session:
        return {each.provider_event_id: each.state for each in inbox.list_events(session, tenant.scope).items}


@pytest.fixture
def connected(tenant: Tenant) -> Tenant:
    tenant.make("connections", {"name": "Stripe", "secret_key": new_account(), "webhook_secret": SECRET})
    return tenant


def test_S3_a_delivery_is_stored_once_and_worked_off_after_the_answer(stack: Stack, connected: Tenant) -> None:
    body = _event("evt_once")
    first, again = (_deliver(stack, connected, body, _signature(body)) for _ in range(2))
    assert (first.status_code, first.json()) == (200, {"received": True, "duplicate": False})
    assert (again.status_code, again.json()) == (200, {"received": True, "duplicate": True})
    eventually(lambda: _stored(stack, connected) == {"evt_once": "ignored"})


def test_S3_an_unverified_delivery_is_refused_without_an_echo_and_not_stored(stack: Stack, connected: Tenant) -> None:
    body = _event("evt_bad")
    refused = {
        "unsigned": None,
        "other secret": _signature(body, "whsec_another_secret"),
        "other body": _signature(_event("evt_other")),
        "old": _signature(body, at=int(time.time()) - 3600),
        "from the future": _signature(body, at=int(time.time()) + 3600),
        "nonsense": "t=x,v1=y",
    }
    for name, signature in refused.items():
        answer = _deliver(stack, connected, body, signature)
        assert answer.status_code == 400, name
        assert answer.headers["content-type"] == "application/problem+json"
        assert "evt_bad" not in answer.text
        assert SECRET not in answer.text
        if signature is not None:
            assert signature not in answer.text
    assert _stored(stack, connected) == {}


def test_a_delivery_to_nobody_says_no_more_than_one_with_a_bad_signature(stack: Stack, tenant: Tenant) -> None:
    body = _event("evt_lost")
    assert _deliver(stack, tenant, body, _signature(body)).status_code == 400
    nobody = httpx.post(f"{stack.url}/api/v1/webhooks/stripe/none/none", content=body, trust_env=False, timeout=60)
    assert nobody.status_code == 400


def test_both_secrets_count_while_one_is_rolled(stack: Stack, connected: Tenant) -> None:
    [connection] = connected.get("connections").json()["items"]
    path = f"/api/v1/connections/{connection['id']}"
    newer = "whsec_newer_secret_0001"

    def accepts(secret: str) -> bool:
        body = _event(f"evt_{secret[-4:]}_{time.monotonic_ns()}")
        return _deliver(stack, connected, body, _signature(body, secret)).status_code == 200

    rolled = connected.http.patch(path, json={"webhook_secret": newer})
    assert rolled.json()["webhook_secret_last4"] == "0001"
    assert (accepts(SECRET), accepts(newer)) == (True, True)
    assert connected.http.patch(path, json={"webhook_secret": newer}).is_success
    assert (accepts(SECRET), accepts(newer)) == (False, True)


def test_an_address_that_sends_too_much_waits_before_anything_is_read(stack: Stack, tmp_path: Path) -> None:
    environment = {**stack.environment, "TALLY_WEBHOOK_REQUESTS_PER_MINUTE": "2"}
    with running_api(environment, tmp_path / "api.log") as api:
        url = f"{api.url}/api/v1/webhooks/stripe/none/none"
        answers = [httpx.post(url, content=b"{}", trust_env=False, timeout=60) for _ in range(4)]
    assert [answer.status_code for answer in answers[:2]] == [400, 400]
    assert answers[-1].status_code == 429
    assert answers[-1].json()["code"] == "webhook_rate_limited"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 30


def test_S4_a_connections_secrets_never_come_out(stack: Stack, connected: Tenant) -> None:
    [connection] = connected.get("connections").json()["items"]
    path = f"/api/v1/connections/{connection['id']}"
    answers: list[Any] = [
        connected.get("connections"),
        connected.http.get(path),
        connected.http.patch(path, json={"name": "Renamed", "status": "disabled"}),
    ]
    for answer in answers:
        assert answer.is_success
        assert SECRET not in answer.text
        assert "sk_test_" not in answer.text
        assert SECRET[-4:] in answer.text
    assert answers[-1].json()["status"] == "disabled"
    assert connected.http.delete(path).status_code == 204
    assert connected.http.get(path).status_code == 404
    assert connected.get("connections").json()["items"] == []


def test_a_connection_reads_its_credentials_wherever_the_guides_system_puts_them(stack: Stack) -> None:
    for nested in (False, True):
        tenant, secret = stack.tenant(), new_account()
        credentials = {"secret_key": secret, "webhook_secret": SECRET, "publishable_key": "pk_test_x"}
        data = {"stripe": credentials} if nested else credentials
        made = tenant.make("connections", {"name": "S", "provider_type": "STRIPE", "encrypted_secret_data": data})
        assert made["secret_key_last4"] == secret[-4:]
        assert made["account_id"].startswith("acct_")
        assert made["livemode"] is False
