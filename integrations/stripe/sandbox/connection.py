"""Cutting a client's connection without an answer, for faults: the caller cannot know what happened."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

# Long enough for the first half to leave this process, and it need not be more: a loopback connection waits for nobody.
_LEAVES_WITHIN_SECONDS = 0.2


class TornResponse(Response):
    """An answer that promises its whole length and breaks off in the middle."""

    def __init__(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await asyncio.sleep(_LEAVES_WITHIN_SECONDS)
        cut(self._request)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def cut(request: Request) -> bool:
    """Shut down the socket whose far end is this request's client; whether it was found.

    ASGI has no way to hang up, so the socket is looked up among this process's open files.
    """
    if request.client is None:
        return False
    far_end = (request.client.host, int(request.client.port))
    for name in Path("/dev/fd").iterdir():
        try:
            number = os.dup(int(name.name))
        except OSError:
            continue
        try:
            copy = socket.socket(fileno=number)
        except OSError:
            # No socket: left open, the copies would double with every call until none can be made.
            os.close(number)
            continue
        with copy:
            try:
                if copy.getpeername()[:2] == far_end:
                    copy.shutdown(socket.SHUT_RDWR)
                    return True
            except OSError:
                continue
    return False
