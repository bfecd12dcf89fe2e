"""Versions of prices: consecutive whoever writes them, readable for ever, and each bills what was recorded for it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal

import pytest
from sqlalchemy.orm import Session

from billing.errors import Conflict
from billing.period import Period
from billing.price import Price, parse_price
from billing.price_version import ApplyTo, PriceStatus
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import invoices, plans, prices
from ledger.store.price_changes import add_price, archive_price, hold_prices, revise_price, timing_of
from ledger.store.prices import PriceRecord
from tests.support.at_once import LIMIT_SECONDS, in_threads
from tests.support.ledger_rows import FEBRUARY, JANUARY, NOW, a_draft, a_plan, a_scope, a_subscription, later, priced


def per_unit(unit_price: str) -> Price:
    return parse_price({"pricing_model": "per_unit", "unit_price": unit_price})


def billed(session: Session, scope: Scope, plan_id: str, period: Period) -> list[tuple[str, int]]:
    """(name, version) of the prices that bill a period."""
    return [(p.display_name, p.version) for p in prices.prices_billed_in(session, scope, plan_id, period)]


def test_M3_a_change_bills_the_periods_that_begin_after_it_and_the_ones_before_keep_their_version(
    ledger: Ledger,
) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan = a_plan(session, scope)
        usage = plan.prices[1]
        revised = revise_price(session, scope, usage.id, per_unit("0.005"), later(days=1), later(days=1))
        assert (revised.version, revised.price.unit_price) == (2, Decimal("0.005"))
        assert billed(session, scope, plan.id, JANUARY) == [("Pro plan", 1), ("Requests", 1)]
        assert billed(session, scope, plan.id, FEBRUARY) == [("Pro plan", 1), ("Requests", 2)]
        assert prices.get_price(session, scope, usage.id, version=1) == usage
        assert prices.get_price(session, scope, usage.id) == revised
        assert plans.get_plan(session, scope, plan.id, at=later(days=-400)).prices[1] == usage
        assert plans.get_plan(session, scope, plan.id, at=later(days=1)).prices[1] == revised


def test_a_change_for_the_running_period_bills_the_whole_of_it(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan = a_plan(session, scope)
        usage = plan.prices[1]
        revise_price(session, scope, usage.id, per_unit("2"), NOW, NOW, ApplyTo.RUNNING_PERIOD)
        assert billed(session, scope, plan.id, JANUARY) == [("Pro plan", 1), ("Requests", 2)]
        december = Period(datetime.fromisoformat("2025-12-01T00:00:00Z"), JANUARY.start)
        assert billed(session, scope, plan.id, december) == [("Pro plan", 1), ("Requests", 1)]


def test_a_change_between_two_others_holds_until_the_one_after_it(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan = a_plan(session, scope)
        usage = plan.prices[1]
        march = Period(FEBRUARY.end, later(days=70))
        revise_price(session, scope, usage.id, per_unit("3"), march.start, NOW)
        revise_price(session, scope, usage.id, per_unit("2"), FEBRUARY.start, NOW)
        numbers = [billed(session, scope, plan.id, period)[1][1] for period in (JANUARY, FEBRUARY, march)]
        assert numbers == [1, 3, 2]
        # What was scheduled is taken back by the old terms at the same moment.
        revise_price(session, scope, usage.id, per_unit("2"), march.start, NOW)
        assert billed(session, scope, plan.id, march)[1] == ("Requests", 4)


def test_the_same_terms_again_are_no_new_version_unless_they_reach_another_period(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        usage = a_plan(session, scope).prices[1]
        assert revise_price(session, scope, usage.id, usage.price, NOW, NOW, ApplyTo.RUNNING_PERIOD) == usage
        second = revise_price(session, scope, usage.id, per_unit("2"), NOW, NOW)
        assert revise_price(session, scope, usage.id, per_unit("2"), later(days=1), later(days=1)) == second
        third = revise_price(session, scope, usage.id, per_unit("2"), NOW, NOW, ApplyTo.RUNNING_PERIOD)
        renamed = revise_price(session, scope, usage.id, per_unit("2"), NOW, NOW, display_name="Calls")
        assert [third.version, renamed.version, renamed.display_name] == [3, 4, "Calls"]


def test_an_archived_price_ends_for_good_whatever_was_scheduled_after_it(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan = a_plan(session, scope)
        usage = plan.prices[1]
        revise_price(session, scope, usage.id, per_unit("3"), FEBRUARY.end, NOW)
        ended = archive_price(session, scope, usage.id, NOW, NOW)
        assert archive_price(session, scope, usage.id, later(days=90), later(days=90)) == ended
        assert ended.status is PriceStatus.ARCHIVED
        march = Period(FEBRUARY.end, later(days=70))
        assert [len(billed(session, scope, plan.id, p)) for p in (JANUARY, FEBRUARY, march)] == [2, 1, 1]
        assert [p.display_name for p in plans.get_plan(session, scope, plan.id, at=NOW).prices] == ["Pro plan"]
        with pytest.raises(Conflict, match="is archived from 2026-01-20"):
            revise_price(session, scope, usage.id, per_unit("1"), NOW, NOW)


def test_a_price_added_before_anybody_subscribed_came_with_the_plan_and_later_ones_did_not(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan = a_plan(session, scope)
        new = plans.NewPrice(None, "Support", plan.prices[0].price)
        assert add_price(session, scope, plan.id, new, later(days=1)).apply_to is ApplyTo.EVERY_PERIOD
        a_subscription(session, scope, plan_id=plan.id)
        later_on = plans.NewPrice(None, "Backup", plan.prices[0].price)
        assert add_price(session, scope, plan.id, later_on, later(days=2)).apply_to is ApplyTo.NEXT_PERIOD
        names = [[name for name, _ in billed(session, scope, plan.id, p)] for p in (JANUARY, FEBRUARY)]
        assert names == [["Pro plan", "Requests", "Support"], ["Pro plan", "Requests", "Support", "Backup"]]


def test_before_anybody_subscribed_a_change_takes_the_place_of_what_came_with_the_plan(ledger: Ledger) -> None:
    december = Period(datetime.fromisoformat("2025-12-01T00:00:00Z"), JANUARY.start)
    with ledger.begin() as session:
        scope = a_scope(session)
        plan = a_plan(session, scope)
        usage = plan.prices[1].id

        def change(unit_price: str, now: datetime) -> PriceRecord:
            start, apply_to = timing_of(session, scope, usage, None, ApplyTo.NEXT_PERIOD, now)
            return revise_price(session, scope, usage, per_unit(unit_price), start, now, apply_to)

        assert change("2", later(days=1)).apply_to is ApplyTo.EVERY_PERIOD
        assert change("2", later(days=2)).version == 2
        assert billed(session, scope, plan.id, december) == [("Pro plan", 1), ("Requests", 2)]
        a_subscription(session, scope, plan_id=plan.id)
        assert change("3", later(days=3)).apply_to is ApplyTo.NEXT_PERIOD
        assert billed(session, scope, plan.id, december) == [("Pro plan", 1), ("Requests", 2)]


def test_a_change_by_a_process_whose_clock_is_behind_is_not_hidden_by_the_one_before_it(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan = a_plan(session, scope)
        a_subscription(session, scope, plan_id=plan.id)
        usage = plan.prices[1].id
        for unit_price, now in (("2", later(seconds=5)), ("3", later(seconds=1))):
            start, apply_to = timing_of(session, scope, usage, None, ApplyTo.NEXT_PERIOD, now)
            revise_price(session, scope, usage, per_unit(unit_price), start, now, apply_to)
        assert prices.version_at(session, scope, usage, later(days=1)).price == per_unit("3")
        assert billed(session, scope, plan.id, FEBRUARY)[1] == ("Requests", 3)


def test_updates_at_once_make_consecutive_versions_and_lose_none(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan = a_plan(session, scope)
    usage = plan.prices[1].id

    def change(unit_price: str) -> int:
        return ledger.run(lambda s: revise_price(s, scope, usage, per_unit(unit_price), NOW, NOW).version)

    def add(name: str) -> int:
        new = plans.NewPrice(None, name, plan.prices[0].price)
        return ledger.run(lambda s: add_price(s, scope, plan.id, new, NOW).position)

    wanted = ["2", "3", "4", "5"]
    versions = in_threads([lambda unit_price=unit_price: change(unit_price) for unit_price in wanted])  # type: ignore[misc]
    assert sorted(versions) == [2, 3, 4, 5]
    assert sorted(in_threads([lambda name=name: add(name) for name in "abc"])) == [2, 3, 4]  # type: ignore[misc]
    with ledger.read() as session:
        page = prices.list_versions(session, scope, usage, limit=3)
        rest = prices.list_versions(session, scope, usage, page.next_cursor, limit=3)
    assert [record.version for record in (*page.items, *rest.items)] == [5, 4, 3, 2, 1]
    assert {str(record.price.unit_price) for record in (*page.items, *rest.items)} == {"0.01", *wanted}


def test_M3_a_change_waits_for_an_invoice_that_is_being_finalized_and_then_does_not_reach_it(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        subscription = a_subscription(session, scope)
        draft = priced(session, scope, a_draft(session, scope, subscription=subscription).id)
        usage = plans.get_plan(session, scope, subscription.plan_id).prices[1].id

    def change() -> PriceRecord:
        with ledger.begin() as rival:
            return revise_price(rival, scope, usage, per_unit("2"), NOW, NOW, ApplyTo.RUNNING_PERIOD)

    with ThreadPoolExecutor(1) as pool:
        with ledger.begin() as session:
            hold_prices(session, scope, subscription.plan_id, to_read=True)
            invoices.finalize(session, scope, draft.id, NOW)
            changed = pool.submit(change)
            with pytest.raises(TimeoutError):
                changed.result(0.3)
        with pytest.raises(Conflict) as caught:
            changed.result(LIMIT_SECONDS)
    assert caught.value.code == "period_finalized"
    assert caught.value.hint == (
        "Use a moment from 2026-02-01T00:00:00Z on, or correct what was billed with a credit note."
    )


def test_a_list_of_prices_shows_the_archived_and_those_to_come(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan = a_plan(session, scope)
        archive_price(session, scope, plan.prices[0].id, NOW, NOW)
        new = plans.NewPrice(None, "Support", plan.prices[0].price)
        add_price(session, scope, plan.id, new, later(hours=1), effective_from=later(days=30))
        found = prices.list_prices(session, scope, later(hours=1), plan_id=plan.id).items
        assert [(p.display_name, p.status.value) for p in found] == [
            ("Support", "active"),
            ("Requests", "active"),
            ("Pro plan", "archived"),
        ]
