"""Around every request: an id, one log line, and an answer even when something of ours breaks."""

import logging
import re
import secrets
import time

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import REQUEST_ID, incomplete, unexpected

__all__ = ["CALLER", "Observed"]

CALLER = "tally.caller"
"""Key of the authenticated key's id in the ASGI scope, for the log line."""

_access = logging.getLogger("tally.api.access")
_log = logging.getLogger("tally.api")

# Answers hold what only their caller may see.
_ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))

# What we take over from a caller appears in our log and in our answers.
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
_EVENTS = "/api/v1/events"


def _sent_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            return text if _ACCEPTABLE_ID.fullmatch(text) else None
    return None


class Observed:
    """Pure ASGI, so that no body is copied on its way through."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _sent_id(scope) or f"req_{secrets.token_hex(12)}"
        scope[REQUEST_ID] = request_id
        status = 0
        started = time.perf_counter()

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *_ALWAYS]
            await send(message)

        try:
            await self.app(scope, receive, observed_send)
        except ClientDisconnect:
            # Whoever has gone does not hear it; one that only stopped sending does. Nothing of ours is broken.
            if not status:
                await incomplete(Request(scope))(scope, receive, observed_send)
        except Exception:
            _log.exception("request %s failed", request_id)
            if status:
                raise
            await unexpected(Request(scope))(scope, receive, observed_send)
        finally:
            # Senders of events come in thousands a second; the metrics count them.
            quiet = status < 300 and scope["path"].startswith(_EVENTS)
            level = logging.DEBUG if quiet else logging.INFO
            if _access.isEnabledFor(level):
                _access.log(
                    level,
                    "%s %s %d %.1fms caller=%s request=%s",
                    scope["method"],
                    scope["path"],
                    status,
                    (time.perf_counter() - started) * 1000,
                    scope.get(CALLER, "-"),
                    request_id,
                )
