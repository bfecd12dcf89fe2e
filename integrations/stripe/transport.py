"""How the official client's requests reach Stripe: over connections that are kept, without more around them.

The client's own way goes through `requests`, which takes a third of a call's CPU for what no call here needs: cookies,
redirects, authentication, and a look at the environment for each request.
"""

import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import stripe
import urllib3

__all__ = ["Transport"]

# As many calls may run at once without a connection that is made for one of them alone.
_CONNECTIONS = 128


class Transport(stripe.HTTPClient):
    """Requests to the server at `base`. Safe to share between threads.

    `timeout` is (connect, read) in seconds. A proxy is taken from the environment (`HTTPS_PROXY`, `NO_PROXY`), once.
    """

    name = "urllib3"

    def __init__(self, base: str, timeout: tuple[float, float]) -> None:
        super().__init__()
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
        try:
            answer = self._pool.request(method.upper(), url, body=post_data, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            # Whoever is not who they say they are will not be at the next try.
            again = not isinstance(error, urllib3.exceptions.SSLError)
            told = f"no answer: {type(error).__name__}"
            raise stripe.APIConnectionError(told, should_retry=again) from error  # type: ignore[no-untyped-call]
        return answer.data.decode("utf-8", "replace"), answer.status, answer.headers

    def close(self) -> None:
        """Closes the connections that are not in use."""
        self._pool.clear()


def _proxy_for(base: str) -> str | None:
    parts = urlsplit(base)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)
