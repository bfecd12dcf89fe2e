"""How many events a second the API acknowledges, beside what its warehouse does with the same rows alone.

Rounds alternate between the two, so that other work on the machine hits both; of each the median round counts. The base
of the ratio is the fastest of several ways to insert the rows without us, prepared beforehand and posted to the same
warehouse process. After every phase the rows in the table are counted: what was acknowledged has to be there.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from bench.figures import BenchFailed, Goal, Machine, median, percentile
from bench.load import Plan, Seen, events
from bench.scratch import Scratch, Usage, scratch
from billing.scope import Scope
from ingestion.decode import decode_events
from ingestion.event import Limits
from ingestion.rows import COLUMNS, FORMAT, SETTINGS, TABLE, rows_of
from warehouse_sql.client import Warehouse

__all__ = ["Inserted", "Report", "Sent", "Sizes", "measure"]

_WARM_UP_REQUESTS: Final = 20
_STORED_WITHIN_SECONDS: Final = 120.0
# What the engine needs to keep the text of numbers, and nothing that holds it back.
_EXACT_ONLY: Final = {
    name: value for name, value in SETTINGS.items() if "thread" not in name and "parallel" not in name
}


@dataclass(frozen=True)
class Sizes:
    """Per round `requests` of `events_each` events over `connections`; `singles` requests of one event each, once."""

    rounds: int = 3
    requests: int = 400
    events_each: int = 1000
    connections: int = 64
    singles: int = 20_000
    single_connections: int = 256


@dataclass(frozen=True)
class Sent:
    """One phase over HTTP. `inserts` is what the API made of the requests; CPU is in µs per event, memory in MB."""

    requests: int
    connections: int
    acknowledged: int
    stored: int
    seconds: float
    events_per_second: float
    p50_ms: float
    p99_ms: float
    inserts: int
    api_cpu_us: float
    warehouse_cpu_us: float
    load_cpu_us: float
    api_peak_mb: float
    warehouse_peak_mb: float


@dataclass(frozen=True)
class Inserted:
    """The same rows without the API, inserted in one of several ways."""

    way: str
    inserts: int
    stored: int
    seconds: float
    events_per_second: float
    warehouse_cpu_us: float


@dataclass(frozen=True)
class Report:
    """`bulk` and `engine` are the median rounds; `ratio` is the API's speed through that of `base`, an engine's way."""

    machine: Machine
    event_bytes: int
    bulk: Sent
    engine: tuple[Inserted, ...]
    base: str
    ratio: float
    cpu_ratio: float
    single: Sent
    goals: tuple[Goal, ...]


T = TypeVar("T", Sent, Inserted)


def measure(sizes: Sizes, tell: Callable[[str], None]) -> Report:
    """Starts a stack, measures, takes everything away. BenchFailed where not all that was acknowledged is stored."""
    machine = Machine.at(datetime.now(UTC))
    with scratch() as stack:
        tell("warming up")
        total = _phase(stack, _WARM_UP_REQUESTS, sizes.events_each, sizes.connections, 0).acknowledged
        total += _phase(stack, _WARM_UP_REQUESTS * 10, 0, sizes.single_connections, total).acknowledged
        sent: list[Sent] = []
        inserted: dict[str, list[Inserted]] = {}
        for number in range(1, sizes.rounds + 1):
            tell(f"round {number} of {sizes.rounds}: {sizes.requests * sizes.events_each:,} events over HTTP")
            first = total
            sent.append(_phase(stack, sizes.requests, sizes.events_each, sizes.connections, first))
            total += sent[-1].acknowledged
            tell(f"round {number} of {sizes.rounds}: the same rows by the engine alone")
            for one in _engine(stack, first, sizes, sent[-1].inserts, number):
                inserted.setdefault(one.way, []).append(one)
        tell(f"{sizes.singles:,} requests of one event")
        single = _phase(stack, sizes.singles, 0, sizes.single_connections, total)
    bulk = _middle(sent)
    engine = tuple(_middle(rounds) for rounds in inserted.values())
    base = max(engine, key=lambda one: one.events_per_second)
    ratio = bulk.events_per_second / base.events_per_second
    return Report(
        machine=machine,
        event_bytes=len(next(events(0, 1, 1000))),
        bulk=bulk,
        engine=engine,
        base=base.way,
        ratio=round(ratio, 3),
        cpu_ratio=round(base.warehouse_cpu_us / max(bulk.api_cpu_us + bulk.warehouse_cpu_us, 0.01), 3),
        single=single,
        goals=(
            Goal("bulk events/s through the engine's own", round(ratio, 3), 0.5, at_most=False),
            Goal("single events acknowledged/s", single.events_per_second, 4000, at_most=False),
            Goal("single event p99, ms", single.p99_ms, 150, at_most=True),
            Goal("API peak memory, MB", max(bulk.api_peak_mb, single.api_peak_mb), 400, at_most=True),
        ),
    )


def _phase(stack: Scratch, requests: int, events_each: int, connections: int, first: int) -> Sent:
    plan = Plan(stack.api.url, stack.key, requests, events_each, connections, first_event=first)
    before = _stored(stack.statements, stack.scope)
    with _Generator(plan) as generator:
        inserts = _inserts(stack.statements)
        stack.api.forget_peak()
        stack.warehouse_server.forget_peak()
        api, warehouse = stack.api.usage(), stack.warehouse_server.usage()
        seen = generator.send()
        api_after, warehouse_after = stack.api.usage(), stack.warehouse_server.usage()
        inserts = _inserts(stack.statements) - inserts
    if set(seen.statuses) - {201, 202}:
        raise BenchFailed(f"requests were refused; answers by status: {seen.statuses}")
    stored = _await_stored(stack, before + seen.accepted) - before
    if stored != seen.accepted:
        raise BenchFailed(f"{seen.accepted} events were acknowledged, {stored} are stored")
    return Sent(
        requests=requests,
        connections=connections,
        acknowledged=seen.accepted,
        stored=stored,
        seconds=round(seen.seconds, 3),
        events_per_second=round(seen.accepted / seen.seconds),
        p50_ms=round(median(seen.latencies_ms), 2),
        p99_ms=round(percentile(seen.latencies_ms, 0.99), 2),
        inserts=inserts,
        api_cpu_us=_cpu_us(api, api_after, seen.accepted),
        warehouse_cpu_us=_cpu_us(warehouse, warehouse_after, seen.accepted),
        load_cpu_us=round(seen.cpu_seconds * 1e6 / seen.accepted, 2),
        api_peak_mb=round(api_after.peak_mb),
        warehouse_peak_mb=round(warehouse_after.peak_mb),
    )


class _Generator:
    """The load generator's process: ready when the block begins, gone when it ends."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __enter__(self) -> _Generator:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._ask(msgspec.json.encode(self._plan))
        return self

    def send(self) -> Seen:
        return msgspec.json.decode(self._ask(b"go"), type=Seen)

    def _ask(self, line: bytes) -> bytes:
        writes, reads = self._process.stdin, self._process.stdout
        assert writes is not None  # noqa: S101 -- for the types: both are pipes
        assert reads is not None  # noqa: S101
        writes.write(line + b"\n")
        writes.flush()
        answer = reads.readline()
        if not answer:
            raise BenchFailed("the load generator ended early")
        return answer

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def _engine(stack: Scratch, first: int, sizes: Sizes, groups: int, number: int) -> list[Inserted]:
    """The rows of a round, as the API wrote them, inserted for other tenants."""
    rows = _rows(first, sizes)
    each = -(-len(rows) // max(groups, 1))

    def grouped(scope: Scope) -> list[bytes]:
        return [rows_of(scope, "api", rows[at : at + each]) for at in range(0, len(rows), each)]

    def whole(scope: Scope) -> list[bytes]:
        return [rows_of(scope, "api", rows)]

    ways: list[tuple[str, Callable[[Scope], list[bytes]], int, Mapping[str, object]]] = [
        ("groups of the API's size, one after the other", grouped, 1, SETTINGS),
        ("groups of the API's size, two at once", grouped, 2, SETTINGS),
        ("one insert, the engine's own threads", whole, 1, _EXACT_ONLY),
    ]
    return [
        _inserted(stack, Scope(f"engine_{number}_{place}", "bench"), way, made, at_once, settings, len(rows))
        for place, (way, made, at_once, settings) in enumerate(ways)
    ]


def _rows(first: int, sizes: Sizes) -> list[bytes]:
    now = datetime.now(UTC)
    rows: list[bytes] = []
    for number in range(sizes.requests):
        batch = b",".join(events(first + number * sizes.events_each, sizes.events_each, 1000))
        rows += decode_events(b'{"events":[' + batch + b"]}", Limits(), now).rows
    return rows


def _inserted(
    stack: Scratch,
    scope: Scope,
    way: str,
    made: Callable[[Scope], list[bytes]],
    at_once: int,
    settings: Mapping[str, object],
    expected: int,
) -> Inserted:
    bodies = made(scope)
    server = stack.warehouse_server
    with ThreadPoolExecutor(at_once) as threads:
        before, began = server.usage(), time.perf_counter()
        list(threads.map(lambda body: stack.warehouse.insert_raw(TABLE, COLUMNS, body, FORMAT, settings), bodies))
        seconds, after = time.perf_counter() - began, server.usage()
    stored = _stored(stack.statements, scope)
    if stored != expected:
        raise BenchFailed(f"{expected} rows were inserted, {stored} are stored")
    return Inserted(
        way, len(bodies), stored, round(seconds, 3), round(stored / seconds), _cpu_us(before, after, stored)
    )


def _middle(rounds: Sequence[T]) -> T:
    ordered = sorted(rounds, key=lambda one: one.events_per_second)
    return ordered[(len(ordered) - 1) // 2]


def _await_stored(stack: Scratch, expected: int) -> int:
    """Events that went to the journal are stored a little later than they are acknowledged."""
    deadline = time.monotonic() + _STORED_WITHIN_SECONDS
    while (stored := _stored(stack.statements, stack.scope)) < expected and time.monotonic() < deadline:
        time.sleep(0.2)
    return stored


def _stored(statements: Warehouse, scope: Scope) -> int:
    named = {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id}
    stored: int = statements.rows("sql/stored_events", named)[0]["events"]
    return stored


def _inserts(statements: Warehouse) -> int:
    inserts: int = statements.rows("sql/inserts_so_far")[0]["inserts"]
    return inserts


def _cpu_us(before: Usage, after: Usage, events: int) -> float:
    return round((after.cpu_seconds - before.cpu_seconds) * 1e6 / max(events, 1), 2)
