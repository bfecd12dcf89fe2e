"""The sender of an import: patient where waiting helps, quick to stop where it does not, and never out of order."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from billing.errors import Unavailable
from cli.importing.send import EventSender, NotTakenError

LINES = [json.dumps({"event_id": f"e{number}"}).encode() for number in range(8)]


@dataclass
class Server:
    """Keeps what it is sent; answers what `says` holds first, then takes at most `most` lines at once."""

    url: str = ""
    most: int = 100
    says: list[tuple[int, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    received: list[list[str]] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)

    def answer(self, lines: list[str]) -> tuple[int, dict[str, Any], dict[str, str]]:
        self.received.append(lines)
        if self.says:
            return self.says.pop(0)
        if len(lines) > self.most:
            return 413, {"code": "too_many_events"}, {}
        self.stored += lines
        bad = [n for n, line in enumerate(lines) if line.endswith("3")]
        refused = [{"index": index, "code": "bad", "reason": "is 3", "field": None} for index in bad]
        return 201, {"accepted": len(lines) - len(bad), "duplicates": 0, "refused": refused}, {}


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            lines = [json.loads(line)["event_id"] for line in gzip.decompress(body).splitlines()]
            status, answer, headers = state.answer(lines)
            text = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield state
        http.shutdown()
        thread.join()


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def _sender(server: Server, clock: Clock, retry_for: float = 300) -> EventSender:
    return EventSender(server.url, "key", retry_for, clock.sleep, lambda: clock.now)


def test_it_waits_as_it_is_asked_to_and_sends_the_same_lines_again(server: Server) -> None:
    server.says = [(429, {"code": "slow_down"}, {"Retry-After": "7"}), (503, {}, {}), (502, {}, {})]
    clock = Clock()
    with closing(_sender(server, clock)) as sender:
        answer = sender.send(LINES[:3])
    assert (answer.accepted, answer.refused) == (3, [])
    assert server.received == [["e0", "e1", "e2"]] * 4
    assert 7 <= clock.slept[0] <= 10.5
    assert all(0.2 <= pause <= 1.2 for pause in clock.slept[1:])


def test_a_wait_is_never_longer_than_a_minute_and_a_half_and_retries_end(server: Server) -> None:
    server.says = [(503, {"code": "warehouse_unavailable"}, {"Retry-After": "99999"})] * 100
    clock = Clock()
    with closing(_sender(server, clock)) as sender, pytest.raises(Unavailable, match="warehouse_unavailable"):
        sender.send(LINES)
    assert max(clock.slept) <= 90
    assert clock.now <= 300


def test_it_stops_at_once_where_sending_again_is_of_no_use(server: Server) -> None:
    server.says = [(403, {"code": "scope_missing", "detail": "It lacks events:write.", "hint": "Use another."}, {})]
    clock = Clock()
    with closing(_sender(server, clock)) as sender, pytest.raises(NotTakenError, match="events:write") as stopped:
        sender.send(LINES)
    assert (stopped.value.hint, clock.slept) == ("Use another.", [])


def test_what_is_too_much_at_once_is_sent_in_parts_in_order_and_refusals_keep_their_place(server: Server) -> None:
    server.most = 3
    with closing(_sender(server, Clock())) as sender:
        answer = sender.send(LINES)
    assert server.stored == [f"e{number}" for number in range(8)]
    assert (answer.accepted, [(bad.index, bad.code) for bad in answer.refused]) == (7, [(3, "bad")])


def test_a_line_that_is_too_large_alone_is_refused(server: Server) -> None:
    server.most = 0
    with closing(_sender(server, Clock())) as sender:
        answer = sender.send(LINES[:2])
    assert [(bad.index, bad.code) for bad in answer.refused] == [(0, "too_many_events"), (1, "too_many_events")]


def test_a_batch_of_which_nothing_is_good_is_an_answer(server: Server) -> None:
    refused = [{"index": 0, "code": "bad", "reason": "is bad", "field": "timestamp"}]
    server.says = [(422, {"code": "all_events_refused", "accepted": 0, "duplicates": 0, "refused": refused}, {})]
    with closing(_sender(server, Clock())) as sender:
        answer = sender.send(LINES[:1])
    assert (answer.accepted, [bad.field for bad in answer.refused]) == (0, ["timestamp"])
