"""Keys and scopes: no key, a wrong key, a key without the scope, a revoked key."""

from __future__ import annotations

import itertools
import json
import re
from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx

from ledger.store import keys
from tests.support.api_stack import Stack, Tenant, eventually


def _guarded(http: httpx.Client) -> list[tuple[str, str, str | None]]:
    """(method, path, scope) of every operation that wants a key, as the document says."""
    paths: dict[str, dict[str, Any]] = http.get("/openapi.json").json()["paths"]
    return [
        (method.upper(), re.sub(r"\{[a-z_]+\}", "x", path), operation.get("x-required-scope"))
        for path, methods in paths.items()
        for method, operation in methods.items()
        if operation.get("security")
    ]


def test_every_route_but_health_and_webhooks_wants_a_key(stack: Stack, tenant: Tenant) -> None:
    guarded = _guarded(tenant.http)
    document = tenant.http.get("/openapi.json").json()
    open_paths = {
        path for path, methods in document["paths"].items() if not any(m.get("security") for m in methods.values())
    }
    assert open_paths == {"/healthz", "/readyz", "/api/v1/webhooks/stripe/{tenant_id}/{environment_id}"}
    everywhere = itertools.product(guarded, ({}, {"X-API-Key": "tally_test_wrong"}))
    once = itertools.product(guarded[:1], ({"Authorization": "Bearer nobody"}, {"Authorization": "Basic eDp5"}))
    with httpx.Client(base_url=stack.url, trust_env=False, timeout=60) as nobody:
        for (method, path, _), headers in (*everywhere, *once):
            answer = nobody.request(method, path, json={}, headers=headers)
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["hint"]


def test_a_key_without_the_scope_is_refused_by_name_on_every_route(stack: Stack, tenant: Tenant) -> None:
    limited = {scope: stack.with_key(tenant.scope, keys.ALL_SCOPES - {scope}) for scope in keys.ALL_SCOPES}
    named = set()
    for method, path, scope in _guarded(tenant.http):
        if scope is None:
            continue
        answer = limited[scope].http.request(method, path, json={})
        assert answer.status_code == 403, (method, path, answer.text)
        assert scope in answer.json()["detail"]
        named.add(scope)
    assert named == keys.ALL_SCOPES, "a scope that no route asks for protects nothing"


def test_a_bearer_token_is_the_same_key(stack: Stack, tenant: Tenant) -> None:
    answer = httpx.get(
        f"{stack.url}/api/v1/me", headers={"Authorization": f"Bearer {tenant.key}"}, trust_env=False, timeout=60
    )
    assert answer.json() == tenant.get("me").json()
    assert answer.json()["tenant_id"] == tenant.scope.tenant_id


def test_a_revoked_key_stops_working_within_seconds(stack: Stack, tenant: Tenant) -> None:
    key_id = tenant.get("me").json()["key_id"]
    with stack.ledger.begin() as session:
        keys.revoke_key(session, tenant.scope, key_id, datetime.now(UTC))
    refused = eventually(lambda: _refused(tenant), seconds=5)
    assert refused.json()["code"] == "api_key_revoked"


def _refused(tenant: Tenant) -> httpx.Response | None:
    answer = tenant.get("me")
    return answer if answer.status_code == 401 else None


def test_a_sender_that_is_refused_before_its_body_was_read_may_go_on_over_the_same_connection(
    stack: Stack, tenant: Tenant
) -> None:
    body = json.dumps({"events": [{"event_name": "a", "customer_id": "c", "properties": {"text": "x" * 10_000}}]})
    api = urlsplit(stack.url)
    with closing(HTTPConnection(str(api.hostname), api.port, timeout=60)) as sender:
        for key, status in (("tally_test_wrong", 401), (tenant.key, 201)):
            sender.request("POST", "/api/v1/events/bulk", body, {"X-API-Key": key})
            # No new connection is opened: the second request fails where the first one's was closed unsaid.
            sender.auto_open = 0
            answer = sender.getresponse()
            assert (answer.status, answer.getheader("connection")) == (status, None)
            answer.read()


def test_a_sender_that_is_refused_before_it_has_sent_its_body_is_told_that_the_connection_ends(stack: Stack) -> None:
    api = urlsplit(stack.url)
    with closing(HTTPConnection(str(api.hostname), api.port, timeout=60)) as sender:
        sender.putrequest("POST", "/api/v1/events/bulk")
        sender.putheader("X-API-Key", "tally_test_wrong")
        sender.putheader("Content-Length", "10000")
        sender.endheaders()
        answer = sender.getresponse()
        assert (answer.status, answer.getheader("connection")) == (401, "close")
