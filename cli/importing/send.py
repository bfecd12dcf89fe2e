"""Sends lines of events through the public API, again where that may help, and tells what became of each."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from billing.errors import Unavailable
from ingestion.refusal import Refused

__all__ = ["Acknowledged", "EventSender", "NotTakenError"]

_WORTH_A_RETRY: Final = {429, 500, 502, 503, 504}
_LONGEST_PAUSE_SECONDS: Final = 60.0
_FIRST_PAUSE_SECONDS: Final = 0.2
_NO_PAUSE_SECONDS: Final = 30.0


class NotTakenError(Exception):
    """The API refuses the request as a whole, so that sending it again is of no use."""

    def __init__(self, message: str, hint: str | None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass
class Acknowledged:
    """What the API said about some lines: counts, and the refused ones by their place among them."""

    accepted: int = 0
    duplicates: int = 0
    refused: list[Refused] = field(default_factory=list)


class EventSender:
    """One API and key. Every call may be repeated: each event has an identity."""

    def __init__(
        self,
        api: str,
        key: str,
        retry_for_seconds: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = httpx.Client(
            base_url=f"{api.rstrip('/')}/api/v1", headers={"X-API-Key": key}, timeout=60.0, trust_env=False
        )
        self._retry_for = retry_for_seconds
        self._sleep = sleep
        self._clock = clock

    def close(self) -> None:
        """Gives the connections back."""
        self._http.close()

    def whose(self) -> str:
        """The tenant and environment that the key belongs to."""
        me = self._answer("GET", "/me").json()
        return f"{me['tenant_id']}/{me['environment_id']}"

    def send(self, lines: Sequence[bytes]) -> Acknowledged:
        """Sends the lines in their order; returns when they are acknowledged.

        Raises Unavailable where that took longer than the time for retries, NotTakenError where it makes no sense to go
        on, such as for a key without the scope.
        """
        body = gzip.compress(b"\n".join(lines), compresslevel=1)
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        answer = self._answer("POST", "/events/bulk", content=body, headers=headers)
        if answer.status_code == 413:
            return self._in_halves(lines, answer)
        found: dict[str, Any] = answer.json()
        refused = [Refused(**each) for each in found.get("refused") or ()]
        return Acknowledged(found.get("accepted") or 0, found.get("duplicates") or 0, refused)

    def _in_halves(self, lines: Sequence[bytes], answer: httpx.Response) -> Acknowledged:
        """The API's bounds are settings: what is too much at once is sent in two parts."""
        if len(lines) == 1:
            return Acknowledged(refused=[Refused(0, _code(answer), "is larger than a request may be", None)])
        middle = len(lines) // 2
        first, second = self.send(lines[:middle]), self.send(lines[middle:])
        moved = [Refused(middle + each.index, each.code, each.reason, each.field) for each in second.refused]
        return Acknowledged(
            first.accepted + second.accepted, first.duplicates + second.duplicates, [*first.refused, *moved]
        )

    def _answer(self, method: str, path: str, **request: Any) -> httpx.Response:
        until = self._clock() + self._retry_for
        pause = _FIRST_PAUSE_SECONDS
        while True:
            asked = None
            try:
                answer = self._http.request(method, path, **request)
            except httpx.TransportError as error:
                problem = f"no answer from {self._http.base_url.host} ({type(error).__name__})"
            else:
                if answer.is_success or answer.status_code == 413 or _code(answer) == "all_events_refused":
                    return answer
                problem = f"{answer.status_code} {_code(answer)}"
                if answer.status_code not in _WORTH_A_RETRY:
                    raise NotTakenError(f"the API answers {problem}: {_told(answer, 'detail')}", _told(answer, "hint"))
                asked = _retry_after(answer)
            wait = max(asked or 0.0, pause) * random.uniform(1.0, 1.5)  # noqa: S311 - jitter, not a secret
            if self._clock() + wait > until:
                raise Unavailable("api_unavailable", f"the API took nothing for {self._retry_for:g} s: {problem}")
            self._sleep(wait)
            pause = min(pause * 2, _NO_PAUSE_SECONDS)


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _code(answer: httpx.Response) -> str:
    return str(_problem(answer).get("code", ""))


def _told(answer: httpx.Response, name: str) -> str | None:
    text = _problem(answer).get(name)
    return str(text)[:500] if text else None


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("retry-after", "")
    return min(float(text), _LONGEST_PAUSE_SECONDS) if text.isascii() and text.isdigit() else None
