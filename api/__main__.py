"""`python -m api`: the API behind granian, in one process that a signal ends cleanly.

More processes: `granian --interface asgi --factory api.app:create_app --workers N`.
"""

import argparse
import asyncio
import signal
import socket
import sys

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from pydantic import ValidationError

from api.app import create_app
from settings import load_settings

_CONNECTIONS = 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m api", description="Tallyhouse's HTTP API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    try:
        load_settings()
    except ValidationError as error:
        # Told here and without the values, which may be secrets.
        told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        sys.stderr.write(f"settings: {told}\n")
        return 2
    try:
        held = _hold(options.host, options.port)
    except OSError as error:
        sys.stderr.write(f"port {options.port} on {options.host} cannot be used: {error.strerror}\n")
        return 1
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options.host, options.port))
    held.close()
    return 0


def _hold(host: str, port: int) -> socket.socket:
    """A bound socket that never listens.

    granian binds with SO_REUSEPORT: without this a second API would share the port silently and answer some requests.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((host, port))
    return held


async def _serve(host: str, port: int) -> None:
    server = Server(
        create_app(),
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        # Connections beyond the bound would wait, unseen by our own back-pressure, until others close.
        backlog=_CONNECTIONS,
        backpressure=_CONNECTIONS,
        log_enabled=False,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve()


if __name__ == "__main__":
    sys.exit(main())
