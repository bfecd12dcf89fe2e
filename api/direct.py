"""A short way for the two requests that come in thousands: past the framework's routing and dependencies.

The routes stand in the document and in the router as all others do, and call the same functions; what is saved here is
the framework's work per request, a few hundred microseconds of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import Call, authenticate, secret_of
from api.errors import http_refusal, refusal
from api.ingest import take_batch, take_one
from billing.errors import TallyError

__all__ = ["DirectEvents"]

_SCOPE: Final = "events:write"
_READ_OUT_BYTES: Final = 256 * 1024
_READ_OUT_SECONDS: Final = 1.0
_TAKERS: Final[Mapping[str, Callable[[Request, Call], Awaitable[Response]]]] = {
    "/api/v1/events": take_one,
    "/api/v1/events/bulk": take_batch,
}


class _Headers(Headers):
    """Headers in a dict: the framework's own walk through all of them for each that is asked for."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope=scope)
        # Of several with one name the first counts, as there.
        self._by_name: dict[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])
        }

    def __getitem__(self, key: str) -> str:
        return self._by_name[key.lower()]

    def get(self, key: str, default: Any = None) -> Any:
        return self._by_name.get(key.lower(), default)


class _EventRequest(Request):
    """A request for events, whose headers are looked at several times."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        # Where the framework keeps them once they have been asked for.
        self._headers = _Headers(scope)


class _Body:
    """What comes of a request's body, and whether all of it has come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_ended = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self._has_ended = not message.get("more_body", False)
        return message

    async def read_out(self) -> bool:
        """Drops the rest of a short body, so that its connection can be used again. False where it is long or slow."""
        if self._has_ended:
            return True
        left = _READ_OUT_BYTES
        try:
            async with asyncio.timeout(_READ_OUT_SECONDS):
                while not self._has_ended and left > 0:
                    left -= len((await self()).get("body", b""))
        except TimeoutError:
            pass
        return self._has_ended


class DirectEvents:
    """Answers POSTs of events itself and hands on everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        take = _TAKERS.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if take is None:
            await self.app(scope, receive, send)
            return
        body = _Body(receive)
        request = _EventRequest(scope, body)
        try:
            response = await take(request, await authenticate(request, secret_of(request), _SCOPE))
        except TallyError as error:
            response = refusal(request, error)
        except HTTPException as error:
            response = http_refusal(request, error)
        if not await body.read_out():
            # The server closes a connection on which a body was left unread; a sender that is not told uses it again.
            response.headers["connection"] = "close"
        await response(scope, receive, send)
