"""What becomes of a subscription is on its invoices: changes of plan, seats, pauses, trials, from real events."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from bench.postgres import NoPostgres, create_database, running_postgres
from billing.errors import Conflict
from billing.invoice import InvoiceStatus
from billing.price import parse_price
from billing.price_version import ApplyTo
from billing.subscription import ChangeKind
from ledger.db import Ledger
from ledger.store import features, plans, subscriptions
from ledger.store.invoices import InvoiceRecord
from ledger.store.plans import PlanRecord
from ledger.store.price_changes import revise_price
from ledger.store.subscription_changes import NewChange
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.day_range import partition_tags, window_of_tags
from pipelines.steps.change_subscription import (
    Effective,
    SubscriptionChanges,
    When,
    cancel,
    change_terms,
    pause,
)
from pipelines.steps.explain_event import explain_event
from pipelines.steps.explain_line import explain_line
from pipelines.steps.finalize_invoices import finalize_invoices
from pipelines.steps.recompute_invoice import recompute_invoice
from pipelines.steps.subscription_terms import NewOverride, NewQuantity
from tests.integration.pipelines.stage import BILLING_DAY, SET_UP, Shop, Stage
from tests.support.at_once import in_threads

FLAT: Mapping[str, Any] = {"pricing_model": "flat", "amount": "31.00"}
TIERS: Mapping[str, Any] = {
    "pricing_model": "tiered",
    "tiers": [{"up_to": 1000, "unit_price": "0.01", "flat_fee": "10.00"}, {"up_to": None, "unit_price": "0.005"}],
}
DEAR: Mapping[str, Any] = {**TIERS, "tiers": [{**TIERS["tiers"][0], "unit_price": "0.02"}, TIERS["tiers"][1]]}


def october(day: int, hour: int = 0) -> datetime:
    return datetime(2024, 10, day, hour, tzinfo=UTC)


def a_further_plan(stage: Stage, shop: Shop, *prices: Mapping[str, Any], key: str = "pro", **other: Any) -> PlanRecord:
    """A monthly plan of prices for the shop's feature."""
    with stage.ledger.begin() as session:
        feature = features.get_feature(session, shop.scope, "api_calls").id
        new = [
            plans.NewPrice(None if price["pricing_model"] == "flat" else feature, key.title(), parse_price(price))
            for price in prices
        ]
        terms = {"billing_period": "monthly", "interval": "P1M", "currency": "USD", **other}
        return plans.create_plan(session, shop.scope, name=key.title(), key=key, prices=new, now=SET_UP, **terms)


def change(stage: Stage, shop: Shop, subscription: SubscriptionRecord, *changes: NewChange) -> SubscriptionRecord:
    with stage.ledger.begin() as session:
        held = subscriptions.hold_subscription(session, shop.scope, subscription.id)
        return subscriptions.change_subscription(session, shop.scope, held, changes, "key_1", SET_UP)


def billed(stage: Stage, shop: Shop, first: date = date(2024, 11, 1)) -> InvoiceRecord:
    """October's invoice, final; made again it is the same to the byte, and billing again writes nothing."""
    held = stage.bill_by_steps(first)
    assert (held.held, held.failures) == ((), ())
    (invoice,) = stage.invoices(shop)
    assert invoice.status is InvoiceStatus.FINALIZED
    stage.bill_by_steps(first)
    assert stage.invoices(shop) == [invoice]
    again = recompute_invoice(stage.ledger, stage.warehouse, shop.scope, invoice.id, stage.now)
    assert (again.same, again.again) == (True, invoice)
    return invoice


def lines(invoice: InvoiceRecord) -> list[tuple[int, int, Decimal, Decimal]]:
    return [(line.period.start.day, line.period.end.day, line.quantity, line.amount) for line in invoice.lines]


def of(*rows: tuple[int, int, str, str]) -> Sequence[tuple[int, int, Decimal, Decimal]]:
    return [(start, end, Decimal(quantity), Decimal(amount)) for start, end, quantity, amount in rows]


@pytest.mark.parametrize(
    ("progress", "second"),
    [
        # 700 at 0.02 and the fee of the first tier again.
        pytest.param("reset", "24.00", id="the new plan begins in its first tier"),
        # 900 of the first 1000 have been used: 100 at 0.02, 600 at 0.005; the fee was paid.
        pytest.param("continue", "5.00", id="the new plan goes on where the usage has got to"),
    ],
)
def test_a_change_of_plan_splits_the_usage_at_its_moment(stage: Stage, progress: str, second: str) -> None:
    shop = stage.shop(prices=[TIERS])
    pro = a_further_plan(stage, shop, FLAT, DEAR, tier_progress=progress)
    subscription = stage.subscribe(shop)
    stage.send(shop, 900, at=october(11, 11))
    stage.send(shop, 700, first=900, at=october(11, 12))
    change(stage, shop, subscription, NewChange(ChangeKind.PLAN_CHANGED, october(11, 12), {"plan_id": pro.id}))
    stage.roll_up_by_steps()
    invoice = billed(stage, shop)
    # 31.00 for 20.5 of 31 days.
    assert lines(invoice) == of((1, 11, "900", "19.00"), (11, 1, "1", "20.50"), (11, 1, "700", second))
    if progress == "continue":
        text = explain_line(stage.ledger, shop.scope, invoice.id, invoice.lines[2].id).text
        assert text == (
            "metered: 700\n"
            "after 900 that the period had before: what these add\n"
            "graduated, up to 1000: 100 x 0.02 = 2\n"
            "graduated, above 1000: 600 x 0.005 = 3\n"
            "sum: 5\n"
            "rounded to 2 decimals: 5.00 USD\n"
            "total: 5.00 USD"
        )


def test_paused_time_is_free_and_the_price_goes_on_after_it_as_if_there_had_been_none(stage: Stage) -> None:
    shop = stage.shop(prices=[{**TIERS, "minimum_amount": "15.00"}])
    subscription = stage.subscribe(shop)
    for first, day in ((0, 5), (600, 15), (1200, 25)):
        stage.send(shop, 600, first=first, at=october(day))
    pause = NewChange(ChangeKind.PAUSED, october(11)), NewChange(ChangeKind.RESUMED, october(21))
    change(stage, shop, subscription, *pause)
    invoice = billed(stage, shop)
    # 600 at 0.01 and 10.00; then 400 at 0.01 and 200 at 0.005, the fee was paid.
    assert lines(invoice) == of((1, 11, "600", "16.00"), (21, 1, "600", "5.00"))
    price_id = invoice.lines[0].price_id
    assert [line.key for line in invoice.lines] == [
        f"{price_id}@2024-10-01T00:00:00Z",
        f"{price_id}@2024-10-21T00:00:00Z",
    ]


def test_a_period_in_which_nothing_is_billed_has_its_invoice_and_owes_nothing(stage: Stage) -> None:
    shop = stage.shop(prices=[TIERS])
    stage.subscribe(shop, trial_end=datetime(2024, 11, 15, tzinfo=UTC))
    stage.send(shop, 100)
    invoice = billed(stage, shop)
    assert (invoice.lines, invoice.total, invoice.payment_status) == ((), Decimal("0.00"), "paid")


def test_seats_multiply_a_flat_price_for_the_share_of_each_segment_and_cut_no_other_line(stage: Stage) -> None:
    shop = stage.shop(prices=[{"pricing_model": "per_unit", "unit_price": "0.01"}])
    team = a_further_plan(stage, shop, FLAT, TIERS, key="team")
    subscription = stage.subscribe(Shop(shop.scope, team.id))
    seat = team.prices[0].id
    stage.send(shop, 1200)
    seats = [
        NewChange(ChangeKind.QUANTITY_CHANGED, october(1), {"price_id": seat, "quantity": "3"}),
        NewChange(ChangeKind.QUANTITY_CHANGED, october(11), {"price_id": seat, "quantity": "5"}),
    ]
    change(stage, shop, subscription, *seats)
    invoice = billed(stage, shop)
    # 3 x 10 days of 31, and 5 x 21 days, at 1.00 a day.
    assert lines(invoice) == of((1, 11, "3", "30.00"), (1, 1, "1200", "21.00"), (11, 1, "5", "105.00"))
    text = explain_line(stage.ledger, shop.scope, invoice.id, invoice.lines[2].id).text
    assert text.splitlines()[:2] == ["5 x 31", "prorated, 21/31 of the period: 105"]


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    try:
        with running_postgres() as admin:
            yield create_database(admin, "subscriptions")
    except NoPostgres as reason:
        pytest.skip(f"PostgreSQL half skipped: {reason}")


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Stage]:
    """The stage on either database."""
    if request.param == "sqlite":
        yield stage
        return
    ledger = Ledger(request.getfixturevalue("postgres_url"))
    ledger.migrate()
    stage.ledger = ledger
    yield stage
    ledger.dispose()


def when(effective: Effective, now: datetime) -> When:
    return When(effective, "as agreed", "key_1", now)


def run(stage: Stage, do: Callable[..., SubscriptionRecord], shop: Shop, subscription: SubscriptionRecord,
        effective: Effective, now: datetime, **other: Any) -> SubscriptionRecord:  # fmt: skip
    return stage.ledger.run(
        lambda session: do(session, shop.scope, subscription.id, when=when(effective, now), **other)
    )


def test_a_subscription_cancelled_now_is_billed_on_that_day_for_all_usage_until_then(either: Stage) -> None:
    stage = either
    shop = stage.shop(f"Cancelled {type(either.ledger).__name__}{id(either)}", prices=[TIERS])
    plan = a_further_plan(stage, shop, FLAT, TIERS)
    subscription = stage.subscribe(Shop(shop.scope, plan.id))
    stage.send(shop, 100, at=october(11, 11))
    stage.send(shop, 50, first=100, at=october(11, 12))
    run(stage, cancel, shop, subscription, "now", october(11, 12))
    invoice = billed(stage, shop, date(2024, 10, 11))
    assert (invoice.period.start, invoice.period.end) == (october(1), october(11, 12))
    # 31.00 for 10.5 of 31 days, and what came before noon.
    assert lines(invoice) == of((1, 11, "1", "10.50"), (1, 11, "100", "11.00"))
    found = explain_event(stage.ledger, stage.warehouse, shop.scope, "acme_corp_001-120")
    assert [meter.unbilled_because for event in found.events for meter in event.meters] == ["subscription_ended"]


def test_events_in_a_trial_or_a_pause_say_why_they_are_not_billed(stage: Stage) -> None:
    shop = stage.shop(prices=[TIERS])
    subscription = stage.subscribe(shop, trial_end=october(11))
    run(stage, pause, shop, subscription, october(15), SET_UP)
    for number, day in enumerate((5, 20, 12)):
        stage.send(shop, 1, first=number, at=october(day))
    reasons = [
        explain_event(stage.ledger, stage.warehouse, shop.scope, f"acme_corp_001-{number}").events[0].meters[0]
        for number in range(3)
    ]
    assert [reason.unbilled_because for reason in reasons] == ["in_trial", "subscription_paused", None]


def test_an_end_in_the_past_cuts_the_draft_and_makes_later_ones_void(stage: Stage) -> None:
    shop = stage.shop(prices=[FLAT])
    subscription = stage.subscribe(shop, start_date=datetime(2024, 9, 1, tzinfo=UTC))
    stage.bill_by_steps_up_to_finalizing(date(2024, 10, 1))
    run(stage, cancel, shop, subscription, datetime(2024, 9, 16, tzinfo=UTC), stage.now)
    held = stage.bill_by_steps(date(2024, 9, 16))
    assert (len(held.invoices), held.held, held.failures) == (1, (), ())
    october_s, september_s = sorted(stage.invoices(shop), key=lambda one: one.period.start, reverse=True)
    assert (october_s.status, october_s.void_reason) == ("void", "the subscription ended before this period")
    # 15 of September's 30 days.
    assert (september_s.period.end.day, september_s.total) == (16, Decimal("15.50"))


def test_a_draft_of_a_changed_period_is_held_until_it_is_priced_anew(stage: Stage) -> None:
    shop = stage.shop(prices=[FLAT])
    subscription = stage.subscribe(shop)
    stage.bill_by_steps_up_to_finalizing()
    run(stage, pause, shop, subscription, october(21), stage.now)
    window = window_of_tags(partition_tags(BILLING_DAY, BILLING_DAY))
    (held,) = finalize_invoices(stage.ledger, *window, stage.now).held
    assert "the subscription has changed since the draft was priced" in held.reasons
    assert lines(billed(stage, shop)) == of((1, 21, "1", "20.00"))


def test_a_change_is_refused_once_its_period_is_final(stage: Stage) -> None:
    shop = stage.shop(prices=[FLAT])
    subscription = stage.subscribe(shop)
    before = billed(stage, shop)
    with pytest.raises(Conflict) as refused:
        run(stage, pause, shop, subscription, october(30), stage.now)
    assert (refused.value.code, "2024-11-01T00:00:00Z" in (refused.value.hint or "")) == ("period_finalized", True)
    run(stage, pause, shop, subscription, datetime(2024, 11, 1, tzinfo=UTC), stage.now)
    assert stage.invoices(shop) == [before]


def test_a_special_price_bills_from_its_moment_on_and_a_later_change_of_the_plan_does_not_reach_it(
    stage: Stage,
) -> None:
    shop = stage.shop(prices=[{"pricing_model": "per_unit", "unit_price": "0.10"}])
    subscription = stage.subscribe(shop)
    with stage.ledger.read() as session:
        price = plans.get_plan(session, shop.scope, shop.plan_id).prices[0].id
    special = SubscriptionChanges(overrides=[NewOverride(price, {"unit_price": "0.05", "discount_percent": "10"})])
    run(stage, change_terms, shop, subscription, october(11), SET_UP, wanted=special)
    with stage.ledger.begin() as session:
        dear = parse_price({"pricing_model": "per_unit", "unit_price": "9"})
        revise_price(session, shop.scope, price, dear, october(20), SET_UP, ApplyTo.RUNNING_PERIOD)
    stage.send(shop, 100, at=october(5))
    stage.send(shop, 100, first=100, at=october(25))
    invoice = billed(stage, shop)
    # 100 at the plan's 9, by which the whole period is billed; 100 at 0.05, less a tenth.
    assert lines(invoice) == of((1, 11, "100", "900.00"), (11, 1, "100", "4.50"))
    assert [line.price_id == price for line in invoice.lines] == [True, False]


def test_two_changes_at_once_are_both_kept_in_an_order(either: Stage) -> None:
    stage = either
    shop = stage.shop(f"Twice {type(either.ledger).__name__}{id(either)}", prices=[TIERS])
    plan = a_further_plan(stage, shop, FLAT)
    subscription = stage.subscribe(Shop(shop.scope, plan.id))
    seat = plan.prices[0].id

    def take(seats: int) -> SubscriptionRecord:
        wanted = SubscriptionChanges(quantities=[NewQuantity(seat, Decimal(seats))])
        return run(stage, change_terms, shop, subscription, october(11), stage.now, wanted=wanted)

    in_threads([lambda seats=seats: take(seats) for seats in (2, 3, 4)])  # type: ignore[misc]
    with stage.ledger.read() as session:
        record = subscriptions.get_subscription(session, shop.scope, subscription.id)
    assert [change.sequence for change in record.history] == [1, 2, 3]
    assert sorted(change.values["quantity"] for change in record.history) == ["2", "3", "4"]
    assert record.life().segment_at(october(11)).quantities == {seat: Decimal(record.history[-1].values["quantity"])}


def test_a_change_and_finalizing_at_once_leave_a_final_invoice_that_is_true(either: Stage) -> None:
    stage = either
    window = window_of_tags(partition_tags(BILLING_DAY, BILLING_DAY))
    outcomes = set()

    def try_to_finalize() -> str:
        return str(finalize_invoices(stage.ledger, *window, stage.now))

    for attempt in range(3):
        shop = stage.shop(f"Racing {attempt} {id(either)}", prices=[FLAT])
        subscription = stage.subscribe(shop)
        stage.bill_by_steps_up_to_finalizing()

        def try_to_pause(shop: Shop = shop, subscription: SubscriptionRecord = subscription) -> str:
            try:
                run(stage, pause, shop, subscription, october(11), stage.now)
            except Conflict as refused:
                return refused.code
            return "paused"

        outcome, _ = in_threads([try_to_pause, try_to_finalize])
        outcomes.add(outcome)
        (invoice,) = stage.invoices(shop)
        final = invoice.status is InvoiceStatus.FINALIZED
        assert final == (outcome == "period_finalized")
        assert recompute_invoice(stage.ledger, stage.warehouse, shop.scope, invoice.id, stage.now).same == final
    assert outcomes <= {"paused", "period_finalized"}


@pytest.mark.parametrize(
    ("terms", "effective", "day", "amounts"),
    [
        # From 31 January to 29 February are 29 days; the change is after 15 of them.
        pytest.param(
            {"start_date": datetime(2024, 1, 31, tzinfo=UTC)},
            datetime(2024, 2, 15, tzinfo=UTC),
            date(2024, 2, 29),
            ["16.03", "29.93"],
            id="31 January to leap day",
        ),
        pytest.param(
            {"start_date": datetime(2024, 3, 1, 5, tzinfo=UTC), "timezone": "America/New_York"},
            datetime(2024, 3, 10, 7, tzinfo=UTC),
            date(2024, 4, 1),
            # 218 of the 743 hours that March has where summer time begins, and 525 of them.
            ["9.10", "43.81"],
            id="a month without an hour",
        ),
    ],
)
def test_shares_go_by_the_time_that_the_calendar_gives_a_period(
    stage: Stage, terms: dict[str, Any], effective: datetime, day: date, amounts: list[str]
) -> None:
    shop = stage.shop(prices=[FLAT])
    pro = a_further_plan(stage, shop, {**FLAT, "amount": "62.00"})
    subscription = stage.subscribe(shop, **terms)
    change(stage, shop, subscription, NewChange(ChangeKind.PLAN_CHANGED, effective, {"plan_id": pro.id}))
    stage.bill_by_steps(day)
    first = min(stage.invoices(shop), key=lambda invoice: invoice.period)
    assert [str(line.amount) for line in first.lines] == amounts


@pytest.mark.parametrize(
    ("currency", "amount", "expected"),
    [
        pytest.param("JPY", "1000", ["323", "677"], id="JPY has no decimals"),
        pytest.param("KWD", "10", ["3.226", "6.774"], id="KWD has three"),
    ],
)
def test_parts_are_rounded_to_the_currency(stage: Stage, currency: str, amount: str, expected: list[str]) -> None:
    shop = stage.shop()
    flat = {"pricing_model": "flat", "amount": amount}
    one, two = (a_further_plan(stage, shop, flat, key=key, currency=currency) for key in ("one", "two"))
    subscription = stage.subscribe(Shop(shop.scope, one.id))
    change(stage, shop, subscription, NewChange(ChangeKind.PLAN_CHANGED, october(11), {"plan_id": two.id}))
    assert [str(line.amount) for line in billed(stage, shop).lines] == expected


def test_a_subscription_entered_late_gets_an_invoice_for_each_past_period_once(stage: Stage) -> None:
    shop = stage.shop(prices=[TIERS])
    stage.subscribe(shop, start_date=datetime(2024, 7, 31, tzinfo=UTC))
    stage.send(shop, 10, at=datetime(2024, 9, 5, tzinfo=UTC))
    for _ in range(2):
        done = stage.bill_by_steps(date(2024, 8, 1))
        assert (done.held, done.failures) == ((), ())
    found = sorted(stage.invoices(shop), key=lambda invoice: invoice.period)
    ends = [(invoice.period.end.month, invoice.period.end.day, str(invoice.total)) for invoice in found]
    assert ends == [(8, 31, "10.00"), (9, 30, "10.10"), (10, 31, "10.00")]


def test_usage_that_is_split_at_any_moments_is_as_much_as_it_was_in_one_part(stage: Stage) -> None:
    draw = Random(7)  # noqa: S311 - the same moments each time
    shop = stage.shop(prices=[TIERS])
    twins = [shop.plan_id, a_further_plan(stage, shop, TIERS, tier_progress="continue").id]
    twins.append(a_further_plan(stage, shop, TIERS, key="twin", tier_progress="continue").id)
    whole = stage.subscribe(shop, "whole")
    split = stage.subscribe(shop, "split")
    moments = sorted(october(1) + timedelta(seconds=draw.randrange(31 * 86_400)) for _ in range(7))
    changes = [
        NewChange(ChangeKind.PLAN_CHANGED, moment, {"plan_id": twins[1 + number % 2]})
        for number, moment in enumerate(moments)
    ]
    change(stage, shop, split, *changes)
    for number in range(12):
        at = draw.choice([october(1) + timedelta(seconds=draw.randrange(31 * 86_400)), draw.choice(moments)])
        for customer in ("whole", "split"):
            stage.send(shop, 100, customer, first=100 * number, at=at)
    stage.roll_up_by_steps()
    done = stage.bill_by_steps()
    assert (done.held, done.failures, len(done.invoices)) == ((), (), 2)
    (one,), parts = (stage.invoices(shop, each)[0].lines for each in (whole, split))
    assert (len(parts), one.quantity) == (8, Decimal(1200))
    assert sum(line.quantity for line in parts) == one.quantity
    assert sum(line.unrounded for line in parts) == one.unrounded == Decimal(21)
