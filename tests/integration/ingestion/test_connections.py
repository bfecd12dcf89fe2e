"""Connections that break and bodies that are not as long as they were said to be: no half of one is ever stored."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse, IncompleteRead, RemoteDisconnected

import pytest

from tests.support.api_stack import Tenant
from tests.support.ingest_rig import Rig
from tests.support.waiting import wait_until


def _line(event_id: str) -> bytes:
    event = {
        "event_id": event_id,
        "event_name": "llm.request",
        "customer_id": "acme",
        "timestamp": "2026-01-05T10:00:00Z",
        "properties": {"tokens": 1},
    }
    return json.dumps(event).encode() + b"\n"


def _head(tenant: Tenant, *more: str) -> bytes:
    lines = ["POST /api/v1/events/bulk HTTP/1.1", "Host: api", f"X-API-Key: {tenant.key}"]
    return "\r\n".join([*lines, "Content-Type: application/x-ndjson", *more, "", ""]).encode()


@contextmanager
def _connection(rig: Rig) -> Iterator[socket.socket]:
    port = int(rig.api.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        yield connection


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body; 0 where the connection was closed without an answer."""
    response = HTTPResponse(connection)
    try:
        response.begin()
        return response.status, response.read()
    except (RemoteDisconnected, ConnectionResetError, IncompleteRead):
        return 0, b""
    finally:
        response.close()


def _goes_on(rig: Rig, tenant: Tenant, *stored: str) -> None:
    """The server answers the next request, and what is stored is exactly this."""
    answer = tenant.http.post(
        "/api/v1/events/bulk", content=_line("after"), headers={"Content-Type": "application/x-ndjson"}
    )
    assert answer.status_code in {201, 202}
    rig.wait_until_drained()
    assert rig.stored(tenant) == sorted([*stored, "after"])
    rig.assert_log_is_clean()


def _left(rig: Rig) -> int:
    return rig.api.log.read_text().count("POST /api/v1/events/bulk 400")


CUT = {
    "between two events": (_line("a"), "Content-Length: 1000"),
    "within an event": (_line("a") + _line("b")[:40], "Content-Length: 1000"),
    "before the first byte": (b"", "Content-Length: 1000"),
    "between two chunks": (b"%x\r\n%s\r\n" % (len(_line("a")), _line("a")), "Transfer-Encoding: chunked"),
    "within a chunk": (b"%x\r\n%s" % (len(_line("a")) + 50, _line("a")), "Transfer-Encoding: chunked"),
}


@pytest.mark.parametrize("where", CUT)
def test_E1_a_sender_that_goes_away_in_the_middle_of_its_body_leaves_nothing_behind(rig: Rig, where: str) -> None:
    tenant, before = rig.tenant(), _left(rig)
    sent, length = CUT[where]
    with _connection(rig) as connection:
        connection.sendall(_head(tenant, length) + sent)
    wait_until(lambda: _left(rig) > before)
    _goes_on(rig, tenant)


@pytest.mark.parametrize("where", CUT)
def test_E1_a_body_that_ends_before_its_length_is_not_taken_for_a_whole_one(rig: Rig, where: str) -> None:
    tenant = rig.tenant()
    sent, length = CUT[where]
    with _connection(rig) as connection:
        connection.sendall(_head(tenant, length) + sent)
        connection.shutdown(socket.SHUT_WR)
        status, body = _answer(connection)
    assert (status, json.loads(body)["code"]) == (400, "body_incomplete")
    _goes_on(rig, tenant)


def test_what_follows_a_body_is_no_part_of_it(rig: Rig) -> None:
    tenant = rig.tenant()
    with _connection(rig) as connection:
        connection.sendall(_head(tenant, f"Content-Length: {len(_line('a'))}") + _line("a") + _line("b"))
        status, body = _answer(connection)
    assert (status, json.loads(body)["accepted"]) in {(201, 1), (202, 1)}
    _goes_on(rig, tenant, "a")


def test_E4_a_length_that_cuts_an_event_refuses_that_one_alone(rig: Rig) -> None:
    tenant = rig.tenant()
    body = _line("a") + _line("b")
    with _connection(rig) as connection:
        connection.sendall(_head(tenant, f"Content-Length: {len(body) - 10}") + body)
        status, answer = _answer(connection)
    outcome = json.loads(answer)
    assert (status, outcome["accepted"]) in {(201, 1), (202, 1)}
    assert [(each["index"], each["code"]) for each in outcome["refused"]] == [(1, "not_json")]
    _goes_on(rig, tenant, "a")


@pytest.mark.parametrize(
    "lengths",
    [
        ("Content-Length: -1",),
        ("Content-Length: ten",),
        ("Content-Length: 99999999999999999999999",),
        ("Content-Length: 10", "Content-Length: 20"),
    ],
)
def test_a_length_that_is_none_is_refused(rig: Rig, lengths: tuple[str, ...]) -> None:
    tenant = rig.tenant()
    with _connection(rig) as connection:
        connection.sendall(_head(tenant, *lengths) + _line("a"))
        status, _ = _answer(connection)
    assert status in {0, 400, 413}
    _goes_on(rig, tenant)


def test_senders_that_announce_much_and_send_nothing_take_no_room_from_the_others(rig: Rig) -> None:
    tenant = rig.tenant()
    with ExitStack() as stack:
        for _ in range(8):
            connection = stack.enter_context(_connection(rig))
            connection.sendall(_head(tenant, f"Content-Length: {16 * 1024 * 1024}") + _line("never"))
        # They are let in by the time that a later connection has been answered.
        for _ in range(3):
            with _connection(rig) as connection:
                connection.sendall(_head(tenant, f"Content-Length: {len(_line('a'))}") + _line("a"))
                assert _answer(connection)[0] in {200, 201, 202}
    _goes_on(rig, tenant, "a")


def test_a_slow_sender_holds_up_nobody_and_is_answered_when_its_body_is_there(rig: Rig) -> None:
    tenant = rig.tenant()
    body = _line("slow")
    with _connection(rig) as connection:
        connection.sendall(_head(tenant, f"Content-Length: {len(body)}"))
        for byte in body:
            connection.sendall(bytes([byte]))
            if byte == ord(","):
                assert tenant.get("me").status_code == 200
                assert tenant.http.post("/api/v1/events", content=_line("quick")).status_code in {200, 201, 202}
        status, answer = _answer(connection)
    assert (status, json.loads(answer)["accepted"]) in {(201, 1), (202, 1)}
    _goes_on(rig, tenant, "quick", "slow")
