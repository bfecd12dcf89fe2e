"""The load generator, a process of its own that costs little: prepared requests over plain sockets.

Reads a JSON object from stdin (`Plan`), prepares every request, prints `ready`, waits for a line, sends, and prints
what it saw as JSON (`Seen`).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import msgspec

__all__ = ["Plan", "Seen", "events"]

FIRST_SECOND: Final = 1_767_225_600  # 2026-01-01
_HEAD: Final = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n"
    "Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
)
_MODELS: Final = ("small-1", "large-2", "vision-3", "audio-4")
_REGIONS: Final = ("eu-west-1", "us-east-2", "ap-south-1")


class Plan(msgspec.Struct):
    """`requests` of `events_each` events over `connections`, or single events where `events_each` is 0."""

    url: str
    key: str
    requests: int
    events_each: int
    connections: int
    customers: int = 1000
    first_event: int = 0


class Seen(msgspec.Struct):
    """Seconds from the first byte sent to the last answer, each request's milliseconds, answers by status."""

    seconds: float
    latencies_ms: list[float]
    statuses: dict[int, int]
    accepted: int
    cpu_seconds: float


def events(first: int, count: int, customers: int) -> Iterator[bytes]:
    """Events of about 230 bytes, each with an identity of its own, spread over the days of a month.

    >>> len(next(events(0, 1, 10)))
    233
    """
    for number in range(first, first + count):
        second = number * 7919 % 2_678_400
        day, rest = divmod(second, 86_400)
        yield (
            b'{"event_id":"evt_%016d","event_name":"api.request","customer_id":"customer_%05d",'
            b'"timestamp":"2026-01-%02dT%02d:%02d:%02d.%03dZ","properties":{"tokens":%d,"latency_ms":%d.%02d,'
            b'"model":"%s","region":"%s","cached":%s,"status":"ok"}}'
            % (
                number,
                number * 31 % customers,
                day + 1,
                rest // 3600,
                rest % 3600 // 60,
                rest % 60,
                number % 1000,
                number % 9973,
                number % 997,
                number % 100,
                _MODELS[number % 4].encode(),
                _REGIONS[number % 3].encode(),
                b"true" if number % 2 else b"false",
            )
        )


def _requests(plan: Plan) -> list[bytes]:
    path = "/api/v1/events/bulk" if plan.events_each else "/api/v1/events"
    host = urlsplit(plan.url).netloc
    each = plan.events_each or 1
    made = []
    for number in range(plan.requests):
        body = b",".join(events(plan.first_event + number * each, each, plan.customers))
        if plan.events_each:
            body = b'{"events":[' + body + b"]}"
        made.append(_HEAD.format(path=path, host=host, key=plan.key, size=len(body)).encode() + body)
    return made


async def _worker(plan: Plan, requests: Iterator[bytes], seen: Seen, statuses: Counter[int]) -> None:
    target = urlsplit(plan.url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    for request in requests:
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        at = head.lower().index(b"content-length:") + 15
        body = await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
        seen.latencies_ms.append((time.perf_counter() - began) * 1000)
        status = int(head[9:12])
        statuses[status] += 1
        if status < 300:
            seen.accepted += msgspec.json.decode(body)["accepted"] if plan.events_each else 1
    writer.close()


async def _run(plan: Plan, requests: list[bytes]) -> Seen:
    seen, statuses, shared = Seen(0, [], {}, 0, 0), Counter[int](), iter(requests)
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(_worker(plan, shared, seen, statuses) for _ in range(plan.connections)))
    seen.seconds, seen.cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    seen.statuses = dict(statuses)
    return seen


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    requests = _requests(plan)
    print("ready", flush=True)
    sys.stdin.readline()
    print(msgspec.json.encode(asyncio.run(_run(plan, requests))).decode(), flush=True)


if __name__ == "__main__":
    main()
