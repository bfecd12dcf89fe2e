"""Sends alerts to an address of the operator's, signed so that the receiver knows who they are from and how old.

    Tally-Signature: t=1732492800,v1=5257a8…

`v1` is HMAC-SHA256, in hex, over `<t>.<body>` with the shared secret. There is one `v1` for each secret that is
configured, so that a secret can be changed without a gap: the receiver accepts any that it knows.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime

import httpx

from billing.errors import Unavailable

__all__ = ["AlertWebhook", "signature"]

# A receiver that is slower is asked again later: nothing else may wait for it.
_TIMEOUT = httpx.Timeout(5.0, connect=3.0)


class AlertWebhook:
    """One address and the secrets that it shares with us, the newest first; `clock` dates each attempt."""

    def __init__(self, url: str, secrets: Sequence[str], clock: Callable[[], datetime]) -> None:
        self._url = url
        self._secrets = tuple(secrets)
        self._clock = clock

    def send(self, message_id: str, body: str) -> None:
        """POST one message. Its id is the same at each attempt, so that a receiver can tell that it had it before.

        Raises Unavailable unless it is answered 2xx; a redirect is not followed.
        """
        data = body.encode()
        headers = {
            "Content-Type": "application/json",
            "Tally-Message-Id": message_id,
            "Tally-Signature": signature(data, self._secrets, int(self._clock().timestamp())),
        }
        try:
            answer = httpx.post(self._url, content=data, headers=headers, timeout=_TIMEOUT, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Its text may hold the address, and the address a token of the receiver's.
            raise Unavailable("alert_not_taken", f"the receiver did not answer: {type(error).__name__}") from error
        if not answer.is_success:
            raise Unavailable("alert_not_taken", f"the receiver answered {answer.status_code}")


def signature(body: bytes, secrets: Sequence[str], timestamp: int) -> str:
    """The value of `Tally-Signature`; `timestamp` is in seconds since 1970.

    >>> signature(b"{}", ["shh"], 1732492800)[:30]
    't=1732492800,v1=518841d0f2700b'
    """
    signed = f"{timestamp}.".encode() + body
    parts = [f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}" for secret in secrets]
    return ",".join([f"t={timestamp}", *parts])
