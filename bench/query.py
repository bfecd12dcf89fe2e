"""How quickly usage is answered and rolled up, beside the same questions asked by hand in SQL.

The events are made in the engine, as ingestion would have stored them, one in a hundred of them sent twice; rollups are
built by our own code. All answers are compared with each other before anything is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import httpx

from api.schemas.usage import usage_json
from bench.figures import BenchFailed, Goal, Machine, median, percentile
from bench.scratch import Scratch, scratch
from billing.meter import Aggregation, AggregationType, Meter, MeterDefinition
from billing.scope import Scope
from ledger.store import customers as customer_store
from ledger.store import meters as meter_store
from warehouse_sql.reconcile import supersede_duplicates
from warehouse_sql.rollups import build_days
from warehouse_sql.usage import UsageQuery, read_usage

__all__ = ["Build", "CustomerMonth", "Report", "Sizes", "measure"]

EVENT_NAME: Final = "api.request"
FIRST_DAY: Final = date(2026, 1, 1)
LAST_DAY: Final = date(2026, 1, 31)
LARGE_DAY: Final = date(2026, 2, 10)
_DAYS: Final = [FIRST_DAY + timedelta(days=number) for number in range(31)]
_RESENT: Final = 100
_METER_ID: Final = "meter_tokens"
_MERGED_WITHIN_SECONDS: Final = 600.0
_USAGE: Final = "/api/v1/events/usage/meter"

Amounts = dict[tuple[str, date], tuple[Decimal, int]]


@dataclass(frozen=True)
class Sizes:
    """`events` in January of `customers`, `questions` about one of them each; each large answer is timed `repeats`
    times and the median counts. `day_events` are those of the day whose build is measured.
    """

    events: int = 5_000_000
    customers: int = 3000
    questions: int = 300
    repeats: int = 3
    day_events: int = 1_000_000


@dataclass(frozen=True)
class CustomerMonth:
    """One customer's month over HTTP, each question about another customer; CPU in ms per question.

    `by_hand_ms` is the p50 of the bare sum over the customer's rolled up days, asked of the warehouse itself, and
    `nothing_ms` that of `SELECT 1`: below them no answer that asks the warehouse can come.
    """

    questions: int
    p50_ms: float
    p99_ms: float
    api_cpu_ms: float
    warehouse_cpu_ms: float
    by_hand_ms: float
    nothing_ms: float


@dataclass(frozen=True)
class EverybodysDays:
    """All customers by day for the month: seconds from rollups and from the events, by our code and by hand.

    `over_http` is the answer of the API from rollups. Ours are timed until they are JSON, those by hand until they are
    the columns that the engine sends. `cpu_seconds` are those of all processes that took part, by the same names.
    """

    rows: int
    cpu_seconds: dict[str, float]
    over_http_seconds: float
    rollup_seconds: float
    raw_seconds: float
    by_hand_seconds: float
    by_hand_with_duplicates_seconds: float


@dataclass(frozen=True)
class Build:
    """A build of rollups. `seconds` are without the reconcile step before it; `by_hand_seconds` are those of the bare
    grouping, for one large day only. Memory is the most that the warehouse held, in MB.
    """

    days: int
    events: int
    rows: int
    reconcile_seconds: float
    seconds: float
    reconcile_peak_mb: float
    peak_mb: float
    by_hand_seconds: float | None = None
    by_hand_peak_mb: float | None = None


@dataclass(frozen=True)
class Report:
    """`stored_mb` is by table; `answers_agree` is true, or there is no report."""

    machine: Machine
    events: int
    resent: int
    customers: int
    generate_seconds: float
    month_build: Build
    customer_month: CustomerMonth
    everybodys_days: EverybodysDays
    large_day: Build
    stored_mb: dict[str, float]
    bytes_per_event: float
    warehouse_peak_mb: float
    answers_agree: bool
    goals: tuple[Goal, ...]


def measure(sizes: Sizes, tell: Callable[[str], None]) -> Report:
    """Starts a stack, measures, and takes everything away. BenchFailed where two answers to one question differ."""
    machine = Machine.at(datetime.now(UTC))
    with scratch() as stack:
        meter = _catalog(stack, sizes.customers)
        tell(f"making {sizes.events:,} events of {sizes.customers:,} customers")
        began = time.perf_counter()
        per_day = -(-sizes.events // len(_DAYS))
        for first in range(0, sizes.events, per_day):
            tell(f"  {100 * first // sizes.events} %")
            _generate(stack, stack.scope, FIRST_DAY, first, min(per_day, sizes.events - first), sizes, per_day)
        resent = sizes.events // _RESENT
        _generate(stack, stack.scope, FIRST_DAY, 0, resent, sizes, per_day, step=_RESENT)
        _await_merges(stack)
        generate_seconds = time.perf_counter() - began

        tell("building the month's rollups")
        month_build = _build(stack, stack.scope, meter, _DAYS)
        if month_build.events != sizes.events:
            raise BenchFailed(f"the rollups hold {month_build.events} events of {sizes.events}")
        tell("comparing the answers")
        stack.warehouse_server.forget_peak()
        rows = _compare(stack, meter)
        tell(f"{sizes.questions} customers, one after the other")
        customer_month = _customer_month(stack, sizes)
        tell("all customers by day")
        everybody = _everybodys_days(stack, meter, rows, sizes.repeats)
        queries_peak_mb = stack.warehouse_server.usage().peak_mb
        stored = {row["table"]: row for row in stack.statements.rows("sql/table_sizes") if row["stored_rows"]}
        tell(f"one day of {sizes.day_events:,} events")
        large_day = _large_day(stack, meter, sizes)
    cpu = everybody.cpu_seconds
    return Report(
        machine=machine,
        events=sizes.events,
        resent=resent,
        customers=sizes.customers,
        generate_seconds=round(generate_seconds, 1),
        month_build=month_build,
        customer_month=customer_month,
        everybodys_days=everybody,
        large_day=large_day,
        stored_mb={table: round(row["bytes"] / 1e6, 1) for table, row in stored.items()},
        bytes_per_event=round(stored["events"]["bytes"] / stored["events"]["stored_rows"], 1),
        warehouse_peak_mb=round(queries_peak_mb),
        answers_agree=True,
        goals=(
            Goal("one customer's month, p50 in ms", customer_month.p50_ms, 10, at_most=True),
            Goal(
                "one customer's month, p50 through the bare sum by hand",
                round(customer_month.p50_ms / customer_month.by_hand_ms, 1),
                3,
                at_most=True,
            ),
            Goal(
                "all customers by day: rollups, times less CPU than raw",
                round(cpu["raw"] / cpu["rollup"], 1),
                30,
                at_most=False,
            ),
            Goal(
                "all customers by day: CPU of raw through by hand with FINAL",
                round(cpu["raw"] / cpu["by_hand"], 2),
                1,
                at_most=True,
            ),
        ),
    )


def _catalog(stack: Scratch, customers: int) -> Meter:
    now = datetime.now(UTC)
    tokens = MeterDefinition("Tokens", EVENT_NAME, Aggregation(AggregationType.SUM, "tokens"))
    with stack.ledger.begin() as session:
        for number in range(customers):
            customer_store.create_customer(
                session, stack.scope, name=f"Customer {number}", now=now, external_id=_customer(number)
            )
        return meter_store.create_meter(session, stack.scope, tokens, _METER_ID, now)


def _customer(number: int) -> str:
    return f"customer_{number:05}"


def _generate(
    stack: Scratch, scope: Scope, first_day: date, first: int, count: int, sizes: Sizes, per_day: int, step: int = 1
) -> None:
    stack.statements.command(
        "sql/generate_events",
        {
            **_owner(scope),
            "first_day": first_day,
            "first": first,
            "count": count,
            "step": step,
            "per_day": per_day,
            "customers": sizes.customers,
        },
    )


def _owner(scope: Scope) -> dict[str, Any]:
    return {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id, "event_name": EVENT_NAME}


def _await_merges(stack: Scratch) -> None:
    """What the engine does in the background after a bulk of inserts is not part of any figure."""
    deadline = time.monotonic() + _MERGED_WITHIN_SECONDS
    while stack.statements.rows("sql/running_merges")[0]["merges"] and time.monotonic() < deadline:
        time.sleep(0.5)


def _build(stack: Scratch, scope: Scope, meter: Meter, days: Sequence[date]) -> Build:
    server = stack.warehouse_server
    server.forget_peak()
    reconcile_seconds = _seconds(lambda: supersede_duplicates(stack.warehouse))
    reconcile_peak_mb = server.usage().peak_mb
    server.forget_peak()
    began = time.perf_counter()
    built = build_days(stack.warehouse, days, [(scope, meter)], datetime.now(UTC))
    seconds = time.perf_counter() - began
    return Build(
        days=len(days),
        events=sum(one.events for one in built),
        rows=sum(one.rows for one in built),
        reconcile_seconds=round(reconcile_seconds, 2),
        seconds=round(seconds, 2),
        reconcile_peak_mb=round(reconcile_peak_mb),
        peak_mb=round(server.usage().peak_mb),
    )


def _compare(stack: Scratch, meter: Meter) -> int:
    """Rollups, events, and SQL by hand have to say the same of every customer and day; how many rows that is."""
    rollups = read_usage(stack.warehouse, _everybody(stack.scope, meter))
    if rollups.raw_days or rollups.rollup_days != len(_DAYS):
        raise BenchFailed(f"{rollups.raw_days} days are read from the events, though all are rolled up")
    answers = {
        "rollups": {(row.customer_id, row.start.date()): (row.value, row.events) for row in rollups.rows},
        "events": {
            (row.customer_id, row.start.date()): (row.value, row.events)
            for row in read_usage(stack.warehouse, _everybody(stack.scope, meter), "raw").rows
        },
        "SQL by hand": {
            (row["customer_id"], row["day"]): (Decimal(row["tokens"]), row["events"])
            for row in stack.statements.rows("sql/usage_by_hand", _january(stack.scope))
        },
    }
    for name, answer in answers.items():
        if answer != answers["rollups"]:
            raise BenchFailed(f"the answer from {name} differs from that of the rollups")
    with _client(stack) as client:
        over_http = _ask(client, {"window_size": "day"})
    told = {
        (row["customer_id"], date.fromisoformat(row["start_time"][:10])): (Decimal(row["value"]), row["events"])
        for row in over_http["data"]
    }
    if told != answers["rollups"]:
        raise BenchFailed("the answer of the API differs from that of the rollups")
    return len(rollups.rows)


def _everybody(scope: Scope, meter: Meter) -> UsageQuery:
    start, end = _midnight(FIRST_DAY), _midnight(LAST_DAY + timedelta(days=1))
    return UsageQuery(scope, meter, start, end, window="day")


def _january(scope: Scope) -> dict[str, Any]:
    return {**_owner(scope), "first_day": FIRST_DAY, "last_day": LAST_DAY}


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _client(stack: Scratch) -> httpx.Client:
    return httpx.Client(base_url=stack.api.url, headers={"X-API-Key": stack.key}, trust_env=False, timeout=600)


def _ask(client: httpx.Client, question: Mapping[str, Any]) -> dict[str, Any]:
    answer = client.post(
        _USAGE,
        json={
            "meter_id": _METER_ID,
            "start_time": _midnight(FIRST_DAY).isoformat(),
            "end_time": _midnight(LAST_DAY + timedelta(days=1)).isoformat(),
            **question,
        },
    )
    if answer.status_code != 200:
        raise BenchFailed(f"a usage query was answered {answer.status_code}: {answer.text[:300]}")
    told: dict[str, Any] = answer.json()
    return told


def _customer_month(stack: Scratch, sizes: Sizes) -> CustomerMonth:
    took: list[float] = []
    with _client(stack) as client:
        for number in range(min(20, sizes.questions)):
            _ask(client, {"customer_id": _customer(number % sizes.customers)})
        api, warehouse = stack.api.usage(), stack.warehouse_server.usage()
        for number in range(sizes.questions):
            # 1009 is prime: all customers come up before one of them comes up again.
            customer_id = _customer(number * 1009 % sizes.customers)
            took.append(_seconds(lambda: _ask(client, {"customer_id": customer_id})) * 1000)  # noqa: B023 -- asked at once
        api_after, warehouse_after = stack.api.usage(), stack.warehouse_server.usage()
    by_hand: list[float] = []
    nothing: list[float] = []
    for number in range(sizes.questions):
        named = {
            **_january(stack.scope),
            "meter_id": _METER_ID,
            "customer_id": _customer(number * 1009 % sizes.customers),
        }
        by_hand.append(_seconds(lambda: stack.statements.rows("sql/customer_month_by_hand", named)) * 1000)  # noqa: B023
        nothing.append(_seconds(stack.warehouse.ping) * 1000)
    return CustomerMonth(
        questions=len(took),
        p50_ms=round(median(took), 2),
        p99_ms=round(percentile(took, 0.99), 2),
        api_cpu_ms=round((api_after.cpu_seconds - api.cpu_seconds) * 1000 / len(took), 2),
        warehouse_cpu_ms=round((warehouse_after.cpu_seconds - warehouse.cpu_seconds) * 1000 / len(took), 2),
        by_hand_ms=round(median(by_hand), 2),
        nothing_ms=round(median(nothing), 2),
    )


def _everybodys_days(stack: Scratch, meter: Meter, rows: int, repeats: int) -> EverybodysDays:
    query, january = _everybody(stack.scope, meter), _january(stack.scope)
    with _client(stack) as client:
        # In turns, so that other work on the machine hits all of them.
        ways: dict[str, Callable[[], object]] = {
            "over_http": lambda: _ask(client, {"window_size": "day"}),
            "rollup": lambda: usage_json(read_usage(stack.warehouse, query), {}),
            "raw": lambda: usage_json(read_usage(stack.warehouse, query, "raw"), {}),
            "by_hand": lambda: stack.statements.table("sql/usage_by_hand", january),
            "by_hand_with_duplicates": lambda: stack.statements.table("sql/usage_by_hand_with_duplicates", january),
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        cpu: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, ask in ways.items():
                before = _cpu_seconds(stack)
                took[name].append(_seconds(ask))
                cpu[name].append(_cpu_seconds(stack) - before)
    return EverybodysDays(
        rows=rows,
        cpu_seconds={name: round(median(seconds), 3) for name, seconds in cpu.items()},
        **{f"{name}_seconds": round(median(times), 3) for name, times in took.items()},
    )


def _cpu_seconds(stack: Scratch) -> float:
    return stack.api.usage().cpu_seconds + stack.warehouse_server.usage().cpu_seconds + time.process_time()


def _large_day(stack: Scratch, meter: Meter, sizes: Sizes) -> Build:
    """Another tenant's day, alone in its month."""
    scope = Scope("tenant_large_day", "bench")
    _generate(stack, scope, LARGE_DAY, 0, sizes.day_events, sizes, sizes.day_events)
    _generate(stack, scope, LARGE_DAY, 0, sizes.day_events // _RESENT, sizes, sizes.day_events, step=_RESENT)
    _await_merges(stack)
    built = _build(stack, scope, meter, [LARGE_DAY])
    stack.warehouse_server.forget_peak()
    began = time.perf_counter()
    by_hand = stack.statements.rows("sql/hours_by_hand", {**_owner(scope), "day": LARGE_DAY})[0]
    by_hand_seconds = time.perf_counter() - began
    if (built.rows, built.events) != (by_hand["rows"], by_hand["events"]):
        raise BenchFailed(f"the large day's rollups hold {built.events} events, by hand {by_hand['events']}")
    return Build(
        **{
            **vars(built),
            "by_hand_seconds": round(by_hand_seconds, 2),
            "by_hand_peak_mb": round(stack.warehouse_server.usage().peak_mb),
        }
    )


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
