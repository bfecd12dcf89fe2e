"""A small server on 127.0.0.1 that takes webhooks and keeps what arrived, for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Arrival:
    """One request as it came: its exact bytes and its headers, by name in lower case."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def signature(self) -> str:
        """Stripe's."""
        return self.headers.get("stripe-signature", "")


@dataclass
class Receiver:
    """What arrived. `answer` decides the status, given how many came before; 200 unless a test says otherwise."""

    url: str = ""
    arrivals: list[Arrival] = field(default_factory=list)
    answer: Callable[[int], int] = lambda _: 200

    def wait_for(self, count: int, seconds: float = 20) -> list[Arrival]:
        """The arrivals once there are `count`; an AssertionError at the limit."""
        until = time.monotonic() + seconds
        while len(self.arrivals) < count:
            assert time.monotonic() < until, f"{len(self.arrivals)} of {count} webhooks arrived"
            time.sleep(0.01)
        return list(self.arrivals)


@contextmanager
def webhook_receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status = receiver.answer(len(receiver.arrivals))
            receiver.arrivals.append(Arrival(body, {k.lower(): v for k, v in self.headers.items()}))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hooks"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
