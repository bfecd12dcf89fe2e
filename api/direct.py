"""A short way for the two requests that come in thousands: past the framework's routing and dependencies.

The routes stand in the document and in the router as all others do, and call the same functions; what is saved here is
the framework's work per request, a few hundred microseconds of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth import Call, authenticate, secret_of
from api.errors import http_refusal, refusal
from api.ingest import take_batch, take_one
from billing.errors import TallyError

__all__ = ["DirectEvents"]

_SCOPE: Final = "events:write"
_TAKERS: Final[Mapping[str, Callable[[Request, Call], Awaitable[Response]]]] = {
    "/api/v1/events": take_one,
    "/api/v1/events/bulk": take_batch,
}


class DirectEvents:
    """Answers POSTs of events itself and hands on everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        take = _TAKERS.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if take is None:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await take(request, await authenticate(request, secret_of(request), _SCOPE))
        except TallyError as error:
            response = refusal(request, error)
        except HTTPException as error:
            response = http_refusal(request, error)
        await response(scope, receive, send)
