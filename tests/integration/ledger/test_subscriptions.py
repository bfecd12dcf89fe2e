"""Subscriptions and the quantities of their periods."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy.exc import IntegrityError

from billing.errors import Conflict, NotFound
from ledger.db import Ledger
from ledger.store import quantities, subscriptions
from tests.support.ledger_rows import (
    FEBRUARY,
    JANUARY,
    NOW,
    a_customer,
    a_plan,
    a_quantity,
    a_scope,
    a_subscription,
    later,
)


def test_a_subscription_has_its_plans_interval_and_currency_and_lays_out_periods(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_subscription(session, scope, metadata={"contract_id": "CNT-1"})
        assert subscriptions.get_subscription(session, scope, made.id) == made
    assert (made.interval, made.currency, made.status) == ("P1M", "USD", "active")
    assert made.schedule().period_at(NOW) == JANUARY


def test_a_subscription_may_be_anchored_at_a_moment_of_its_own(ledger: Ledger) -> None:
    with ledger.begin() as session:
        made = a_subscription(session, a_scope(session), billing_anchor="2026-01-15T00:00:00+00:00")
    assert made.schedule().period_at(NOW).start == datetime(2026, 1, 15, tzinfo=UTC)


def test_customer_and_plan_may_be_named_by_the_callers_own_words(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        customer, plan = a_customer(session, scope, "acme"), a_plan(session, scope, "pro")
        made = a_subscription(session, scope, customer_id="acme", plan_id="pro")
        assert (made.customer_id, made.plan_id) == (customer.id, plan.id)
        with pytest.raises(NotFound, match="no such customer"):
            a_subscription(session, scope, customer_id="nobody", plan_id="pro")
        with pytest.raises(NotFound, match="no such plan"):
            a_subscription(session, scope, customer_id="acme", plan_id="none")


def test_time_makes_a_scheduled_subscription_active_and_an_ended_one_cancelled(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_subscription(session, scope, start_date=later(days=1), end_date=later(days=9))
        seen = [made.status]
        for days in (0, 1, 8, 9):
            subscriptions.settle_statuses(session, later(days=days))
            seen.append(subscriptions.get_subscription(session, scope, made.id).status)
    assert seen == ["scheduled", "scheduled", "active", "active", "cancelled"]


def test_a_subscription_is_cancelled_now_or_later_but_once(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_subscription(session, scope)
        planned = subscriptions.cancel_subscription(session, scope, made.id, later(days=5), NOW)
        assert (planned.status, planned.end_date) == ("active", later(days=5))
        assert subscriptions.cancel_subscription(session, scope, made.id, NOW, NOW).status == "cancelled"
        with pytest.raises(Conflict, match="cancelled already"):
            subscriptions.cancel_subscription(session, scope, made.id, NOW, NOW)


@pytest.mark.parametrize(
    ("start_date", "end_date", "billed_in_february"),
    [
        pytest.param("2025-12-01", None, True, id="running"),
        pytest.param("2026-02-01", None, True, id="its first period may be short"),
        pytest.param("2026-03-01", None, False, id="begins after"),
        pytest.param("2026-01-01", "2026-01-10", True, id="ended within the period that ends on 1 February"),
        pytest.param("2025-12-01", "2026-01-01", True, id="ended where the period ended"),
        pytest.param("2025-11-01", "2025-12-10", False, id="ended periods ago"),
        pytest.param("2026-01-05", "2026-01-05", False, id="never ran"),
    ],
)
def test_billable_leaves_out_what_cannot_have_a_period_that_ends_then(
    ledger: Ledger, start_date: str, end_date: str | None, billed_in_february: bool
) -> None:
    def day(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_subscription(
            session, scope, start_date=day(start_date), end_date=end_date and day(end_date), billing_anchor="calendar"
        )
        found = subscriptions.billable(session, FEBRUARY.start, FEBRUARY.end)
    assert found == ([(scope, made)] if billed_in_february else [])


def test_lists_are_filtered_by_customer_plan_and_status(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        first = a_subscription(session, scope)
        second = a_subscription(
            session, scope, customer_id=a_customer(session, scope, "b").id, plan_id=first.plan_id, now=later(days=1)
        )
        subscriptions.cancel_subscription(session, scope, second.id, NOW, NOW)

        def ids(**wanted: str) -> list[str]:
            return [found.id for found in subscriptions.list_subscriptions(session, scope, **wanted).items]  # type: ignore[arg-type]

        assert ids(plan_id=first.plan_id) == [second.id, first.id]
        assert ids(customer_id=first.customer_id) == [first.id]
        assert ids(status="cancelled") == [second.id]


def test_a_quantity_is_kept_once_per_period_and_price_and_the_newest_holds(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan = a_plan(session, scope)
        subscription = a_subscription(session, scope, plan_id=plan.id)
        first = a_quantity(subscription.id, plan, quantity=Decimal("123456789012345678.123456789012"))
        newer = replace(first, quantity=Decimal("7.50"), quantity_hash="q2", builds={"2026-01-01": 4})
        quantities.put_quantity(session, scope, first)
        assert quantities.quantities_of(session, scope, subscription.id, JANUARY.start) == [first]
        quantities.put_quantity(session, scope, newer)
        assert quantities.quantities_of(session, scope, subscription.id, JANUARY.start) == [newer]
        assert quantities.quantities_of(session, scope, subscription.id, FEBRUARY.start) == []


def test_a_row_cannot_point_into_another_environment(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope, other = a_scope(session), a_scope(session, environment="second")
        plan = a_plan(session, scope)
        subscription = a_subscription(session, scope, plan_id=plan.id)
    with pytest.raises(IntegrityError), ledger.begin() as session:
        quantities.put_quantity(session, other, a_quantity(subscription.id, plan))
