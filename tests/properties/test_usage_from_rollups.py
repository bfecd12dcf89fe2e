"""U1: usage from rollups is usage from events is what plain Python counts, on random histories.

A history sends events in batches (late, again, again with other content, with values that are no numbers), and builds
rollups and reconciles in between. The days are those in which Europe/Paris loses an hour.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from billing.exact import EXACT, round_fraction
from billing.meter import Aggregation, AggregationType, Filter, FilterOp, Meter
from billing.scope import Scope
from ingestion.event import Event
from ingestion.writer import EventWriter
from tests.support.warehouse_fixtures import warehouse_server
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse
from warehouse_sql.migrate import migrate
from warehouse_sql.reconcile import supersede_duplicates
from warehouse_sql.rollups import build_days
from warehouse_sql.usage import UsageQuery, UsageRow, read_usage
from warehouse_sql.windows import Window

__all__ = ["warehouse_server"]

PARIS = ZoneInfo("Europe/Paris")
START, END = datetime(2026, 3, 27, 23, tzinfo=UTC), datetime(2026, 3, 31, 9, 30, tzinfo=UTC)
DAYS = [date(2026, 3, 27) + timedelta(days=n) for n in range(5)]
NOW = datetime(2026, 11, 1, tzinfo=UTC)
# What a value may be, and the number that it is.
TEXTS: dict[str | None, Decimal | None] = {
    "1": Decimal(1),
    "0.1": Decimal("0.1"),
    "-2.50": Decimal("-2.5"),
    "1e-24": Decimal("1e-24"),
    "123456789012345678901234567890.5": Decimal("123456789012345678901234567890.5"),
    "many": None,
    "": None,
    "0.1234567890123456789012345": None,
    None: None,
}
KINDS = ("a", "b", None)


@dataclass(frozen=True)
class Send:
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Build:
    days: tuple[date, ...]


instants = st.builds(
    lambda hours, shift: START + timedelta(hours=hours, minutes=30 * (shift % 2), microseconds=shift // 2 - 1),
    st.integers(1, 82),
    st.integers(0, 5),
)
events = st.builds(
    lambda n, customer, name, at, timed, value, kind: Event(
        name, customer, f"e{n}", at, None, {"n": value, "kind": kind}, timed
    ),
    st.integers(0, 6),
    st.sampled_from(("acme", "beta")),
    st.sampled_from(("call", "call", "call", "call", "other")),
    instants,
    st.sampled_from((True, True, True, False)),
    st.sampled_from(tuple(TEXTS)),
    st.sampled_from(KINDS),
)
sends = st.builds(lambda batch: Send(tuple(batch)), st.lists(events, min_size=3, max_size=9))
builds = st.builds(lambda days: Build(tuple(days)), st.lists(st.sampled_from(DAYS), min_size=1, max_size=5))
# A build of all days in the middle and a batch at the end, so that events meet rollups that have not seen them.
histories = st.builds(
    lambda before, after, last: [*before, Build(tuple(DAYS)), *after, last],
    st.lists(sends | builds, min_size=1, max_size=4),
    st.lists(sends | builds | st.just("reconcile"), max_size=3),
    sends,
)
kinds_of_meter = st.sampled_from([kind for kind in AggregationType if kind is not AggregationType.WEIGHTED_SUM])


@pytest.fixture(scope="session")
def metering(warehouse_server: WarehouseProcess) -> Iterator[Warehouse]:
    with closing(
        Warehouse(warehouse_server.url, warehouse_server.user, warehouse_server.password, "metering_properties")
    ) as client:
        migrate(client)
        yield client


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(
    history=histories,
    kind=kinds_of_meter,
    filtered=st.booleans(),
    window=st.sampled_from(("day", "hour", None)),
    one_name=st.booleans(),
)
def test_U1_rollups_and_events_and_plain_python_agree(
    metering: Warehouse,
    history: list[Send | Build | str],
    kind: AggregationType,
    filtered: bool,
    window: Window | None,
    one_name: bool,
) -> None:
    scope = Scope(f"tenant_{uuid.uuid4().hex}", "env")
    meter = a_meter(kind, filtered)
    received: list[Event] = []
    for step in history:
        if isinstance(step, Send):
            batch = [structs.replace(event, event_name="call") if one_name else event for event in step.events]
            EventWriter(metering).write(scope, batch)
            received += batch
        elif isinstance(step, Build):
            build_days(metering, step.days, [(scope, meter)], NOW)
        else:
            supersede_duplicates(metering)
    query = UsageQuery(scope, meter, START, END, None, window, "Europe/Paris", ("kind",))
    expected = counted(received, meter, window)
    at_once = read_usage(metering, query).rows
    assert at_once == read_usage(metering, query, "raw").rows
    if one_name:
        # All that came is within what the query reads, so no identity counts twice, reconciled or not.
        assert shown(at_once) == expected
    supersede_duplicates(metering)
    assert shown(read_usage(metering, query).rows) == expected
    assert shown(read_usage(metering, query, "raw").rows) == expected


def a_meter(kind: AggregationType, filtered: bool) -> Meter:
    filters = (Filter("kind", FilterOp.NE, "b"),) if filtered else ()
    aggregation = Aggregation(kind, None if kind is AggregationType.COUNT else "n")
    return Meter("meter_calls", 1, "Calls", "call", aggregation, filters, ("kind",))


def shown(rows: tuple[UsageRow, ...]) -> dict[tuple[str, object, str], tuple[Decimal | None, int, int]]:
    return {
        (row.customer_id, row.start.astimezone(UTC), row.group["kind"]): (row.value, row.events, row.unusable)
        for row in rows
    }


def counted(
    received: list[Event], meter: Meter, window: str | None
) -> dict[tuple[str, object, str], tuple[Decimal | None, int, int]]:
    """The same in plain Python: the first received of each identity, its local window, its value."""
    first: dict[str, Event] = {}
    for event in received:
        first.setdefault(event.identity, event)
    order = {id(event): position for position, event in enumerate(received)}
    grouped: dict[tuple[str, object, str], list[Event]] = defaultdict(list)
    for event in first.values():
        kind = event.texts()["kind"]
        fits = event.event_name == "call" and START <= event.timestamp < END and not (meter.filters and kind == "b")
        if fits:
            grouped[event.customer_id, window_of(event.timestamp, window), kind or ""].append(event)
    return {key: value_of(meter.aggregation.type, group, order) for key, group in grouped.items()}


def window_of(at: datetime, window: str | None) -> datetime:
    local = at.astimezone(PARIS)
    if window == "hour":
        return at.replace(minute=0, second=0, microsecond=0)
    if window == "day":
        return max(START, local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC))
    return START


def value_of(kind: AggregationType, group: list[Event], order: dict[int, int]) -> tuple[Decimal | None, int, int]:
    if kind is AggregationType.COUNT:
        return Decimal(len(group)), len(group), 0
    if kind is AggregationType.COUNT_UNIQUE:
        texts = [event.texts()["n"] for event in group if event.texts()["n"] is not None]
        return Decimal(len(set(texts))), len(texts), len(group) - len(texts)
    group = [event for event in group if event.texts()["n"] in TEXTS]
    numbers = [(event, number) for event in group if (number := TEXTS[event.texts()["n"]]) is not None]
    used, unused = len(numbers), len(group) - len(numbers)
    if not numbers:
        return (Decimal(0) if kind is AggregationType.SUM else None), 0, unused
    total = Decimal(0)
    for _, number in numbers:
        total = EXACT.add(total, number)
    if kind is AggregationType.SUM:
        return total, used, unused
    if kind is AggregationType.AVG:
        return round_fraction(Fraction(total) / used, 24), used, unused
    if kind is AggregationType.LATEST:
        return max(numbers, key=lambda one: (one[0].timestamp, order[id(one[0])]))[1], used, unused
    pick = max if kind is AggregationType.MAX else min
    return pick(number for _, number in numbers), used, unused
