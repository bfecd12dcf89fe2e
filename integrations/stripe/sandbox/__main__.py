"""`python -m integrations.stripe.sandbox --path DIR --port N`: one process, one address, one `ready` line."""

import argparse
import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from integrations.stripe.sandbox.app import Options, create_app

HOST = "127.0.0.1"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m integrations.stripe.sandbox", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--path", type=Path, help="folder of the database; made when absent")
    where.add_argument("--memory", action="store_true", help="keep nothing")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--record", type=Path, help="append every exchange to this file, one JSON object a line")
    parser.add_argument("--retry-base", type=float, default=1.0, help="seconds before a webhook's first retry")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        held = _reserve(arguments.port)
    except OSError as error:
        sys.stderr.write(f"port {arguments.port} on {HOST} cannot be used: {error.strerror}\n")
        return 1
    port = held.getsockname()[1]
    options = Options(
        path=arguments.path,
        base_url=f"http://{HOST}:{port}",
        record=arguments.record,
        retry_base_seconds=arguments.retry_base,
    )
    asyncio.run(_serve(options, held, port))
    return 0


def _reserve(port: int) -> socket.socket:
    """A socket that is bound and never listens, so that no one else gets the port before the server has it.

    The server binds with SO_REUSEPORT, with which a second sandbox could silently share a port; binding once without it
    refuses that.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((HOST, port))
    return held


async def _serve(options: Options, held: socket.socket, port: int) -> None:
    server = Server(
        create_app(options),
        address=HOST,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    serving = asyncio.create_task(server.serve())
    announcing = asyncio.create_task(_announce(options.base_url, port))
    await serving
    announcing.cancel()
    held.close()


async def _announce(base_url: str, port: int) -> None:
    """Print the ready line once a connection is accepted."""
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        sys.stdout.write(f"ready {base_url}\n")
        sys.stdout.flush()
        return


if __name__ == "__main__":
    sys.exit(main())
