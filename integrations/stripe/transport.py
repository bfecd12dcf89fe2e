"""How the official client's requests reach Stripe: over connections that are kept, without more around them.

The client's own way goes through `requests`, which takes a third of a call's CPU for what no call here needs: cookies,
redirects, authentication, and a look at the environment for each request.
"""

import re
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import stripe
import urllib3

from billing.ports import CallPace

__all__ = ["Transport"]

# As many calls may run at once without a connection that is made for one of them alone.
_CONNECTIONS = 128
_TOO_MANY = 429
# A locked object is no matter of pace.
_LOCKED = "lock_timeout"
_LONGEST_REST = 60.0
# Names of endpoints have neither capitals nor digits, but for the version.
_ID = re.compile(r"/[^/]*[A-Z\d][^/]*(?<!/v1)")


class Transport(stripe.HTTPClient):
    """Requests to the server at `base`. Safe to share between threads.

    `timeout` is (connect, read) in seconds. A proxy is taken from the environment (`HTTPS_PROXY`, `NO_PROXY`), once.
    Each request waits for its turn by `pace`, the client's own repetitions too, and tells it when Stripe wants fewer.
    """

    name = "urllib3"

    def __init__(self, base: str, timeout: tuple[float, float], pace: CallPace | None = None) -> None:
        super().__init__()
        self._pace = pace
        options: dict[str, Any] = {
            "maxsize": _CONNECTIONS,
            "timeout": urllib3.Timeout(connect=timeout[0], read=timeout[1]),
            "retries": False,
            "ca_certs": stripe.ca_bundle_path,
        }
        proxy = _proxy_for(base)
        self._pool = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        """Body, status and headers of the answer. APIConnectionError where none came: the call may have happened."""
        call = call_name(method, url)
        if self._pace is not None:
            self._pace.wait(call)
        try:
            answer = self._pool.request(method.upper(), url, body=post_data, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            # Whoever is not who they say they are will not be at the next try.
            again = not isinstance(error, urllib3.exceptions.SSLError)
            told = f"no answer: {type(error).__name__}"
            raise stripe.APIConnectionError(told, should_retry=again) from error  # type: ignore[no-untyped-call]
        body = answer.data.decode("utf-8", "replace")
        if self._pace is not None and answer.status == _TOO_MANY and _LOCKED not in body:
            reason = answer.headers.get("Stripe-Rate-Limited-Reason", "")
            whole_account = not reason.startswith("endpoint")
            self._pace.ease(None if whole_account else call, wanted_rest(answer.headers))
        return body, answer.status, answer.headers

    def close(self) -> None:
        """Closes the connections that are not in use."""
        self._pool.clear()


def call_name(method: str, url: str) -> str:
    """What is called, without ids.

    >>> call_name("post", "https://api.stripe.com/v1/invoices/in_1Qx0b2eZvKYlo2C0/finalize?expand[0]=payments")
    'POST /v1/invoices/*/finalize'
    """
    return f"{method.upper()} {_ID.sub('/*', urlsplit(url).path)}"


def wanted_rest(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to be left alone for, at most a minute; None where it does not say."""
    told = headers.get("Retry-After", "")
    return min(float(told), _LONGEST_REST) if told.isdecimal() else None


def _proxy_for(base: str) -> str | None:
    parts = urlsplit(base)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)
