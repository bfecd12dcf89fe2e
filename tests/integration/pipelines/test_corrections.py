"""Voiding and amending events while invoices are made: nothing wrong becomes final, and nothing final becomes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from bench.postgres import NoPostgres, create_database, running_postgres
from billing.errors import Conflict, Unavailable
from billing.invoice import InvoiceStatus
from ingestion.amendment import Amendment
from ledger.db import Ledger
from ledger.store import audit, event_corrections
from pipelines.steps.correct_event import Correction, amend_event, void_event
from pipelines.steps.explain_event import BillingState, explain_event
from pipelines.steps.finalize_invoices import finalize_invoices
from pipelines.steps.reconcile_events import reconcile_events
from tests.integration.pipelines.stage import OCTOBER, Shop, Stage
from tests.support.at_once import in_threads
from tests.support.cut_warehouse import CutOff
from warehouse_sql.client import Warehouse
from warehouse_sql.event_log import EventStatus, identities_of, received_events
from warehouse_sql.rollups import dirty_days, mismatches
from warehouse_sql.usage import UsageQuery, read_usage

EVENT = "acme_corp_001-7"
BILLING_DAY = datetime(2024, 11, 1, tzinfo=UTC), datetime(2024, 11, 2, tzinfo=UTC)


def void(stage: Stage, shop: Shop, event_id: str = EVENT, warehouse: Warehouse | None = None) -> Correction:
    return void_event(
        stage.ledger, warehouse or stage.warehouse, shop.scope, event_id, None, "a load test", "key_1", stage.now
    )


def amend(stage: Stage, shop: Shop, event_id: str = EVENT, warehouse: Warehouse | None = None, **to: Any) -> Correction:
    unchanged = dict.fromkeys(("identity", "event_name", "customer_id", "timestamp", "properties"))
    change = Amendment(**{"reason": "a wrong number", **unchanged, **to})
    return amend_event(stage.ledger, warehouse or stage.warehouse, shop.scope, event_id, change, "key_1", stage.now)


def billed(stage: Stage, shop: Shop) -> list[tuple[InvoiceStatus, Decimal]]:
    return [(invoice.status, invoice.lines[0].quantity) for invoice in stage.invoices(shop)]


def counted(stage: Stage, shop: Shop) -> list[EventStatus]:
    received = received_events(stage.warehouse, shop.scope, identities_of(stage.warehouse, shop.scope, EVENT))
    return [event.status for event in received]


def test_a_voided_event_is_on_no_invoice_and_its_day_is_rolled_up_again_by_itself(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 100)
    stage.roll_up_by_steps()
    explained = explain_event(stage.ledger, stage.warehouse, shop.scope, EVENT).events[0]
    meter = explained.meters[0].meter
    assert explained.meters[0].rollup_is_current
    assert dirty_days(stage.warehouse, [(shop.scope, meter)], OCTOBER[0].date()) == []
    void(stage, shop)
    assert dirty_days(stage.warehouse, [(shop.scope, meter)], OCTOBER[0].date()) == [date(2024, 10, 1)]
    assert not explain_event(stage.ledger, stage.warehouse, shop.scope, EVENT).events[0].meters[0].rollup_is_current
    stage.roll_up_by_steps()
    assert explain_event(stage.ledger, stage.warehouse, shop.scope, EVENT).events[0].meters[0].rollup_is_current
    assert mismatches(stage.warehouse, [date(2024, 10, 1)]) == []
    query = UsageQuery(shop.scope, meter, *OCTOBER, ("acme_corp_001",))
    answers = [read_usage(stage.warehouse, query, source) for source in ("auto", "raw")]
    assert [(answer.rows[0].value, answer.rollup_days) for answer in answers] == [(Decimal(99), 31), (Decimal(99), 0)]
    stage.bill_by_steps()
    assert billed(stage, shop) == [(InvoiceStatus.FINALIZED, Decimal(99))]


def test_M3_an_event_that_a_final_invoice_counts_can_no_longer_be_corrected(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 100)
    stage.bill_by_steps()
    (final,) = stage.invoices(shop)
    for correct in (void, lambda *which: amend(*which, timestamp=datetime(2024, 12, 1, tzinfo=UTC))):
        with pytest.raises(Conflict, match=final.id) as refused:
            correct(stage, shop)
        assert refused.value.code == "period_finalized"
    stage.send(shop, 1, first=500, at=datetime(2024, 11, 1, tzinfo=UTC))
    with pytest.raises(Conflict, match="is final"):
        amend(stage, shop, "acme_corp_001-500", timestamp=datetime(2024, 10, 31, 23, 59, 59, 999999, tzinfo=UTC))
    assert counted(stage, shop) == [EventStatus.COUNTED]
    with stage.ledger.read() as session:
        assert audit.list_entries(session, shop.scope, entity="event").items == []
    [billing] = explain_event(stage.ledger, stage.warehouse, shop.scope, EVENT).events[0].meters[0].billing
    assert (billing.state, billing.line_id) == (BillingState.FINALIZED, final.lines[0].id)


def test_M6_a_draft_that_was_checked_before_a_correction_is_held_until_it_is_checked_again(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 100)
    stage.bill_by_steps_up_to_finalizing()
    assert billed(stage, shop) == [(InvoiceStatus.DRAFT, Decimal(100))]
    void(stage, shop)
    (held,) = finalize_invoices(stage.ledger, *BILLING_DAY, stage.now).held
    assert "usage_events_are_usable has not run since something changed" in held.reasons
    stage.bill_by_steps()
    assert billed(stage, shop) == [(InvoiceStatus.FINALIZED, Decimal(99))]


def test_M6_a_correction_that_waits_for_the_warehouse_holds_the_invoice(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 100)
    stage.bill_by_steps_up_to_finalizing()
    with closing(CutOff(stage.warehouse, 0)) as cut, pytest.raises(Unavailable):
        void(stage, shop, warehouse=cut)
    (held,) = finalize_invoices(stage.ledger, *BILLING_DAY, stage.now).held
    assert "a correction of the customer's events is not applied yet" in held.reasons
    stage.bill_by_steps()
    assert billed(stage, shop) == [(InvoiceStatus.FINALIZED, Decimal(99))]


@pytest.mark.parametrize("writes", range(3))
@pytest.mark.parametrize("finished_by", ["the same request", "the reconcile step"])
def test_an_amendment_that_is_cut_off_anywhere_ends_in_one_counted_event(
    stage: Stage, writes: int, finished_by: str
) -> None:
    shop = stage.shop(aggregation="sum", prices=[{"pricing_model": "per_unit", "unit_price": "1"}])
    stage.subscribe(shop)
    stage.send(shop, 10, tokens="1")
    with closing(CutOff(stage.warehouse, writes)) as cut, pytest.raises(Unavailable):
        amend(stage, shop, warehouse=cut, properties={"tokens": "5"})
    assert counted(stage, shop) == [EventStatus.COUNTED if writes == 0 else EventStatus.AMENDED]
    if finished_by == "the same request":
        again = [amend(stage, shop, properties={"tokens": "5"}) for _ in range(2)]
        assert again[0].corrected_identity == again[1].corrected_identity
    else:
        reconcile_events(stage.ledger, stage.warehouse, *OCTOBER, stage.now)
        assert reconcile_events(stage.ledger, stage.warehouse, *OCTOBER, stage.now).corrections.applied == 0
    assert counted(stage, shop) == [EventStatus.AMENDED, EventStatus.COUNTED]
    with stage.ledger.read() as session:
        assert len(audit.list_entries(session, shop.scope, entity="event").items) == 1
    stage.bill_by_steps()
    assert billed(stage, shop) == [(InvoiceStatus.FINALIZED, Decimal(14))]


def test_an_amended_event_moves_to_the_invoice_of_its_right_customer(stage: Stage) -> None:
    shop = stage.shop()
    first, second = stage.subscribe(shop), stage.subscribe(shop, "beta")
    stage.send(shop, 10)
    amend(stage, shop, customer_id="beta")
    stage.bill_by_steps()
    assert [stage.invoices(shop, one)[0].lines[0].quantity for one in (first, second)] == [Decimal(9), Decimal(1)]


def test_a_level_of_an_earlier_period_weighs_in_the_final_invoice_of_a_later_one(stage: Stage) -> None:
    shop = stage.shop(aggregation="weighted_sum", prices=[{"pricing_model": "per_unit", "unit_price": "1"}])
    stage.subscribe(shop)
    stage.send(shop, 1, at=datetime(2024, 9, 15, tzinfo=UTC), tokens="2")
    stage.bill_by_steps()
    assert billed(stage, shop) == [(InvoiceStatus.FINALIZED, Decimal(2 * 31 * 24))]
    with pytest.raises(Conflict, match="is final"):
        void(stage, shop, "acme_corp_001-0")


def test_E3_a_conflict_is_never_on_an_invoice_and_the_first_received_is(stage: Stage) -> None:
    shop = stage.shop(aggregation="sum", prices=[{"pricing_model": "per_unit", "unit_price": "1"}])
    first, second = stage.subscribe(shop), stage.subscribe(shop, "beta")
    stage.send(shop, 3, tokens="1")
    stage.send_again(shop, EVENT.replace("7", "0"), "beta", datetime(2024, 10, 9, tzinfo=UTC))
    stage.send_again(shop, EVENT.replace("7", "1"), "acme_corp_001", datetime(2024, 10, 9, tzinfo=UTC))
    stage.bill_by_steps()
    assert [stage.invoices(shop, one)[0].lines[0].quantity for one in (first, second)] == [Decimal(3), Decimal(0)]


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    try:
        with running_postgres() as admin:
            yield create_database(admin, "corrections")
    except NoPostgres as reason:
        pytest.skip(f"PostgreSQL half skipped: {reason}")


@pytest.fixture(params=["sqlite", "postgresql"])
def racing(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Stage]:
    """The stage on either database."""
    if request.param == "sqlite":
        yield stage
        return
    ledger = Ledger(request.getfixturevalue("postgres_url"))
    ledger.migrate()
    stage.ledger = ledger
    yield stage
    ledger.dispose()


def test_M6_a_correction_and_finalizing_at_once_never_leave_a_voided_event_on_a_final_invoice(racing: Stage) -> None:
    stage = racing
    outcomes = set()
    for attempt in range(4):
        shop = stage.shop(f"Racer {attempt}")
        stage.subscribe(shop)
        stage.send(shop, 10)
        stage.bill_by_steps_up_to_finalizing()

        def try_to_void(shop: Shop = shop) -> str:
            try:
                void(stage, shop)
            except Conflict as refused:
                return refused.code
            return "voided"

        outcome, _ = in_threads([try_to_void, lambda: finalize_invoices(stage.ledger, *BILLING_DAY, stage.now)])
        stage.now += timedelta(seconds=1)
        stage.bill_by_steps()
        left = Decimal(9) if outcome == "voided" else Decimal(10)
        assert billed(stage, shop) == [(InvoiceStatus.FINALIZED, left)]
        with stage.ledger.read() as session:
            assert event_corrections.unapplied(session, stage.now, 10) == []
        outcomes.add(outcome)
    assert outcomes <= {"voided", "period_finalized"}
