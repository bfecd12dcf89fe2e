"""U1: usage from rollups is usage from events is what plain Python counts, on random histories.

A history sends events in batches (late, again, again with other content, with values that are no numbers), and builds
rollups, reconciles, voids and amends in between. The days are those in which Europe/Paris loses an hour. Meters
multiply their values and begin at a moment, questions filter, and the top few are those of the whole time. Many tenants
live through a history of their own each, at once. A sample of the same events, of which none is stored, adds up to the
same.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import islice, repeat, zip_longest
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import structs

from billing.errors import Conflict, InvalidInput, NotFound
from billing.exact import EXACT, round_fraction
from billing.meter import Aggregation, AggregationType, Filter, FilterOp, Meter
from billing.scope import Scope
from ingestion.amendment import Amendment
from ingestion.event import Event
from ingestion.rows import open_rows, rows_of
from ingestion.writer import EventWriter
from ledger.db import Ledger
from pipelines.steps.correct_event import amend_event, void_event
from tests.support.ledger_rows import a_scope
from tests.support.sqlite_ledger import ledger
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse
from warehouse_sql.migrate import migrate
from warehouse_sql.reconcile import supersede_duplicates
from warehouse_sql.rollups import build_days
from warehouse_sql.sample import SampleEvent, read_sample
from warehouse_sql.usage import UsageQuery, UsageRow, read_usage
from warehouse_sql.usage_query import UsageRows
from warehouse_sql.windows import Window, window_starts

__all__ = ["ledger"]

# Examples are only collected where they run many at once: the engine takes as long for one insert or build as for many.
COLLECTED = settings(phases=(Phase.generate,), deadline=None, suppress_health_check=list(HealthCheck), database=None)
QUICK = settings(COLLECTED, max_examples=12)
FEW, MANY, AT_ONCE = 16, 2000, 100
ASKED_AT_ONCE, SEVERAL = 4, 3

ZONES = ("Europe/Paris", "Asia/Kolkata", "UTC")
START, END = datetime(2026, 3, 27, 23, tzinfo=UTC), datetime(2026, 3, 31, 9, 30, tzinfo=UTC)
# The edges of one period cut their days, those of the other do not: then days are read, and not hours.
PERIODS = ((START, END), (datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)))
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


@dataclass(frozen=True)
class Void:
    event_id: str


@dataclass(frozen=True)
class Amend:
    event_id: str
    customer_id: str
    timestamp: datetime
    properties: dict[str, str | None]


Step = Send | Build | Void | Amend | str


class Model:
    """The same in plain Python: per event id the event that counts, None once it is voided; and the order received."""

    def __init__(self) -> None:
        self.counted: dict[str, Event | None] = {}
        self.order: dict[int, int] = {}

    def take(self, event: Event) -> None:
        self.counted[event.event_id] = event
        self.order[id(event)] = len(self.order)

    def send(self, batch: list[Event]) -> None:
        for event in batch:
            if event.event_id not in self.counted:
                self.take(event)

    def void(self, step: Void) -> None:
        if step.event_id in self.counted:
            self.counted[step.event_id] = None

    def amend(self, step: Amend) -> None:
        known = self.counted.get(step.event_id)
        if known is not None:
            changed = {name: getattr(step, name) for name in ("customer_id", "timestamp", "properties")}
            self.take(structs.replace(known, **changed))


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
# Of few sets of days, so that histories share their builds.
builds = st.sampled_from([Build(days) for days in (tuple(DAYS), tuple(DAYS[1:3]), (DAYS[2],), tuple(DAYS[3:]))])
corrections = st.builds(lambda n: Void(f"e{n}"), st.integers(0, 6)) | st.builds(
    lambda n, customer, at, value, kind: Amend(f"e{n}", customer, at, {"n": value, "kind": kind}),
    st.integers(0, 6),
    st.sampled_from(("acme", "beta")),
    instants,
    st.sampled_from(tuple(TEXTS)),
    st.sampled_from(KINDS),
)
# A build of all days in the middle and a batch at the end, so that events meet rollups that have not seen them.
histories = st.builds(
    lambda before, after, correction, last: [*before, Build(tuple(DAYS)), *after, correction, last],
    st.lists(sends | builds | corrections, min_size=1, max_size=4),
    st.lists(sends | builds | corrections | st.just("reconcile"), max_size=4),
    corrections,
    sends,
)
kinds_of_meter = st.sampled_from([kind for kind in AggregationType if kind is not AggregationType.WEIGHTED_SUM])
# By a group's text, by what a group's text does not tell, and by another property.
QUESTION_FILTERS = (
    Filter("kind", FilterOp.EQ, "a"),
    Filter("kind", FilterOp.NOT_IN, ("b", "c")),
    Filter("kind", FilterOp.EXISTS),
    Filter("n", FilterOp.GT, Decimal("0.05")),
)


@dataclass(frozen=True)
class Question:
    """What a meter and a question say beyond the aggregation."""

    multiplier: Decimal | None
    event_from: datetime | None
    own_filter: bool
    filters: tuple[Filter, ...]
    period: tuple[datetime, datetime]
    window: Window | None
    zone: str
    limit: int


questions = st.builds(
    Question,
    st.sampled_from((None, Decimal("0.001"), Decimal("2.5"))),
    st.none() | instants,
    st.booleans(),
    st.lists(st.sampled_from(QUESTION_FILTERS), max_size=2, unique=True).map(tuple),
    st.sampled_from(PERIODS),
    st.sampled_from(("day", "hour", None)),
    st.sampled_from(ZONES),
    st.integers(1, 3),
)


@dataclass
class Case:
    """One history of a tenant of its own, what is asked about it, and what the model makes of it so far."""

    history: list[Step]
    kind: AggregationType
    question: Question
    one_name: bool
    scope: Scope | None = None
    model: Model = field(default_factory=Model)

    def batch(self, step: Send) -> list[Event]:
        return [structs.replace(event, event_name="call") if self.one_name else event for event in step.events]


cases = st.builds(Case, histories, kinds_of_meter, questions, st.booleans())


@pytest.fixture(scope="session")
def metering(warehouse_server: WarehouseProcess) -> Iterator[Warehouse]:
    with (
        closing(
            Warehouse(warehouse_server.url, warehouse_server.user, warehouse_server.password, "metering_properties")
        ) as client,
        pytest.MonkeyPatch.context() as patch,
    ):
        # One server has one clock: then the days of a build may be read with the facts as soon as it is switched to.
        patch.setattr("warehouse_sql.known_days._SETTLED", timedelta(0))
        migrate(client)
        yield client


def test_U1_rollups_and_events_and_plain_python_agree(metering: Warehouse, ledger: Ledger) -> None:
    _agree_on(FEW, metering, ledger)


@pytest.mark.slow
def test_U1_rollups_and_events_and_plain_python_agree_on_many_histories(metering: Warehouse, ledger: Ledger) -> None:
    _agree_on(MANY, metering, ledger)


def _agree_on(count: int, metering: Warehouse, ledger: Ledger) -> None:
    made: list[Case] = []

    @settings(COLLECTED, max_examples=count)
    @given(case=cases)
    def collect(case: Case) -> None:
        made.append(case)

    collect()
    assert len(made) >= count // 2
    left = iter(made)
    while some := list(islice(left, AT_ONCE)):
        with ledger.begin() as session:
            for case in some:
                case.scope = a_scope(session, f"tenant {uuid.uuid4().hex}")
        _live_through([case.history[:-1] for case in some], some, metering, ledger)
        _of_each(_get_known, some[::SEVERAL], metering)
        # At the same time, so that no reconcile run comes between it and the first questions.
        _live_through([case.history[-1:] for case in some], some, metering, ledger)
        _of_each(_ask_before_reconciling, some, metering)
        supersede_duplicates(metering)
        _of_each(_ask, some, metering)


def _of_each(ask: Callable[[Case, Warehouse], None], some: Sequence[Case], metering: Warehouse) -> None:
    """Several at once: the engine answers one while another is put together and compared."""
    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        list(threads.map(ask, some, repeat(metering)))


def _live_through(histories: list[list[Step]], some: Sequence[Case], metering: Warehouse, ledger: Ledger) -> None:
    """Each history in its own order, steps of one kind of several tenants at once."""
    for steps in zip_longest(*histories):
        now = [(case, step) for case, step in zip(some, steps, strict=True) if step is not None]
        rows: list[bytes] = []
        together: dict[tuple[date, ...], list[tuple[Scope, Meter]]] = defaultdict(list)
        for case, step in now:
            assert case.scope is not None
            if isinstance(step, Send):
                first: dict[str, Event] = {}
                for event in case.batch(step):
                    first.setdefault(event.identity, event)
                rows.append(rows_of(case.scope, "api", open_rows(list(first.values()))))
                case.model.send(case.batch(step))
            elif isinstance(step, Build):
                together[step.days].append((case.scope, a_meter(case.kind, case.question)))
            elif isinstance(step, Void | Amend):
                correct(ledger, metering, case.scope, step)
                case.model.void(step) if isinstance(step, Void) else case.model.amend(step)
        if rows:
            EventWriter(metering).insert(b"".join(rows))
        for days, meters in together.items():
            build_days(metering, days, meters, NOW)
        if any(step == "reconcile" for _, step in now):
            supersede_duplicates(metering)


def _query(case: Case) -> UsageQuery:
    asked = case.question
    assert case.scope is not None
    meter = a_meter(case.kind, asked)
    return UsageQuery(case.scope, meter, *asked.period, None, asked.window, asked.zone, ("kind",), asked.filters)


def _get_known(case: Case, metering: Warehouse) -> None:
    """What is asked about a few customers is remembered, and what comes next must not be answered from that."""
    for _ in range(2):
        read_usage(metering, _named(case))


def _named(case: Case) -> UsageQuery:
    return replace(_query(case), customer_ids=("acme", "beta"))


def _ask_before_reconciling(case: Case, metering: Warehouse) -> None:
    query = _query(case)
    named = read_usage(metering, _named(case)).rows
    at_once = read_usage(metering, query).rows
    assert at_once == read_usage(metering, query, "raw").rows, case
    assert [row for row in named if row.events or row.unusable] == list(at_once), case
    if case.one_name and case.question.period == PERIODS[0]:
        # All that came is within what the query reads, so no identity counts twice, reconciled or not.
        assert shown(at_once) == counted(case.model, query.meter, case.question, case.question.window), case


def _ask(case: Case, metering: Warehouse) -> None:
    query, question, model = _query(case), case.question, case.model
    expected = counted(model, query.meter, question, question.window)
    rows = read_usage(metering, query).rows
    assert shown(rows) == expected, case
    assert shown(read_usage(metering, query, "raw").rows) == expected, case
    named = read_usage(metering, _named(case)).rows
    assert [row for row in named if row.events or row.unusable] == list(rows), case

    totals = counted(model, query.meter, question, None)
    ranked = sorted(totals, key=lambda key: (totals[key][0] is None, -(totals[key][0] or Decimal(0)), key[0], key[2]))
    top = replace(query, order_by="value", limit=question.limit)
    chosen = [(customer, kind_text) for customer, _, kind_text in ranked[: question.limit]]
    of_series = [[row for row in rows if (row.customer_id, row.group["kind"]) == series] for series in chosen]
    assert list(read_usage(metering, top).rows) == [row for series in of_series for row in series], case


def correct(ledger: Ledger, warehouse: Warehouse, scope: Scope, step: Void | Amend) -> None:
    """As a request would; what cannot be corrected stays as it is."""
    with suppress(NotFound, Conflict, InvalidInput):
        if isinstance(step, Void):
            void_event(ledger, warehouse, scope, step.event_id, None, "wrong", "test", NOW)
        else:
            change = Amendment("wrong", None, None, step.customer_id, step.timestamp, step.properties)
            amend_event(ledger, warehouse, scope, step.event_id, change, "test", NOW)


@QUICK
@given(batch=st.lists(events, min_size=3, max_size=12), kind=st.sampled_from(list(AggregationType)), question=questions)
def test_a_sample_adds_up_to_what_the_same_events_do_once_they_are_stored(
    metering: Warehouse, batch: list[Event], kind: AggregationType, question: Question
) -> None:
    scope = Scope(f"tenant_{uuid.uuid4().hex}", "env")
    meter = replace(a_meter(kind, question), group_by=("kind",))
    first: dict[str, Event] = {}
    for event in batch:
        first.setdefault(event.identity, structs.replace(event, event_name="call"))
    EventWriter(metering).write(scope, list(first.values()))
    starts = window_starts(*question.period, question.window, question.zone)
    sample = [SampleEvent(one.customer_id, one.timestamp, one.identity, one.texts()) for one in first.values()]
    _, parts = read_sample(metering, meter, sample, starts, question.period[1], NOW)
    query = UsageQuery(scope, meter, *question.period, None, question.window, question.zone, ("kind",))
    assert UsageRows(parts, query, starts) == read_usage(metering, query, "raw").rows


def a_meter(kind: AggregationType, question: Question) -> Meter:
    counts = kind in {AggregationType.COUNT, AggregationType.COUNT_UNIQUE}
    return Meter(
        "meter_calls",
        1,
        "Calls",
        "call",
        Aggregation(kind, None if kind is AggregationType.COUNT else "n"),
        (Filter("kind", FilterOp.NE, "b"),) if question.own_filter else (),
        ("kind",),
        multiplier=None if counts else question.multiplier,
        event_from=question.event_from,
    )


def shown(rows: Sequence[UsageRow]) -> dict[tuple[str, datetime, str], tuple[Decimal | None, int, int]]:
    return {
        (row.customer_id, row.start.astimezone(UTC), row.group["kind"]): (row.value, row.events, row.unusable)
        for row in rows
    }


def counted(
    model: Model, meter: Meter, question: Question, window: str | None
) -> dict[tuple[str, datetime, str], tuple[Decimal | None, int, int]]:
    """What the model counts, by local window, with its values."""
    grouped: dict[tuple[str, datetime, str], list[Event]] = defaultdict(list)
    start, end = question.period
    since = max(start, question.event_from or start)
    for event in model.counted.values():
        if event is None or event.event_name != "call" or not since <= event.timestamp < end:
            continue
        if all(holds(one, event.texts()) for one in (*meter.filters, *question.filters)):
            at = window_of(event.timestamp, start, window, ZoneInfo(question.zone))
            grouped[event.customer_id, at, event.texts()["kind"] or ""].append(event)
    return {key: value_of(meter, group, model.order) for key, group in grouped.items()}


def holds(one: Filter, texts: dict[str, str | None]) -> bool:
    text = texts[one.property]
    if one.op is FilterOp.EXISTS:
        return text is not None
    if one.op is FilterOp.EQ:
        return text == one.value
    if one.op is FilterOp.NE:
        return text != one.value
    if one.op is FilterOp.NOT_IN:
        assert isinstance(one.value, tuple)
        return text not in one.value
    number = TEXTS[text]
    assert isinstance(one.value, Decimal)
    return number is not None and number > one.value


def window_of(at: datetime, start: datetime, window: str | None, zone: ZoneInfo) -> datetime:
    local = at.astimezone(zone)
    if window is None:
        return start
    whole = local.replace(minute=0, second=0, microsecond=0)
    return max(start, (whole.replace(hour=0, fold=0) if window == "day" else whole).astimezone(UTC))


def value_of(meter: Meter, group: list[Event], order: dict[int, int]) -> tuple[Decimal | None, int, int]:
    kind, factor = meter.aggregation.type, meter.multiplier or Decimal(1)
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
        return EXACT.multiply(total, factor), used, unused
    if kind is AggregationType.AVG:
        return round_fraction(Fraction(total) * Fraction(factor) / used, 24), used, unused
    if kind is AggregationType.LATEST:
        latest = max(numbers, key=lambda one: (one[0].timestamp, order[id(one[0])]))[1]
        return EXACT.multiply(latest, factor), used, unused
    pick = max if kind is AggregationType.MAX else min
    return pick(EXACT.multiply(number, factor) for _, number in numbers), used, unused
