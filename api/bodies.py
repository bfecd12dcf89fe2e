"""How a request's body is read: bounded, and with every number's digits kept."""

import json
from collections.abc import Callable
from decimal import Decimal
from email.message import Message
from typing import Any, NoReturn

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from billing.errors import UnsupportedMedia

__all__ = ["ExactRequest", "exact_json", "raw_body", "require_json"]


async def raw_body(request: Request, most_bytes: int, arrived: Callable[[int], None] | None = None) -> bytes:
    """The body as it was sent, or 413 as soon as it is known to be larger; nothing more is read then.

    `arrived` is told the size of each part, and may refuse it by raising.
    """
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > most_bytes:
        raise HTTPException(413)
    parts: list[bytes] = []
    size = 0
    more = True
    # As `request.stream` does, without a generator: small bodies come in thousands a second.
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size > most_bytes:
            raise HTTPException(413)
        if arrived is not None:
            arrived(len(part))
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class ExactRequest(Request):
    """Reads JSON numbers with a point or exponent as Decimal: a float would have lost digits before any check."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = await raw_body(self, self.app.state.deps.settings.max_body_bytes)
        return self._body

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = exact_json(await self.body())
        return self._json


def require_json(request: Request) -> None:
    """UnsupportedMedia unless the body is declared as plain JSON."""
    message = Message()
    message["content-type"] = request.headers.get("content-type", "application/json")
    subtype = message.get_content_subtype()
    if message.get_content_maintype() != "application" or not (subtype == "json" or subtype.endswith("+json")):
        raise UnsupportedMedia(
            "content_type_not_json", "The body is not declared as JSON.", hint="Send Content-Type: application/json."
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia(
            "content_encoding_not_supported",
            "Only the routes for events read compressed bodies.",
            hint="Send the body without Content-Encoding.",
        )


def exact_json(raw: bytes) -> Any:
    """The document in `raw`, its numbers as int and Decimal. JSONDecodeError for all that cannot be read."""
    try:
        return json.loads(raw, parse_float=Decimal, parse_constant=_refuse_constant)
    except json.JSONDecodeError:
        raise
    except (ValueError, ArithmeticError, RecursionError) as error:
        # Not UTF-8, an integer of thousands of digits, NaN, or brackets nested thousands deep.
        raise json.JSONDecodeError("not a JSON document that can be read", "", 0) from error


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("JSON has no NaN and no Infinity")
