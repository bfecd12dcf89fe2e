"""What is remembered of a meter's days is used only while it is still true: each answer holds what came before it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta

import pytest

from billing.scope import Scope
from tests.integration.metering.senders import a_meter, an_event, at, send, values
from warehouse_sql.client import Warehouse
from warehouse_sql.reconcile import supersede_duplicates
from warehouse_sql.rollups import build_days, drop_old_builds
from warehouse_sql.usage import UsageQuery, read_usage

NOW = at("2026-11-23")
DAYS = [date(2026, 1, 4), date(2026, 1, 5), date(2026, 1, 6)]
FACTS, COUNTED = "queries/usage_days", "queries/customer_days"


@pytest.fixture(autouse=True)
def _one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """One server has one clock: the days of a build may be read as soon as it is switched to."""
    monkeypatch.setattr("warehouse_sql.known_days._SETTLED", timedelta(0))


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of those that are asked for facts and for a customer's days."""
    asked: list[str] = []
    columns = Warehouse.columns

    def seen(warehouse: Warehouse, name: str, *rest: object) -> object:
        # A build that is a moment old is asked for its rows once more.
        asked.extend({name} & {FACTS, COUNTED})
        return columns(warehouse, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Warehouse, "columns", seen)
    yield asked


def question(scope: Scope, customer_id: str = "acme") -> UsageQuery:
    return UsageQuery(scope, a_meter(), at("2026-01-04"), at("2026-01-07"), (customer_id,))


def value(warehouse: Warehouse, scope: Scope) -> str | None:
    return values(read_usage(warehouse, question(scope)).rows)[0]


def test_a_question_about_known_days_is_one_statement_whichever_customer_it_is_about(
    metering: Warehouse, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(metering, scope, an_event("a", n="1"), an_event("b", customer_id="beta", n="2"))
    build_days(metering, DAYS, [(scope, a_meter())], NOW)
    with statements(monkeypatch) as asked:
        assert [value(metering, scope) for _ in range(3)] == ["1"] * 3
        assert sorted(asked) == [COUNTED] * 3 + [FACTS] * 2
        asked.clear()
        known = read_usage(metering, question(scope, "beta"))
        assert (values(known.rows), known.rollup_days, asked) == (["2"], 3, [COUNTED])
        asked.clear()
        nobody = read_usage(metering, question(scope, "nobody"))
        assert (values(nobody.rows), asked) == (["0"], [COUNTED])
    assert known.as_of < nobody.as_of, "an answer is as of the moment of its own statement"


CHANGES: dict[str, tuple[Callable[[Warehouse, Scope], object], str]] = {
    "an event arrives": (lambda warehouse, scope: send(warehouse, scope, an_event("late", n="4")), "7"),
    "an event is found to have come before": (lambda warehouse, scope: supersede_duplicates(warehouse), "3"),
    "another build is switched to": (
        lambda warehouse, scope: build_days(warehouse, DAYS, [(scope, a_meter())], NOW, force=True),
        "3",
    ),
    "parts are merged": (
        lambda warehouse, scope: [
            warehouse.statement(f"OPTIMIZE TABLE {table} FINAL", "test")
            for table in ("arrivals", "usage_builds", "superseded", "usage_daily")
        ],
        "3",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_U1_an_answer_follows_whatever_changes_the_tables_at_once(
    metering: Warehouse, scope: Scope, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    send(metering, scope, an_event("a", n="1"), an_event("b", "2026-01-06 10:00", n="2"))
    build_days(metering, DAYS, [(scope, a_meter())], NOW)
    # The same event in a month that the question does not touch: it lost, and the build of the days above is as good.
    send(metering, scope, an_event("a", "2026-03-05 10:00", n="1"))
    for _ in range(3):
        assert value(metering, scope) == "3"
    make, expected = CHANGES[change]
    make(metering, scope)
    with statements(monkeypatch) as asked:
        told = read_usage(metering, question(scope))
    assert values(told.rows) == [expected]
    assert FACTS in asked
    assert told.rows == read_usage(metering, question(scope), "raw").rows
    for _ in range(3):
        assert value(metering, scope) == expected


def test_a_build_that_is_gone_is_in_no_answer(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, an_event("a", n="1"))
    for _ in range(2):
        build_days(metering, DAYS, [(scope, a_meter())], NOW, force=True)
        for _ in range(3):
            assert value(metering, scope) == "1"
    drop_old_builds(metering, NOW + timedelta(days=365))
    assert value(metering, scope) == "1"


def test_E2_answers_hold_all_that_was_acknowledged_before_them_while_events_arrive_and_days_are_built(
    metering: Warehouse, scope: Scope
) -> None:
    meters = [(scope, a_meter("count"))]
    asked = replace(question(scope), meter=a_meter("count"))
    acknowledged, sent, over = 0, 0, threading.Event()
    failed: list[str] = []

    def read() -> None:
        while not over.is_set():
            least = acknowledged
            count = int(read_usage(metering, asked).rows[0].value or 0)
            most = sent
            if not least <= count <= most:
                failed.append(f"{count} of at least {least} and at most {most}")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(24):
        sent += 1
        send(metering, scope, an_event(f"e{number}", f"2026-01-0{4 + number % 3} 10:00"))
        acknowledged += 1
        if number % 3 == 2:
            build_days(metering, DAYS, meters, NOW)
            # Long enough without news that the readers remember what they know.
            for _ in range(3):
                assert read_usage(metering, asked).rows[0].value == acknowledged
    over.set()
    for reader in readers:
        reader.join(60)
    assert failed == []
