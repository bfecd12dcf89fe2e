"""Subscriptions and the quantities of their periods."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError

from billing.errors import Conflict, NotFound
from billing.subscription import ChangeKind, SubscriptionStatus
from ledger.db import Ledger
from ledger.models import SubscriptionChange
from ledger.store import quantities, subscriptions
from ledger.store.subscription_changes import NewChange
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
    assert (made.interval, made.currency, made.history) == ("P1M", "USD", ())
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


def at(day: int) -> datetime:
    return datetime(2026, 1, day, tzinfo=UTC)


def test_a_history_grows_and_never_changes(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_subscription(session, scope)
        paused = NewChange(ChangeKind.PAUSED, at(10), reason="on holiday")
        once = subscriptions.change_subscription(session, scope, made, [paused], "key_1", NOW)
        resumed = NewChange(ChangeKind.RESUMED, at(15))
        twice = subscriptions.change_subscription(session, scope, once, [resumed], "key_2", later(days=1))
    assert [(c.sequence, c.kind, c.effective_at, c.reason, c.actor, c.created_at) for c in twice.history] == [
        (1, "paused", at(10), "on holiday", "key_1", NOW),
        (2, "resumed", at(15), None, "key_2", later(days=1)),
    ]
    for statement in (update(SubscriptionChange).values(kind="resumed"), delete(SubscriptionChange)):
        with pytest.raises(IntegrityError), ledger.begin() as session:
            session.execute(statement)


def test_who_has_not_seen_the_last_change_adds_none(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_subscription(session, scope)
        change = NewChange(ChangeKind.PAUSED, NOW)
        subscriptions.change_subscription(session, scope, made, [change], "key_1", NOW)
        with pytest.raises(Conflict, match="somebody else"):
            subscriptions.change_subscription(session, scope, made, [change], "key_1", NOW)


def test_an_end_in_the_history_is_the_end_of_the_subscription(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_subscription(session, scope)
        ended = NewChange(ChangeKind.CANCELLED, at(25), {"end_date": at(25).isoformat(), "previous_end_date": None})
        cancelled = subscriptions.change_subscription(session, scope, made, [ended], "key_1", NOW)
        assert cancelled.end_date == at(25)
        back = NewChange(ChangeKind.CANCELLATION_WITHDRAWN, NOW, {"end_date": None}, withdraws=1)
        assert subscriptions.change_subscription(session, scope, cancelled, [back], "key_1", NOW).end_date is None


@pytest.mark.parametrize(
    ("start_date", "end_date", "billed_in_february"),
    [
        pytest.param("2025-12-01", None, True, id="running"),
        pytest.param("2026-02-01", None, True, id="its first period may be short"),
        pytest.param("2026-03-01", None, False, id="begins after"),
        pytest.param("2026-01-01", "2026-01-10", False, id="its last period ended with it"),
        pytest.param("2025-12-01", "2026-02-01", True, id="ends where the window begins"),
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
        other = a_plan(session, scope, "other", "meter_other")
        second = a_subscription(
            session, scope, customer_id=a_customer(session, scope, "b").id, plan_id=first.plan_id, now=later(days=1)
        )
        moved = NewChange(ChangeKind.PLAN_CHANGED, at(15), {"plan_id": other.id})
        subscriptions.change_subscription(session, scope, second, [moved], "key_1", NOW)

        def ids(when: datetime, **wanted: str) -> list[str]:
            return [found.id for found in subscriptions.list_subscriptions(session, scope, when, **wanted).items]  # type: ignore[arg-type]

        assert ids(at(14), plan_id=first.plan_id) == [second.id, first.id]
        assert ids(at(15), plan_id=first.plan_id) == [first.id]
        assert ids(at(15), plan_id=other.id) == [second.id]
        assert ids(NOW, customer_id=first.customer_id) == [first.id]


def test_a_filter_by_status_is_right_at_any_moment_without_a_job(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_subscription(session, scope, start_date=at(2), end_date=at(28), trial_end=at(8))
        changes = [
            NewChange(ChangeKind.PAUSED, at(5)),
            NewChange(ChangeKind.RESUMED, at(6)),
            NewChange(ChangeKind.PAUSED, at(12)),
            NewChange(ChangeKind.RESUMED, at(16)),
            NewChange(ChangeKind.PAUSED, at(20)),
            NewChange(ChangeKind.CHANGE_WITHDRAWN, at(20), withdraws=5),
        ]
        record = subscriptions.change_subscription(session, scope, made, changes, "key_1", NOW)
        never = a_subscription(
            session,
            scope,
            customer_id=a_customer(session, scope, "b").id,
            plan_id=made.plan_id,
            start_date=at(2),
            end_date=at(2),
        )
        for day in range(1, 31):
            found = {
                status: {
                    each.id for each in subscriptions.list_subscriptions(session, scope, at(day), status=status).items
                }
                for status in SubscriptionStatus
            }
            status = record.life().status_at(at(day))
            assert [name for name, ids in found.items() if record.id in ids] == [status], day
            assert [name for name, ids in found.items() if never.id in ids] == ["cancelled"], day
    days = {1: "scheduled", 2: "trialing", 5: "paused", 6: "trialing", 8: "active", 12: "paused", 16: "active"}
    days |= {20: "active", 27: "active", 28: "cancelled"}
    assert {day: str(record.life().status_at(at(day))) for day in days} == days


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
