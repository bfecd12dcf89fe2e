"""A sender as a customer would write one: it sends each request until that is acknowledged, and remembers what was."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

import httpx

GIVE_UP_SECONDS = 90
_LONGEST_PAUSE = 0.5
_NDJSON = "application/x-ndjson"


class UnexpectedAnswer(AssertionError):
    """An answer that is neither an acknowledgement nor a request to come back."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What was acknowledged of one identity."""

    customer_id: str
    tokens: Decimal
    timestamp: str


def winter(chance: Random) -> str:
    """Some moment of January or February 2026."""
    return f"2026-0{chance.randint(1, 2)}-{chance.randint(1, 28):02}T{chance.randint(0, 23):02}:30:00Z"


class EventSender:
    """Several threads with bulks and single events, JSON and NDJSON, until `finish`; `moment` says when one happened.

    A request is repeated, with the same bytes, where the connection fails, on 429, and on 503; never after a 2xx.
    """

    def __init__(
        self,
        url: str,
        key: str,
        seed: int,
        *,
        threads: int = 4,
        most_events: int = 40,
        pause: float = 0.01,
        moment: Callable[[Random], str] = winter,
    ) -> None:
        self.acknowledged: dict[str, Acknowledged] = {}
        self.statuses: Counter[int] = Counter()
        self._url = url
        self._key = key
        self._seed = seed
        self._most = most_events
        self._pause = pause
        self._moment = moment
        self._ending = threading.Event()
        self._noting = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, "sender")
        self._running: list[Future[None]] = []
        self._threads = threads

    @property
    def customers(self) -> dict[str, tuple[int, Decimal]]:
        """Per customer: how many events were acknowledged, and the sum of their tokens."""
        found: dict[str, tuple[int, Decimal]] = {}
        for each in self.acknowledged.values():
            count, tokens = found.get(each.customer_id, (0, Decimal(0)))
            found[each.customer_id] = (count + 1, tokens + each.tokens)
        return found

    def requests(self, *statuses: int) -> int:
        """How many requests were answered with one of these; without any, how many were acknowledged."""
        return sum(self.statuses[status] for status in statuses or (200, 201, 202))

    def fail_if_broken(self) -> None:
        """Raises what ended one of the threads early."""
        for each in self._running:
            if each.done():
                each.result()

    def start(self) -> None:
        self._running = [self._pool.submit(self._send, number) for number in range(self._threads)]

    def finish(self) -> None:
        """Ends when the request of each thread is acknowledged: from then on all that was sent is."""
        self._ending.set()
        for each in self._running:
            each.result(GIVE_UP_SECONDS + 30)
        self._pool.shutdown()

    def _send(self, number: int) -> None:
        chance = Random(f"{self._seed}/{number}")  # noqa: S311 -- to be repeated, guards nothing
        names = (f"{self._seed}-{number}-{count}" for count in itertools.count())
        with httpx.Client(base_url=self._url, headers={"X-API-Key": self._key}, trust_env=False, timeout=20) as client:
            while not self._ending.is_set():
                self._until_acknowledged(client, self._events(chance, names), chance)
                self._ending.wait(self._pause)

    def _events(self, chance: Random, names: Iterator[str]) -> list[dict[str, Any]]:
        count = 1 if chance.random() < 0.4 else chance.randint(2, self._most)
        return [self._event(chance, next(names)) for _ in range(count)]

    def _event(self, chance: Random, name: str) -> dict[str, Any]:
        keyed = {"idempotency_key": f"key-{name}"} if chance.random() < 0.3 else {}
        return {
            "event_id": f"event-{name}",
            "event_name": "llm.request",
            "customer_id": f"customer_{chance.randint(1, 5)}",
            "timestamp": self._moment(chance),
            "properties": {"tokens": chance.randint(1, 99_999) / 100, "model": "small"},
            **keyed,
        }

    def _until_acknowledged(self, client: httpx.Client, events: list[dict[str, Any]], chance: Random) -> None:
        path, kind = "/api/v1/events/bulk", "application/json"
        content = json.dumps({"events": events})
        if len(events) == 1 and chance.random() < 0.7:
            path, content = "/api/v1/events", json.dumps(events[0])
        elif chance.random() < 0.5:
            kind, content = _NDJSON, "\n".join(map(json.dumps, events))
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while True:
            status, pause = self._once(client, path, kind, content, chance)
            if status < 300:
                self._note(status, events)
                return
            if time.monotonic() > give_up:
                raise UnexpectedAnswer(f"not acknowledged within {GIVE_UP_SECONDS} s, at last {status}")
            threading.Event().wait(pause)

    def _once(self, client: httpx.Client, path: str, kind: str, content: str, chance: Random) -> tuple[int, float]:
        """The status, 599 where no answer came, and how long to wait before the next try."""
        try:
            answer = client.post(path, content=content, headers={"Content-Type": kind})
        except httpx.TransportError:
            return 599, chance.uniform(0.02, 0.2)
        if answer.status_code in {429, 503}:
            with self._noting:
                self.statuses[answer.status_code] += 1
            return answer.status_code, min(int(answer.headers["Retry-After"]), _LONGEST_PAUSE)
        if answer.status_code not in {200, 201, 202} or answer.json().get("refused"):
            raise UnexpectedAnswer(f"{answer.status_code}: {answer.text}")
        return answer.status_code, 0

    def _note(self, status: int, events: list[dict[str, Any]]) -> None:
        with self._noting:
            self.statuses[status] += 1
            for event in events:
                tokens = Decimal(repr(event["properties"]["tokens"]))
                identity = event.get("idempotency_key") or event["event_id"]
                self.acknowledged[identity] = Acknowledged(event["customer_id"], tokens, event["timestamp"])


@contextmanager
def sending(url: str, key: str, seed: int, **options: Any) -> Iterator[EventSender]:
    """A sender for the length of a block, at the end of which all that it sent is acknowledged."""
    sender = EventSender(url, key, seed, **options)
    sender.start()
    try:
        yield sender
    finally:
        sender.finish()
