"""One Stripe client and how it is called: with the caller's keys, repeated at 429, its errors turned into ours.

No module globals, so that connections of different accounts never mix. The SDK repeats dropped connections, timeouts,
409 and 5xx with the same key; 429 it does not repeat, so that is done here. What still fails becomes an error of
`billing.ports`.
"""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import stripe

from billing.ports import CallPace
from integrations.stripe.errors import translate
from integrations.stripe.transport import Transport, wanted_rest

__all__ = ["API_VERSION", "PAGE", "Calls"]

API_VERSION = "2026-10-28.endive"
PAGE = 100
RATE_LIMIT_ATTEMPTS = 6
LONGEST_WAIT_SECONDS = 4.0

T = TypeVar("T")


class Calls:
    """Stripe through one secret key. Safe to share between threads.

    `timeout` is (connect, read) in seconds; `api_base` is another server that speaks Stripe's API; `http_client` stands
    in for the one that is made for `timeout` and `pace`.
    """

    def __init__(
        self,
        secret_key: str,
        api_base: str | None = None,
        timeout: tuple[float, float] = (3, 20),
        max_network_retries: int = 2,
        sleep: Callable[[float], None] = time.sleep,
        http_client: stripe.HTTPClient | None = None,
        pace: CallPace | None = None,
    ) -> None:
        self._livemode = secret_key.startswith(("sk_live_", "rk_live_"))
        self._sleep = sleep
        self._client = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": api_base.rstrip("/")} if api_base else {},
            max_network_retries=max_network_retries,
            http_client=http_client or Transport(api_base or stripe.DEFAULT_API_BASE, timeout, pace),
        )
        self._api = self._client.v1

    def _one(self, call: Callable[[], stripe.StripeObject]) -> dict[str, Any]:
        return self._answered(lambda: call().to_dict())

    def _read(self, path: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer to a GET as it came: making objects of a large one takes longer than all else of a call."""
        return self._answered(lambda: _body(self._client.raw_request("get", path, **params)))

    def _write(self, path: str, params: dict[str, Any], key: str) -> dict[str, Any]:
        """The same for a POST under the caller's key."""
        return self._answered(lambda: _body(self._client.raw_request("post", path, **params, idempotency_key=key)))

    def _all(self, call: Callable[[], stripe.ListObject[Any]]) -> list[dict[str, Any]]:
        return self._answered(lambda: [item.to_dict() for item in _every(call())])

    def _carrying(self, name: str, our_id: str, call: Callable[[], stripe.ListObject[Any]]) -> Mapping[str, Any] | None:
        """The newest object in a list whose metadata names our id."""

        def look() -> Mapping[str, Any] | None:
            bodies = (item.to_dict() for item in _every(call()))
            return next((body for body in bodies if (body.get("metadata") or {}).get(name) == our_id), None)

        return self._answered(look)

    def _answered(self, call: Callable[[], T]) -> T:
        """Waits and repeats while Stripe says 429, within bounds; turns every other error into one of ours."""
        for attempt in range(1, RATE_LIMIT_ATTEMPTS + 1):
            try:
                return call()
            except stripe.RateLimitError as error:
                if attempt == RATE_LIMIT_ATTEMPTS:
                    raise translate(error) from error
                self._sleep(max(_wait_seconds(attempt), wanted_rest(error.headers or {}) or 0))
            except stripe.StripeError as error:
                raise translate(error) from error
        raise AssertionError("the last attempt returns or raises")


def _body(answer: Any) -> dict[str, Any]:
    body: dict[str, Any] = answer.data
    return body


def _every(page: stripe.ListObject[Any]) -> Iterable[Any]:
    return page.auto_paging_iter()


def _wait_seconds(attempt: int) -> float:
    """Doubles from a quarter of a second, jittered over its upper half so that workers spread out."""
    longest: float = 0.25 * 2 ** (attempt - 1)
    return min(LONGEST_WAIT_SECONDS, longest) * random.uniform(0.5, 1)  # noqa: S311 - no secret
