"""How long a billing day takes: from rollups to finalized invoices in PostgreSQL, by the steps that Dagster runs.

Half of the subscriptions are billed first on a stack of their own, so that the report can say how time grows with them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, Row, event, func, insert, select
from sqlalchemy.orm import Session

from bench.figures import BenchFailed, Goal, Machine
from bench.postgres import NoPostgres, create_database, running_postgres
from bench.scratch import ScratchWarehouse, forget_peak, scratch_warehouse, usage_of
from billing.meter import Aggregation, AggregationType, Meter, MeterDefinition
from billing.price import parse_price
from billing.rating import rate
from billing.scope import Scope
from ledger.db import Ledger
from ledger.ids import new_id
from ledger.models import Customer, Invoice, InvoiceLine, Subscription
from ledger.store import customers, features, meters, plans, subscriptions, tenants
from pipelines.steps.code_version import CODE_VERSION
from pipelines.steps.collect_quantities import collect_quantities
from pipelines.steps.draft_invoices import draft_invoices
from pipelines.steps.finalize_invoices import finalize_invoices
from pipelines.steps.gate_quantities import gate_quantities
from pipelines.steps.gate_totals import gate_totals
from pipelines.steps.isolation import Failure
from pipelines.steps.price_invoices import price_invoices
from warehouse_sql.client import Warehouse
from warehouse_sql.rollups import build_days

__all__ = ["Billed", "Report", "Sizes", "measure"]

EVENT_NAME: Final = "api.request"
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
END: Final = datetime(2026, 2, 1, tzinfo=UTC)
_DAYS: Final = [date(2026, 1, day) for day in range(1, 32)]
# The last hour of the grace period is over, and the invoices are of one day.
_NOW: Final = datetime(2026, 2, 1, 3, tzinfo=UTC)
_ROWS_AT_ONCE: Final = 5000
_MOST_SECONDS: Final = 30
_MOST_MB: Final = 1500
_MOST_GROWTH: Final = 2.2

_FLAT: Final = parse_price({"pricing_model": "flat", "amount": "20.00"})
_CALLS: Final = parse_price(
    {
        "pricing_model": "tiered",
        "tiers": [{"up_to": 5, "unit_price": "0.01", "flat_fee": "1.00"}, {"up_to": None, "unit_price": "0.008"}],
    }
)
_TOKENS: Final = parse_price({"pricing_model": "per_unit", "unit_price": "0.000125"})


@dataclass(frozen=True)
class Sizes:
    """`subscriptions` of a customer each, on a plan of three prices; `events_each` are their events of the month."""

    subscriptions: int = 100_000
    events_each: int = 10


@dataclass(frozen=True)
class Billed:
    """One billing day. `steps` are seconds by name and `seconds` their sum. `reading_seconds` and `writing_seconds`
    were spent in statements of the ledger, `warehouse_seconds` in those of the warehouse, which overlap;
    `rating_seconds` is what rating the same lines again takes alone. CPU and memory are those of the billing process.
    """

    subscriptions: int
    lines: int
    total: str
    seconds: float
    steps: dict[str, float]
    reading_seconds: float
    writing_seconds: float
    warehouse_seconds: float
    rating_seconds: float
    statements: int
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Report:
    """`growth` is the time of all through that of half of them."""

    machine: Machine
    half: Billed
    whole: Billed
    growth: float
    goals: tuple[Goal, ...]


def measure(sizes: Sizes, tell: Callable[[str], None]) -> Report:
    """Starts warehouse and PostgreSQL, bills, and takes everything away.

    BenchFailed where a subscription has no invoice in the end or an invoice is not what its prices give, and where the
    machine has no PostgreSQL binaries.
    """
    machine = Machine.at(datetime.now(UTC))
    half = _bill(sizes.subscriptions // 2, sizes.events_each, tell)
    whole = _bill(sizes.subscriptions, sizes.events_each, tell)
    growth = round(whole.seconds / half.seconds, 2)
    return Report(
        machine=machine,
        half=half,
        whole=whole,
        growth=growth,
        goals=(
            Goal(f"seconds for {sizes.subscriptions:,} subscriptions", whole.seconds, _MOST_SECONDS, at_most=True),
            Goal("peak memory of the billing process, MB", whole.peak_mb, _MOST_MB, at_most=True),
            Goal("time of twice the subscriptions", growth, _MOST_GROWTH, at_most=True),
        ),
    )


def _bill(count: int, events_each: int, tell: Callable[[str], None]) -> Billed:
    with ExitStack() as stack:
        storage = stack.enter_context(scratch_warehouse())
        try:
            admin = stack.enter_context(running_postgres(durable=True))
        except NoPostgres as error:
            raise BenchFailed(str(error)) from error
        ledger = Ledger(create_database(admin, "bench"))
        stack.callback(ledger.dispose)
        ledger.migrate()
        tell(f"{count:,} subscriptions, {count * events_each:,} events, their rollups")
        scope = _catalog(storage, ledger, count, count * events_each)
        tell("billing the day")
        return _measured(storage.warehouse, ledger, scope, count, tell)


def _catalog(storage: ScratchWarehouse, ledger: Ledger, count: int, events: int) -> Scope:
    calls = MeterDefinition("Calls", EVENT_NAME, Aggregation(AggregationType.COUNT, None))
    tokens = MeterDefinition("Tokens", EVENT_NAME, Aggregation(AggregationType.SUM, "tokens"))
    with ledger.begin() as session:
        tenant = tenants.create_tenant(session, "bench", START)
        scope = tenants.create_environment(session, tenant.id, "bench", "test", "UTC", START).scope
        metered = [
            meters.create_meter(session, scope, definition, meter_id, START)
            for definition, meter_id in ((calls, "meter_calls"), (tokens, "meter_tokens"))
        ]
        plan_id = _plan(session, scope, metered)
        _subscribe(session, scope, plan_id, count)
    storage.statements.command(
        "sql/generate_events",
        {
            "tenant_id": scope.tenant_id,
            "environment_id": scope.environment_id,
            "event_name": EVENT_NAME,
            "first_day": _DAYS[0],
            "first": 0,
            "count": events,
            "step": 1,
            "per_day": -(-events // len(_DAYS)),
            "customers": count,
        },
    )
    build_days(storage.warehouse, _DAYS, [(scope, meter) for meter in metered], datetime.now(UTC))
    return scope


def _plan(session: Session, scope: Scope, metered: Sequence[Meter]) -> str:
    wanted = [plans.NewPrice(None, "Base fee", _FLAT)]
    for meter, price in zip(metered, (_CALLS, _TOKENS), strict=True):
        feature = features.create_feature(
            session,
            scope,
            name=meter.name,
            key=meter.id.removeprefix("meter_"),
            feature_type="metered",
            meter_id=meter.id,
            now=START,
        )
        wanted.append(plans.NewPrice(feature.id, meter.name, price))
    return plans.create_plan(
        session,
        scope,
        name="Bench",
        key="bench",
        billing_period="monthly",
        interval="P1M",
        currency="USD",
        prices=wanted,
        now=START,
    ).id


def _subscribe(session: Session, scope: Scope, plan_id: str, count: int) -> None:
    """One of each is made by the product's own code; the others are copies of its row."""
    first = customers.create_customer(session, scope, name="Customer", now=START, external_id=_external_id(0))
    one = subscriptions.create_subscription(
        session, scope, customer_id=first.id, plan_id=plan_id, start_date=START, timezone="UTC", now=START
    )
    customer = session.execute(select(*Customer.__table__.columns).where(Customer.id == first.id)).one()
    subscription = session.execute(select(*Subscription.__table__.columns).where(Subscription.id == one.id)).one()
    for start in range(1, count, _ROWS_AT_ONCE):
        numbers = range(start, min(count, start + _ROWS_AT_ONCE))
        ids = [new_id("cus", START) for _ in numbers]
        session.execute(
            insert(Customer.__table__),  # type: ignore[arg-type]
            [_copy(customer, id=id_, external_id=_external_id(n)) for id_, n in zip(ids, numbers, strict=True)],
        )
        session.execute(
            insert(Subscription.__table__),  # type: ignore[arg-type]
            [_copy(subscription, id=new_id("sub", START), customer_id=id_) for id_ in ids],
        )


def _copy(row: Row[Any], **other: str) -> dict[str, Any]:
    return {**row._mapping, **other}


def _external_id(number: int) -> str:
    return f"customer_{number:05}"


def _measured(warehouse: Warehouse, ledger: Ledger, scope: Scope, count: int, tell: Callable[[str], None]) -> Billed:
    day = (END, END + timedelta(days=1))
    work: dict[str, Callable[[], Any]] = {
        "quantities": lambda: collect_quantities(ledger, warehouse, *day, _NOW),
        "quantity gates": lambda: gate_quantities(ledger, warehouse, *day, _NOW),
        "drafts": lambda: draft_invoices(ledger, *day, _NOW),
        "prices": lambda: price_invoices(ledger, *day, _NOW, CODE_VERSION),
        "total gate": lambda: gate_totals(ledger, *day, _NOW),
        "finalized": lambda: finalize_invoices(ledger, *day, _NOW),
    }
    steps: dict[str, float] = {}
    forget_peak(os.getpid())
    before = usage_of(os.getpid()).cpu_seconds
    with _watched(warehouse) as spent:
        for name, step in work.items():
            began = time.perf_counter()
            _no_failures(name, step().failures)
            steps[name] = round(time.perf_counter() - began, 2)
            tell(f"  {name}: {steps[name]} s")
    used = usage_of(os.getpid())
    lines, total = _checked(ledger, scope, count)
    began = time.perf_counter()
    rated = sum((rate(price, quantity, "USD").total for price, quantity in lines), Decimal(0))
    rating_seconds = time.perf_counter() - began
    if rated != total:
        raise BenchFailed(f"the invoices sum to {total}, their lines rated anew to {rated}")
    return Billed(
        subscriptions=count,
        lines=len(lines),
        total=str(total),
        seconds=round(sum(steps.values()), 2),
        steps=steps,
        reading_seconds=round(spent.reading, 2),
        writing_seconds=round(spent.writing, 2),
        warehouse_seconds=round(spent.warehouse, 2),
        rating_seconds=round(rating_seconds, 2),
        statements=spent.statements,
        cpu_seconds=round(used.cpu_seconds - before, 2),
        peak_mb=round(used.peak_mb),
    )


def _no_failures(step: str, failures: Sequence[Failure]) -> None:
    if failures:
        first = failures[0]
        raise BenchFailed(f"{step}: {len(failures)} failures, the first is {first.code}: {first.detail}")


def _checked(ledger: Ledger, scope: Scope, count: int) -> tuple[list[tuple[Any, Decimal]], Decimal]:
    """Each line's price and quantity, and the total of all invoices, once every subscription has a final one."""
    with ledger.read() as session:
        final = session.execute(
            select(func.count(), func.count(func.distinct(Invoice.number)), func.max(Invoice.number)).where(
                Invoice.tenant_id == scope.tenant_id, Invoice.status == "finalized"
            )
        ).one()
        if tuple(final) != (count, count, f"INV-202602-{count:05}"):
            raise BenchFailed(f"{count} subscriptions, but {final[0]} final invoices with {final[1]} numbers")
        of = {0: _FLAT, 1: _CALLS, 2: _TOKENS}
        rows = session.execute(
            select(InvoiceLine.position, InvoiceLine.quantity).where(InvoiceLine.tenant_id == scope.tenant_id)
        )
        lines = [(of[position], quantity) for position, quantity in rows]
        totals = session.scalars(select(Invoice.total).where(Invoice.tenant_id == scope.tenant_id))
        return lines, sum(totals, Decimal(0))


@dataclass
class _Spent:
    """Seconds within statements, of several threads that wait at once; the sums hold what they wait together."""

    reading: float = 0.0
    writing: float = 0.0
    warehouse: float = 0.0
    statements: int = 0


@contextmanager
def _watched(warehouse: Warehouse) -> Iterator[_Spent]:
    """Counts the time that statements take for the length of a block. `COPY`, which the driver does by itself, is
    among those that write, with the making of its rows."""
    spent = _Spent()

    def before(conn: Any, *_: Any) -> None:
        conn.info["bench_began"] = time.perf_counter()

    def after(conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        took = time.perf_counter() - conn.info["bench_began"]
        spent.statements += 1
        if statement.lstrip()[:6].upper() == "SELECT":
            spent.reading += took
        else:
            spent.writing += took

    def asked(_label: str, seconds: float) -> None:
        spent.warehouse += seconds

    copied = psycopg.Cursor.copy

    @contextmanager
    def copy(cursor: psycopg.Cursor[Any], *args: Any, **options: Any) -> Iterator[psycopg.Copy]:
        began = time.perf_counter()
        with copied(cursor, *args, **options) as copying:
            yield copying
        spent.statements += 1
        spent.writing += time.perf_counter() - began

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "after_cursor_execute", after)
    warehouse.observe = asked
    psycopg.Cursor.copy = copy  # type: ignore[method-assign,assignment]
    try:
        yield spent
    finally:
        psycopg.Cursor.copy = copied  # type: ignore[method-assign]
        warehouse.observe = None
        event.remove(Engine, "before_cursor_execute", before)
        event.remove(Engine, "after_cursor_execute", after)
