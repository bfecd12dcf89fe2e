"""Limits of an account's own, where its settings ask for them: calls a second, and one change of an object at a time.

Counted in real time and in memory: a limit is about the moment, and a restart forgets it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from integrations.stripe.sandbox.errors import StripeError
from integrations.stripe.sandbox.mishaps import LOCKED

RATE = (
    "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits and consider "
    "spreading your requests out over time."
)


@dataclass
class _Bucket:
    left: float
    at: float


class Limits:
    """`per_second` fills a bucket of as many calls, so a second of silence allows a burst of that size."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._changing: set[tuple[str, str]] = set()

    def admit(self, account: str, endpoint: str, settings: dict[str, Any]) -> None:
        """Counts a call. Raises 429 beyond `calls_per_second` of the account, or of one endpoint; 0 is no limit."""
        for name, reason, setting in (
            ("", "global-rate", "calls_per_second"),
            (endpoint, "endpoint-rate", "endpoint_calls_per_second"),
        ):
            per_second = float(settings[setting])
            if per_second > 0 and not self._takes((account, name), per_second):
                headers = {"Stripe-Rate-Limited-Reason": reason}
                raise StripeError(429, RATE, code="rate_limit", saved=False, headers=headers)

    @contextmanager
    def changing(self, account: str, object_id: str) -> Iterator[None]:
        """Holds an object while a call changes it. Raises 429 `lock_timeout` while another one does."""
        name = (account, object_id)
        with self._lock:
            if name in self._changing:
                raise StripeError(429, LOCKED, code="lock_timeout", saved=False)
            self._changing.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._changing.discard(name)

    def _takes(self, name: tuple[str, str], per_second: float) -> bool:
        now = time.monotonic()
        with self._lock:
            bucket = self._buckets.setdefault(name, _Bucket(per_second, now))
            bucket.left = min(per_second, bucket.left + (now - bucket.at) * per_second)
            bucket.at = now
            if bucket.left < 1:
                return False
            bucket.left -= 1
            return True
