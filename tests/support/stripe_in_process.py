"""The sandbox without a process and without HTTP, behind the official client: for tests with thousands of calls."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import stripe

from integrations.stripe.gateway import StripeGateway
from integrations.stripe.sandbox.recorder import Recorder
from integrations.stripe.sandbox.resources import all_operations
from integrations.stripe.sandbox.service import Incoming, Service
from integrations.stripe.sandbox.store import Store
from integrations.stripe.sandbox.worker import Worker

BASE = "http://stripe.invalid"


class _Directly(stripe.HTTPClient):
    """Hands each request to the sandbox's service; nothing that happens by itself later happens here."""

    name = "in-process"

    def __init__(self) -> None:
        super().__init__()
        store = Store(None)
        self._service = Service(store, Worker(store, BASE, {}), Recorder(None), BASE, {})
        templates = sorted(all_operations(), key=lambda each: each.template.count("{"))
        self._routes = [(each, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", each.template))) for each in templates]

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        parts = urlsplit(url)
        for operation, path in self._routes:
            found = path.fullmatch(parts.path)
            if found is not None and operation.method == method.upper():
                body = (post_data or "").encode() if isinstance(post_data, str) else post_data or b""
                named = {name.lower(): value for name, value in (headers or {}).items()}
                asked = Incoming(method.upper(), parts.path, parts.query, body, named, found.groupdict())
                answer = self._service.answer(operation, asked)
                return json.dumps(answer.body).encode(), answer.status, answer.headers
        raise AssertionError(f"{method} {parts.path} is not served")

    def close(self) -> None:
        """Nothing is open."""


def gateway_in_process(key: str = "sk_test_in_process_000001") -> StripeGateway:
    """A gateway over the official client to a sandbox of its own."""
    return StripeGateway(key, api_base=BASE, max_network_retries=0, sleep=lambda _: None, http_client=_Directly())
