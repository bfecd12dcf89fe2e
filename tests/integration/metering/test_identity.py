"""E3: an identity counts once, the first received event wins, wherever and whenever it comes again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from billing.scope import Scope
from ingestion.writer import EventWriter
from tests.integration.metering.senders import a_meter, an_event, at, send, usage, values
from warehouse_sql.client import Warehouse
from warehouse_sql.conflicts import list_conflicts
from warehouse_sql.event_log import EventStatus, identities_of, received_events
from warehouse_sql.reconcile import supersede_duplicates
from warehouse_sql.usage import read_quantities

SOURCES = ("auto", "raw")


def summed(warehouse: Warehouse, scope: Scope, *customers: str) -> list[str | None]:
    """January's sum per customer, the same from both sources."""
    auto, raw = (values(usage(warehouse, scope, a_meter(), customers=customers, source=source)) for source in SOURCES)
    assert auto == raw
    return auto


def test_E3_within_a_batch_the_first_wins_and_the_others_are_counted_as_duplicates(
    metering: Warehouse, scope: Scope
) -> None:
    batch = [an_event("a", n="1"), an_event("b", n="2"), an_event("a", n="4"), an_event("c", n="8", key="b")]
    written = EventWriter(metering).write(scope, batch)
    assert (written.stored, written.duplicates) == (2, 2)
    assert summed(metering, scope, "acme") == ["3"]


def test_E3_a_resend_counts_once_at_once_same_content_or_not(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, an_event("same", n="1"), an_event("other", "2026-01-05", n="10"))
    send(metering, scope, an_event("same", n="1"), an_event("other", "2026-01-05", n="20"))
    send(metering, scope, an_event("other", "2026-01-20 23:00", n="40"))
    assert summed(metering, scope, "acme") == ["11"]


def test_E3_two_senders_at_once_leave_one_event(metering: Warehouse, scope: Scope) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: send(metering, scope, an_event("once", n="1")), range(16)))
    assert summed(metering, scope, "acme") == ["1"]


def test_E3_across_customers_names_and_months_once_reconciled(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, an_event("a", n="1"), an_event("b", n="2"), an_event("c", n="4"), an_event("d", n="8"))
    send(
        metering,
        scope,
        an_event("a", customer_id="beta", n="1"),
        an_event("b", event_name="api.other", n="2"),
        an_event("c", "2026-02-07", n="4"),
        an_event("d", "2026-01-05 10:00:01", n="8"),
    )
    found = supersede_duplicates(metering)
    assert (found.conflicts, found.duplicates) >= (4, 0)
    assert summed(metering, scope, "acme", "beta") == ["15", "0"]
    assert values(usage(metering, scope, a_meter(), "2026-02-01", "2026-03-01")) == ["0"]
    assert values(usage(metering, scope, a_meter(event_name="api.other"))) == ["0"]
    listed = list_conflicts(metering, scope).items
    assert sorted((one.loser.identity, one.winner.customer_id) for one in listed) == [(name, "acme") for name in "abcd"]
    assert {date(2026, 1, 5), date(2026, 2, 7)} <= set(found.days)


def test_E3_an_event_without_a_time_that_is_sent_again_is_no_conflict(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, an_event("a", "2026-01-05 10:59", timed=False, n="1"))
    send(metering, scope, an_event("a", "2026-01-05 11:01", timed=False, n="1"))
    assert summed(metering, scope, "acme") == ["1"]
    assert supersede_duplicates(metering).duplicates >= 1
    assert summed(metering, scope, "acme") == ["1"]
    assert list_conflicts(metering, scope).items == []


def test_E3_a_third_resend_after_a_reconcile_stays_out(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, an_event("a", n="1"))
    send(metering, scope, an_event("a", "2026-01-06", customer_id="beta", n="2"))
    supersede_duplicates(metering)
    send(metering, scope, an_event("a", "2026-01-07", customer_id="beta", n="4"))
    send(metering, scope, an_event("a", "2026-01-06", customer_id="beta", n="2"))
    assert summed(metering, scope, "acme", "beta") == ["1", "0"]
    supersede_duplicates(metering)
    assert summed(metering, scope, "acme", "beta") == ["1", "0"]


def test_E3_the_same_identity_in_another_environment_is_another_event(metering: Warehouse, scope: Scope) -> None:
    beside = Scope(scope.tenant_id, "env_live")
    send(metering, scope, an_event("a", n="1"))
    send(metering, beside, an_event("a", customer_id="beta", n="2"))
    supersede_duplicates(metering)
    assert summed(metering, beside, "beta") == ["2"]


def test_reconciling_again_or_twice_at_once_changes_nothing(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, *[an_event(f"e{i}", n="1") for i in range(50)])
    send(metering, scope, *[an_event(f"e{i}", customer_id="beta", n="1") for i in range(50)])
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: supersede_duplicates(metering), range(3)))
    again = supersede_duplicates(metering)
    assert max(run.conflicts for run in runs) >= 50
    assert again.conflicts == 0
    assert again.watermark >= max(run.watermark for run in runs)
    assert len(list_conflicts(metering, scope, limit=100).items) == 50
    assert summed(metering, scope, "acme", "beta") == ["50", "0"]


def test_a_quantity_of_a_reconciled_watermark_never_changes_again(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, an_event("a", n="1"), an_event("b", n="2"))
    watermark = supersede_duplicates(metering).watermark
    period = (at("2026-01-01"), at("2026-02-01"), ["acme"])
    before = read_quantities(metering, scope, a_meter(), *period, watermark=watermark)["acme"]
    send(metering, scope, an_event("late", n="4"), an_event("a", "2026-01-09", n="8"))
    supersede_duplicates(metering)
    after = read_quantities(metering, scope, a_meter(), *period, watermark=watermark)["acme"]
    now = read_quantities(metering, scope, a_meter(), *period)["acme"]
    assert before == after
    assert (before.value, now.value) == (3, 7)
    assert before.quantity_hash != now.quantity_hash


@pytest.mark.parametrize("n", ["1", "2"])
def test_the_first_received_event_of_an_id_is_the_one_shown(metering: Warehouse, scope: Scope, n: str) -> None:
    send(metering, scope, an_event("a", n=n))
    send(metering, scope, an_event("a", "2026-01-01", n="3"))
    first, second = received_events(metering, scope, identities_of(metering, scope, "a"))
    assert (first.properties, first.status) == ({"n": n}, EventStatus.COUNTED)
    assert (second.properties, second.status) == ({"n": "3"}, EventStatus.CONFLICT)
