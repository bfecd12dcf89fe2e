"""Cutting a client's connection without an answer, for faults: the caller cannot know what happened."""

import os
import socket
from pathlib import Path

from fastapi import Request


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
