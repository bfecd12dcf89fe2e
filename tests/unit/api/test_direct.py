"""The short way for events leaves no connection in doubt: a body is read out, or its sender is told that it ends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message

from api.direct import DirectEvents

_SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "POST",
    "path": "/api/v1/events/bulk",
    "headers": [(b"host", b"api"), (b"content-length", b"3000")],
    "server": ("127.0.0.1", 8080),
    "scheme": "http",
    "query_string": b"",
}


async def _nobody_else(*_: object) -> None:
    raise AssertionError("the request is not handed on")


def _part(more: bool) -> Message:
    return {"type": "http.request", "body": b"x" * 1000, "more_body": more}


async def _refused(parts: list[Message]) -> tuple[dict[bytes, bytes], int]:
    """What a request without a key is told when these parts come and then nothing; how many were unread by then."""
    told: list[Message] = []
    unread: list[int] = []

    async def receive() -> Message:
        if not parts:
            await asyncio.Event().wait()
        return parts.pop(0)

    async def send(message: Message) -> None:
        unread.append(len(parts))
        told.append(message)

    app = SimpleNamespace(state=SimpleNamespace(deps=None))
    await DirectEvents(_nobody_else)({**_SCOPE, "app": app}, receive, send)
    assert told[0]["status"] == 401
    return dict(told[0]["headers"]), unread[0]


def test_a_short_body_is_read_out_before_its_request_is_refused() -> None:
    headers, unread = asyncio.run(_refused([_part(True), _part(True), _part(False)]))
    assert unread == 0
    assert b"connection" not in headers


@pytest.mark.parametrize("come", [0, 2])
def test_a_sender_whose_body_does_not_come_is_told_that_its_connection_ends(
    come: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.direct._READ_OUT_SECONDS", 0.01)
    headers, _ = asyncio.run(_refused([_part(True)] * come))
    assert headers[b"connection"] == b"close"


def test_a_sender_whose_body_is_long_is_told_that_its_connection_ends() -> None:
    headers, unread = asyncio.run(_refused([_part(True)] * 1000))
    assert headers[b"connection"] == b"close"
    assert unread > 0
