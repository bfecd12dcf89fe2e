"""Rollups: switched at once, never wrong, never in the way, and checked against the events."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from billing.period import Period
from billing.scope import Scope
from tests.integration.metering.conftest import new_scope
from tests.integration.metering.senders import a_meter, an_event, at, send, usage, values
from tests.support.waiting import wait_until
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse
from warehouse_sql.customer_days import MOST_CUSTOMERS
from warehouse_sql.instants import to_micros
from warehouse_sql.late_events import Received, late_events
from warehouse_sql.reconcile import supersede_duplicates
from warehouse_sql.rollups import build_days, dirty_days, drop_old_builds, mismatches
from warehouse_sql.unusable import list_unusable
from warehouse_sql.usage import UsageQuery, read_quantities, read_usage, safe_watermark
from warehouse_sql.usage_series import settled_instant

NOW = at("2026-11-23")
DAYS = [date(2026, 1, 4), date(2026, 1, 5), date(2026, 1, 6)]
PERIOD = (at("2026-01-04"), at("2026-01-07"))


def january(scope: Scope, kind: str = "sum") -> UsageQuery:
    return UsageQuery(scope, a_meter(kind), *PERIOD, ("acme",))


def test_a_clean_day_is_read_from_its_rollup_and_a_late_event_makes_it_dirty_at_once(
    metering: Warehouse, scope: Scope
) -> None:
    send(metering, scope, an_event("a", n="1"), an_event("b", "2026-01-06 10:00", n="2"))
    meters = [(scope, a_meter())]
    assert dirty_days(metering, meters) == [date(2026, 1, 5), date(2026, 1, 6)]
    built = build_days(metering, DAYS, meters, NOW)
    assert [(one.day, one.events, one.rows) for one in built] == [(DAYS[0], 0, 0), (DAYS[1], 1, 1), (DAYS[2], 1, 1)]
    assert dirty_days(metering, meters) == []

    clean = read_usage(metering, january(scope))
    assert (values(clean.rows), clean.rollup_days, clean.raw_days) == (["3"], 3, 0)
    assert clean.builds == {day.isoformat(): built[0].build for day in DAYS}

    send(metering, scope, an_event("late", n="4"))
    late = read_usage(metering, january(scope))
    assert (values(late.rows), late.rollup_days, late.raw_days) == (["7"], 2, 1)
    assert dirty_days(metering, meters) == [date(2026, 1, 5)]


MORE_THAN_ARE_ADDED_UP_HERE = ["acme", *(f"customer {number}" for number in range(MOST_CUSTOMERS))]


@pytest.mark.parametrize(
    ("customers", "start"),
    [
        pytest.param(["acme"], PERIOD[0], id="days that are added up here"),
        pytest.param(MORE_THAN_ARE_ADDED_UP_HERE, PERIOD[0], id="days that the engine adds up"),
        pytest.param(None, PERIOD[0], id="the days of everybody"),
        pytest.param(["acme"], PERIOD[0] + timedelta(hours=6), id="hours"),
        pytest.param(["acme"], PERIOD[0] + timedelta(days=1, hours=11, minutes=30), id="hours, and events of one"),
    ],
)
def test_U1_every_aggregation_and_its_hash_are_the_same_from_rollups_as_from_events(
    metering: Warehouse, scope: Scope, monkeypatch: pytest.MonkeyPatch, customers: list[str] | None, start: datetime
) -> None:
    monkeypatch.setattr("warehouse_sql.known_days._SETTLED", timedelta(0))
    texts = ("4", "-1.5", "none", "1e-24", "9" * 38, "4.0")
    send(metering, scope, *[an_event(f"e{i}", f"2026-01-05 1{i}:00", n=text) for i, text in enumerate(texts)])
    kinds = ("count", "sum", "max", "min", "avg", "latest", "count_unique")
    meters = [a_meter(kind, meter_id=f"meter_{kind}") for kind in kinds]
    build_days(metering, DAYS, [(scope, meter) for meter in meters], NOW)
    for meter in meters:
        auto, raw = (
            read_quantities(metering, scope, meter, start, PERIOD[1], customers, rollups=rollups)
            for rollups in (True, False)
        )
        assert len(auto["acme"].builds) == (PERIOD[1] - start).days + (start != PERIOD[0])
        assert auto.keys() == raw.keys()
        for customer_id, quantity in auto.items():
            told = replace(raw[customer_id], builds=quantity.builds, watermark=quantity.watermark)
            assert quantity == told, "value, events, unusable ones and the hash of what was counted"
    assert mismatches(metering, DAYS) == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("sum", "123456789012345678901234567890.0000000000000000000031396"),
        ("max", "123456789012345678901234567890.0000000000000000000000001"),
        ("min", "0.0000000000000000000031395"),
        ("latest", "0.0000000000000000000031395"),
        # The quotient is rounded once, to 24 decimals, after the exact product: …5698 to …570 here.
        ("avg", "61728394506172839450617283945.00000000000000000000157"),
    ],
)
def test_a_multiplier_is_exact_in_every_aggregation_from_rollups_as_from_events(
    metering: Warehouse, scope: Scope, kind: str, value: str
) -> None:
    send(
        metering,
        scope,
        an_event("a", "2026-01-05 10:00", n="1234567890123456789012345678900.000000000000000000000001"),
        an_event("b", "2026-01-05 11:00", n="0.000000000000000000031395"),
        an_event("c", "2026-01-05 12:00", n="none"),
    )
    meter = a_meter(kind, multiplier="0.1")
    build_days(metering, DAYS, [(scope, meter)], NOW)
    for rollups in (True, False):
        read = read_quantities(metering, scope, meter, *PERIOD, ["acme"], rollups=rollups)["acme"]
        assert read.value is not None
        assert (format(read.value, "f"), read.events, read.unusable) == (value, 2, 1)


def test_events_before_event_from_never_count_anywhere(metering: Warehouse, scope: Scope) -> None:
    send(
        metering,
        scope,
        an_event("early", "2026-01-05 10:29:59.999999", n="1"),
        an_event("bad", "2026-01-05 10:10", n="none"),
        an_event("first", "2026-01-05 10:30", n="2"),
        an_event("later", "2026-01-05 12:00", n="4"),
    )
    meter = a_meter(event_from="2026-01-05 10:30")
    build_days(metering, DAYS, [(scope, meter)], NOW)
    query = UsageQuery(scope, meter, *PERIOD, ("acme",))
    auto, raw = read_usage(metering, query), read_usage(metering, query, "raw")
    assert (values(auto.rows), values(raw.rows), auto.rollup_days) == (["6"], ["6"], 3)
    assert mismatches(metering, DAYS) == []
    assert list_unusable(metering, scope, meter, *PERIOD).items == []
    late = late_events(metering, scope, meter, Period(*PERIOD), "acme", Received(at("2026-01-01")))
    assert {one.event_id for one in late.items} == {"first", "later"}
    # No level until 10:30, for that of 1 was set before it: then 2 for an hour and a half, 4 for a day and a half.
    level = a_meter("weighted_sum", event_from="2026-01-05 10:30")
    assert values(usage(metering, scope, level, "2026-01-04", "2026-01-07")) == ["147"]


def test_a_resend_of_a_day_that_is_done_at_another_day_counts_once_before_any_reconcile(
    metering: Warehouse, scope: Scope
) -> None:
    send(metering, scope, an_event("a", n="1"), an_event("b", n="2"))
    build_days(metering, DAYS, [(scope, a_meter())], NOW)
    send(metering, scope, an_event("a", "2026-01-06 10:00", n="1"))
    auto = read_usage(metering, january(scope))
    assert (auto.rollup_days, auto.raw_days) == (2, 1)
    assert values(auto.rows) == values(read_usage(metering, january(scope), "raw").rows) == ["3"]


def test_a_day_with_nothing_new_is_not_built_again(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, an_event("a", n="1"), an_event("b", "2026-01-06 10:00", n="2"))
    meters = [(scope, a_meter()), (scope, a_meter("max", meter_id="meter_largest"))]
    assert [one.day for one in build_days(metering, DAYS, meters, NOW)] == DAYS
    before = read_usage(metering, january(scope)).builds
    assert build_days(metering, DAYS, meters, NOW) == []
    assert read_usage(metering, january(scope)).builds == before

    send(metering, scope, an_event("late", n="4"))
    assert [one.day for one in build_days(metering, DAYS, meters, NOW)] == [date(2026, 1, 5)]
    # The same event again, at another hour: what lost is taken out of the day that held it.
    send(metering, scope, an_event("late", "2026-01-06 12:00", n="4"))
    assert [one.day for one in build_days(metering, DAYS, meters, NOW)] == [date(2026, 1, 6)]
    assert build_days(metering, DAYS, meters, NOW) == []
    answer = read_usage(metering, january(scope))
    assert (values(answer.rows), answer.rollup_days) == (["7"], 3)

    newer = [*meters, (scope, a_meter("min", meter_id="meter_smallest"))]
    assert [one.day for one in build_days(metering, DAYS, newer, NOW)] == DAYS
    assert read_usage(metering, january(scope)).builds == answer.builds
    assert [one.day for one in build_days(metering, DAYS, newer, NOW, force=True)] == DAYS
    assert mismatches(metering, DAYS) == []


def test_building_again_changes_no_answer_and_old_builds_can_go(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, an_event("a", n="1"))
    first = build_days(metering, DAYS, [(scope, a_meter())], NOW)
    second = build_days(metering, DAYS, [(scope, a_meter())], NOW, force=True)
    assert first[0].build != second[0].build
    answer = read_usage(metering, january(scope))
    assert (values(answer.rows), set(answer.builds.values())) == (["1"], {second[0].build})
    assert drop_old_builds(metering, datetime.now(NOW.tzinfo), keep=timedelta(0)) >= 1
    assert values(read_usage(metering, january(scope)).rows) == ["1"]
    assert mismatches(metering, DAYS) == []


def test_nobody_sees_half_a_build(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, *[an_event(f"e{i}", f"2026-01-0{4 + i % 3} 10:00", n="1") for i in range(300)])
    meters = [(scope, a_meter())]
    build_days(metering, DAYS, meters, NOW)
    seen: list[str | None] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.extend(values(read_usage(metering, january(scope)).rows))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(4):
            build_days(metering, DAYS, meters, NOW, force=True)
    finally:
        done.set()
        looking.join(30)
    assert set(seen) == {"300"}


def test_a_bad_meter_or_tenant_never_stops_another(metering: Warehouse, scope: Scope) -> None:
    bad = new_scope()
    send(metering, bad, *[an_event(f"x{i}", n=text) for i, text in enumerate(("1e999", "\x00", "NaN", "{", "-"))])
    send(metering, scope, an_event("a", n="1"))
    odd = a_meter(
        "sum", "", meter_id="meter_odd", filters=[("", "gt", Decimal(1)), ("n", "in", ("'); DROP TABLE events; --",))]
    )
    meters = [(bad, a_meter()), (bad, odd), (scope, a_meter()), (scope, a_meter("max", version=2)), (scope, a_meter())]
    built = build_days(metering, DAYS, meters, NOW)
    assert sum(one.events for one in built) == 7
    assert values(read_usage(metering, january(scope)).rows) == ["1"]
    assert values(usage(metering, bad, a_meter())) == ["0"]


def test_the_check_finds_a_rollup_that_does_not_match_its_events(warehouse: Warehouse, scope: Scope) -> None:
    send(warehouse, scope, an_event("a", n="1"), an_event("b", customer_id="beta", n="2"))
    built = build_days(warehouse, DAYS, [(scope, a_meter())], NOW)
    assert mismatches(warehouse, DAYS) == []
    warehouse.statement(
        "ALTER TABLE usage_hourly UPDATE total = total + 1 WHERE customer_id = 'beta' SETTINGS mutations_sync = 1",
        "test",
    )
    found = [(row["customer_id"], row["rollup_total"], row["raw_total"]) for row in mismatches(warehouse, DAYS)]
    assert found == [("beta", "3", "2"), ("beta", "2", "3")], (
        "an hour that its events differ from, a day that its hours do"
    )
    warehouse.statement(
        "ALTER TABLE usage_hourly DELETE WHERE customer_id = 'acme' SETTINGS mutations_sync = 1", "test"
    )
    assert [row["customer_id"] for row in mismatches(warehouse, DAYS)] == ["acme", "beta", "acme", "beta"]
    assert built[0].build in read_usage(warehouse, january(scope)).builds.values()


def test_whole_days_are_read_from_their_sums_and_days_that_a_window_cuts_from_their_hours(
    warehouse: Warehouse, scope: Scope
) -> None:
    send(warehouse, scope, an_event("a", n="1"), an_event("b", "2026-01-05 20:00", n="2"))
    build_days(warehouse, DAYS, [(scope, a_meter())], NOW)
    warehouse.statement(
        "ALTER TABLE usage_daily UPDATE total = total + 100 WHERE 1 SETTINGS mutations_sync = 1", "test"
    )
    assert values(read_usage(warehouse, january(scope)).rows) == ["103"]
    day_of_kolkata = replace(january(scope), start=at("2026-01-04 18:30"), end=at("2026-01-05 18:30"))
    assert values(read_usage(warehouse, day_of_kolkata).rows) == ["1"]
    by_hour = replace(january(scope), start=at("2026-01-05"), end=at("2026-01-05 20:00"), window="hour")
    assert sum(row.value or 0 for row in read_usage(warehouse, by_hour).rows) == 1

    before_there_were_days = "ALTER TABLE usage_builds UPDATE days = 0 WHERE 1 SETTINGS mutations_sync = 1"
    warehouse.statement(before_there_were_days, "test")
    answer = read_usage(warehouse, january(scope))
    assert (values(answer.rows), answer.rollup_days) == (["3"], 3)


def test_a_few_customers_days_come_with_the_facts_once_their_build_is_certain_to_be_seen(
    metering: Warehouse, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(metering, scope, an_event("a", n="1"), an_event("b", "2026-01-06 10:00", n="2.50"))
    build_days(metering, DAYS, [(scope, a_meter())], NOW)
    asked: list[str] = []
    columns = Warehouse.columns

    def seen(warehouse: Warehouse, name: str, *rest: object) -> object:
        asked.append(name)
        return columns(warehouse, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Warehouse, "columns", seen)
    facts = {"queries/usage_days", "queries/customer_days"}
    assert values(read_usage(metering, january(scope)).rows) == ["3.5"]
    assert set(asked) == facts | {"queries/usage_from_rollups"}, "the build is a moment old"

    monkeypatch.setattr("warehouse_sql.known_days._SETTLED", timedelta(0))
    asked.clear()
    assert values(read_usage(metering, january(scope)).rows) == ["3.5"]
    assert set(asked) == facts
    send(metering, scope, an_event("late", n="4"))
    assert values(read_usage(metering, january(scope)).rows) == ["7.5"]


def test_arrivals_that_a_crash_left_out_are_put_back_and_make_the_day_dirty(warehouse: Warehouse, scope: Scope) -> None:
    send(warehouse, scope, an_event("a", n="1"))
    meters = [(scope, a_meter())]
    build_days(warehouse, DAYS, meters, NOW)
    warehouse.statement("ALTER TABLE arrivals_of_events MODIFY QUERY " + NO_ARRIVALS, "test")
    send(warehouse, scope, an_event("lost", n="2"))
    assert dirty_days(warehouse, meters) == []
    supersede_duplicates(warehouse)
    assert dirty_days(warehouse, meters) == [date(2026, 1, 5)]
    assert values(read_usage(warehouse, january(scope)).rows) == ["3"]


NO_ARRIVALS = """
SELECT tenant_id, environment_id, event_name, day, toStartOfMinute(ingested_at) AS minute, count() AS events,
       max(ingested_at) AS last_ingested_at
FROM events WHERE event_id = '' GROUP BY tenant_id, environment_id, event_name, day, minute
"""


def test_a_meter_of_another_version_has_rollups_of_its_own(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, an_event("a", n="1", kind="x"), an_event("b", n="2"))
    second = a_meter(filters=[("kind", "eq", "x")], version=2)
    build_days(metering, DAYS, [(scope, a_meter()), (scope, second)], NOW)
    assert values(usage(metering, scope, a_meter())) == ["3"]
    assert values(usage(metering, scope, second)) == ["1"]


def test_groups_are_summed_up_from_rollups_and_other_properties_come_from_events(
    metering: Warehouse, scope: Scope
) -> None:
    send(
        metering,
        scope,
        an_event("1", n="1", model="a", region="eu"),
        an_event("2", n="2", model="a", region="us"),
        an_event("4", n="4", model="b", region="us"),
    )
    meter = a_meter(group_by=("model", "region"))
    build_days(metering, DAYS, [(scope, meter)], NOW)
    for group_by, rollups in ((("region",), 3), (("region", "model"), 3), (("model", "n"), 0), ((), 3)):
        query = UsageQuery(scope, meter, *PERIOD, None, group_by=group_by)
        answer = read_usage(metering, query)
        assert answer.rows == read_usage(metering, query, "raw").rows
        assert answer.rollup_days == rollups


SLOW_INSERT = """
INSERT INTO events (tenant_id, environment_id, event_name, customer_id, timestamp, identity, event_id)
SELECT 'slow', 'env', 'slow', 'c', now64(6), toString(number), '' FROM numbers(2) WHERE sleepEachRow(0.5) = 0
SETTINGS max_block_size = 1
"""


def test_the_safe_watermark_stays_before_what_a_slow_insert_will_store(warehouse: Warehouse) -> None:
    send(warehouse, new_scope(), an_event("a", n="1"))
    inserting = threading.Thread(target=lambda: warehouse.statement(SLOW_INSERT, "test"))
    inserting.start()
    marks = []
    while inserting.is_alive():
        marks.append(safe_watermark(warehouse))
    inserting.join()
    (slow,) = warehouse.rows("queries/meter_days", {"first_day": date(2026, 11, 1), "after_us": 0})
    while_it_ran = [mark for mark in marks if to_micros(mark) < slow["arrived_us"]]
    assert len(while_it_ran) >= 5
    assert max(while_it_ran) - min(while_it_ran) < timedelta(seconds=0.4)
    assert to_micros(safe_watermark(warehouse)) >= slow["arrived_us"]


def is_waiting_for_an_insert(warehouse: Warehouse) -> bool:
    (found,) = warehouse.rows("queries/safe_watermark")
    return bool(found["watermark_us"] < found["now_us"])


def test_a_settled_instant_waits_for_the_inserts_that_run_and_nothing_is_added_before_it(warehouse: Warehouse) -> None:
    scope, meter = Scope("slow", "env"), a_meter("count", event_name="slow")
    inserting = threading.Thread(target=lambda: warehouse.statement(SLOW_INSERT, "test"))
    inserting.start()
    wait_until(lambda: is_waiting_for_an_insert(warehouse))
    settled = settled_instant(warehouse)
    now = datetime.now(NOW.tzinfo)
    day = (now - timedelta(days=1), now + timedelta(days=1), ["c"])
    at_once = read_quantities(warehouse, scope, meter, *day, watermark=settled)["c"]
    inserting.join()
    assert read_quantities(warehouse, scope, meter, *day, watermark=settled)["c"] == at_once
    assert at_once.events == 2


def test_a_day_that_does_not_fit_the_memory_is_grouped_on_disk_and_built_right(
    metering: Warehouse, warehouse_server: WarehouseProcess, scope: Scope
) -> None:
    who = (warehouse_server.user, warehouse_server.password)
    day = date(2026, 3, 5)
    made = {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id, "event_name": "api.request"}
    numbers = {"first": 0, "count": 150_000, "step": 1, "per_day": 150_000, "customers": 1_000_000, "first_day": day}
    with closing(Warehouse(warehouse_server.url, *who, metering.database, package="bench")) as generator:
        generator.command("sql/generate_events", made | numbers)

    def spilled() -> int:
        asked = "SELECT sum(value) FROM system.events WHERE event = 'ExternalAggregationWritePart'"
        return int(httpx.post(warehouse_server.url, content=asked, auth=who, trust_env=False, timeout=30).text)

    before = spilled()
    (built,) = build_days(metering, [day], [(scope, a_meter("sum", "tokens"))], NOW, spill_bytes=1)
    assert spilled() > before
    # Nearly every event has a customer and hour of its own.
    assert (built.events, built.rows > 100_000) == (150_000, True)
    assert mismatches(metering, [day]) == []
