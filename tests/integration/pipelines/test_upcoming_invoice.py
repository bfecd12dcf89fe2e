"""What a running period comes to so far is what its invoice says in the end, and each period says what became of it."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from billing.errors import Conflict, InvalidInput
from billing.instant import format_instant
from ledger.store import invoices
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.list_periods import SubscriptionPeriod, list_periods
from pipelines.steps.upcoming_invoice import UpcomingInvoice, upcoming_invoice
from tests.integration.pipelines.stage import GUIDE_PRICE, Shop, Stage

FLAT = {"pricing_model": "flat", "amount": "31.00"}
PER_UNIT = {"pricing_model": "per_unit", "unit_price": "0.001"}
MID_OCTOBER = datetime(2024, 10, 20, 12, tzinfo=UTC)


def _upcoming(stage: Stage, shop: Shop, subscription: SubscriptionRecord, now: datetime) -> UpcomingInvoice:
    return upcoming_invoice(stage.ledger, stage.warehouse, shop.scope, subscription.id, now)


def _billed(upcoming: UpcomingInvoice) -> list[tuple[str, Decimal, Decimal, str | None, object]]:
    return [(line.key, line.quantity, line.amount, line.quantity_hash, line.breakdown) for line in upcoming.lines]


def test_it_agrees_with_the_invoice_once_the_period_is_over_and_nothing_else_came(stage: Stage) -> None:
    shop = stage.shop(prices=[GUIDE_PRICE, FLAT, PER_UNIT])
    subscription = stage.subscribe(shop)
    stage.send(shop, 15420)
    last_moment = datetime(2024, 10, 31, 23, 59, 59, tzinfo=UTC)
    from_events = _upcoming(stage, shop, subscription, last_moment)
    stage.roll_up_by_steps()
    from_rollups = _upcoming(stage, shop, subscription, last_moment)
    # 119.10 by the guide, 31.00 flat, 15420 x 0.001 = 15.42
    assert from_rollups.total == Decimal("165.52")
    assert _billed(from_events) == _billed(from_rollups)
    # Two prices of one meter are one reading.
    read = [[(one.events, one.rollup_days) for one in found.readings] for found in (from_events, from_rollups)]
    assert read == [[(15420, 0)], [(15420, 31)]]

    stage.bill_by_steps()
    (invoice,) = stage.invoices(shop)
    assert (invoice.total, invoice.amount_due) == (from_rollups.total, from_rollups.amount_due)
    assert _billed(from_rollups) == [
        (line.key, line.quantity, line.amount, line.quantity_hash, line.breakdown) for line in invoice.lines
    ]


def test_E2_each_acknowledged_event_is_in_the_next_answer_and_nothing_is_written(stage: Stage) -> None:
    shop = stage.shop(prices=[PER_UNIT])
    subscription = stage.subscribe(shop)
    seen = []
    for number in range(3):
        stage.send(shop, 500, first=500 * number, at=datetime(2024, 10, 20, 9, tzinfo=UTC))
        seen.append(_upcoming(stage, shop, subscription, MID_OCTOBER).total)
    assert seen == [Decimal("0.50"), Decimal("1.00"), Decimal("1.50")]
    assert stage.invoices(shop) == []


def test_a_level_counts_up_to_now_and_not_to_the_end_of_the_period(stage: Stage) -> None:
    shop = stage.shop(prices=[{"pricing_model": "per_unit", "unit_price": "1"}], aggregation="weighted_sum")
    now = datetime.now(UTC)
    start = now - timedelta(days=10)
    subscription = stage.subscribe(shop, start_date=start)
    stage.send(shop, 1, at=start, tokens="1")
    (line,) = _upcoming(stage, shop, subscription, now).lines
    # One for ten days, in hours; the read comes a little after `now`.
    assert 240 <= line.quantity < 241


def test_before_it_begins_the_first_period_is_shown_without_usage(stage: Stage) -> None:
    shop = stage.shop(prices=[FLAT, PER_UNIT])
    subscription = stage.subscribe(shop, start_date=datetime(2024, 12, 1, tzinfo=UTC))
    stage.send(shop, 10)
    upcoming = _upcoming(stage, shop, subscription, stage.now)
    assert upcoming.due.period.start == datetime(2024, 12, 1, tzinfo=UTC)
    assert [(line.quantity, line.amount) for line in upcoming.lines] == [
        (Decimal(1), Decimal("31.00")),
        (Decimal(0), Decimal("0.00")),
    ]


def test_one_that_ends_is_shown_to_its_end_and_then_refused(stage: Stage) -> None:
    shop = stage.shop(prices=[FLAT])
    end = datetime(2024, 10, 21, tzinfo=UTC)
    subscription = stage.subscribe(shop, end_date=end)
    # 20 of 31 days
    assert _upcoming(stage, shop, subscription, MID_OCTOBER).total == Decimal("20.00")
    with pytest.raises(Conflict) as refused:
        _upcoming(stage, shop, subscription, end)
    assert refused.value.code == "subscription_ended"


def _periods(stage: Stage, shop: Shop, subscription: SubscriptionRecord, **asked: object) -> list[SubscriptionPeriod]:
    with stage.ledger.read() as session:
        found: list[SubscriptionPeriod] = []
        cursor = None
        while True:
            page = list_periods(session, shop.scope, subscription, stage.now, cursor=cursor, **asked)  # type: ignore[arg-type]
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                return found


def test_the_periods_say_what_became_of_each(stage: Stage) -> None:
    shop = stage.shop(prices=[FLAT])
    subscription = stage.subscribe(shop, start_date=datetime(2024, 8, 1, tzinfo=UTC))
    stage.bill_by_steps(first=date(2024, 9, 1))
    first, second, third = sorted(stage.invoices(shop), key=lambda invoice: invoice.period.start)
    with stage.ledger.begin() as session:
        invoices.void(session, shop.scope, first.id, stage.now)
    stage.now = datetime(2024, 12, 2, tzinfo=UTC)
    said = [
        (
            format_instant(each.period.start)[:10],
            each.status,
            each.invoice and (each.invoice.number, each.invoice.total),
        )
        for each in _periods(stage, shop, subscription, limit=2)
    ]
    amount = Decimal("31.00")
    assert said == [
        ("2025-01-01", "upcoming", None),
        ("2024-12-01", "running", None),
        ("2024-11-01", "closing", None),
        ("2024-10-01", "invoiced", (third.number, amount)),
        ("2024-09-01", "invoiced", (second.number, amount)),
        ("2024-08-01", "void", (first.number, amount)),
    ]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_both_orders_give_the_same_periods_at_any_page_size(stage: Stage, limit: int) -> None:
    shop = stage.shop(prices=[FLAT])
    subscription = stage.subscribe(
        shop, start_date=datetime(2023, 1, 31, tzinfo=UTC), end_date=datetime(2024, 5, 10, tzinfo=UTC)
    )
    newest = _periods(stage, shop, subscription, limit=limit)
    assert list(reversed(newest)) == _periods(stage, shop, subscription, limit=limit, order="oldest")
    assert len(newest) == 16
    assert (newest[0].period.start.day, newest[0].period.end) == (30, datetime(2024, 5, 10, tzinfo=UTC))
    # 31 January, 28 February: month ends clamp and never drift.
    assert [each.period.start.day for each in newest[-3:]] == [31, 28, 31]


def test_a_cursor_of_another_list_is_refused(stage: Stage) -> None:
    shop = stage.shop(prices=[FLAT])
    subscription = stage.subscribe(shop)
    for cursor in ("nonsense", "2024-10-02T00:00:00Z", "2999-01-01T00:00:00Z", "2023-10-01T00:00:00Z"):
        with stage.ledger.read() as session, pytest.raises(InvalidInput) as refused:
            list_periods(session, shop.scope, subscription, stage.now, cursor=cursor, limit=20)
        assert refused.value.code == "cursor_invalid"


def test_one_that_was_ended_before_it_began_has_no_periods(stage: Stage) -> None:
    shop = stage.shop(prices=[FLAT])
    start = datetime(2024, 12, 1, tzinfo=UTC)
    assert _periods(stage, shop, stage.subscribe(shop, start_date=start, end_date=start), limit=20) == []
