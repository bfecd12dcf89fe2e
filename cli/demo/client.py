"""A client as a careful user would write it: gzip, a timeout on every call, and retries that are safe to repeat."""

import gzip
import json
import random
import time
from typing import Any

import httpx

__all__ = ["ApiClient", "DemoFailed"]

_RETRY_FOR_SECONDS = 60.0


class DemoFailed(Exception):
    """A step did not do what the guide says; the message holds the answer."""


class ApiClient:
    """One API, one key. Every call may be repeated: creates carry an Idempotency-Key, events an identity."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._http = httpx.Client(
            base_url=f"{base_url}/api/v1", headers={"X-API-Key": api_key}, timeout=30.0, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """GET a JSON object."""
        return self._call("GET", path, params=params)

    def create(self, path: str, body: dict[str, Any], key: str) -> dict[str, Any]:
        """POST a JSON body under an Idempotency-Key."""
        return self._call("POST", path, json=body, headers={"Idempotency-Key": key})

    def query(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST a question."""
        return self._call("POST", path, json=body)

    def send_events(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        """POST a gzip bulk; returns the counts and the refused indexes."""
        return self._call(
            "POST",
            "/events/bulk",
            content=gzip.compress(json.dumps({"events": events}).encode(), compresslevel=1),
            headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
        )

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        deadline = time.monotonic() + _RETRY_FOR_SECONDS
        pause = 0.1
        while True:
            try:
                answer = self._http.request(method, path, **request)
                retry = answer.status_code in {429, 500, 502, 503, 504}
                problem = f"{answer.status_code} {answer.text[:500]}"
            except httpx.TransportError as error:
                retry, problem = True, f"no answer ({error})"
                answer = None
            if answer is not None and answer.is_success:
                body: dict[str, Any] = answer.json()
                return body
            if not retry or time.monotonic() > deadline:
                raise DemoFailed(f"{method} {path}: {problem}")
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            pause = min(pause * 2, 2.0)
