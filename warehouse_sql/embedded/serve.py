"""One run of the embedded warehouse, from opening its data directory to closing it."""

from __future__ import annotations

import http.client
import logging
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from warehouse_sql.embedded.credentials import Credentials
from warehouse_sql.embedded.datalock import DataDirectoryInUse, DataLock
from warehouse_sql.embedded.engine import Engine
from warehouse_sql.embedded.server import WarehouseServer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How to run: see the command line in `__main__`."""

    path: Path
    host: str
    port: int
    concurrent_queries: int
    body_limit: int
    drain_seconds: float


def serve(options: Options, credentials: Credentials) -> int:
    """Runs until SIGTERM or SIGINT; the status for the shell, 1 where another process has the data directory."""
    path = options.path.resolve()
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        lock = DataLock(path)
    except DataDirectoryInUse as refused:
        print(refused, file=sys.stderr)
        return 1
    spool = path / "spool"
    spool.mkdir(exist_ok=True, mode=0o700)
    engine = Engine(path, options.concurrent_queries)
    server = WarehouseServer((options.host, options.port), engine, credentials, spool, options.body_limit)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, name="accept", daemon=True).start()
    port = server.server_address[1]
    _ping(options.host, port)
    print(f"ready http://{options.host}:{port}", flush=True)
    stop.wait()
    server.shutdown()
    if server.drain(options.drain_seconds):
        engine.close()
    else:
        log.warning("some requests still ran after %s s and end unanswered", options.drain_seconds)
    lock.release()
    return 0


def _ping(host: str, port: int) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request("GET", "/ping")
    if connection.getresponse().read() != b"Ok.\n":
        raise RuntimeError("the server does not answer its own ping")
    connection.close()
