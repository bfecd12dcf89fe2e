"""What is to be closed is found from an index, and is what reading every subscription finds: over random histories."""

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from random import Random

import pytest
from sqlalchemy import func, select, update

from billing.errors import TallyError
from billing.invoice import InvoiceStatus, content_hash
from billing.price import parse_price
from billing.price_version import ApplyTo
from billing.scope import Scope
from ledger.db import Ledger
from ledger.models import Invoice, Subscription
from ledger.store import invoices, plans, subscription_dues, subscriptions, tenants
from ledger.store.subscription_dues import MovedOn
from pipelines.steps.billing_day import billing_day, due_of
from pipelines.steps.change_prices import Timing, add_price
from pipelines.steps.change_subscription import (
    SubscriptionChanges,
    When,
    cancel,
    change_plan,
    change_terms,
    pause,
    resume,
    withdraw_cancellation,
)
from pipelines.steps.close_periods import days_to_close
from pipelines.steps.draft_invoices import draft_invoices
from pipelines.steps.invoice_parts import starts_of
from pipelines.steps.new_price import NewPlanPrice
from tests.support.ledger_rows import a_customer, a_scope

BEGIN = datetime(2024, 2, 20, tzinfo=UTC)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu")
GRACES = (timedelta(0), timedelta(hours=1), timedelta(days=3))
FLAT = parse_price({"pricing_model": "flat", "amount": "10"})
ADVANCE = parse_price({"pricing_model": "flat", "amount": "7", "billing_timing": "in_advance"})
TICK = timedelta(microseconds=1)


Days = dict[date, tuple[int, str]]


def found_by_reading_all(ledger: Ledger, now: datetime) -> Days:
    """Everything to close by billing day, from every subscription and every invoice: how many, and a hash of them."""
    first = datetime.combine((now - timedelta(days=35)).date(), time.min, UTC)
    with ledger.read() as session:
        graces = tenants.billing_graces(session)
        ended = billing_day(session, first, now + TICK, now).open
        starts = starts_of(session, first, now + TICK, now).open
        everybody = subscriptions.billable(session, BEGIN - timedelta(days=1000), first)
        late = [(scope, one) for scope, one in everybody if one.created_at >= first > one.start_date]
        closed = invoices.closed_periods(session, {(scope, one.id) for scope, one in late})
    past = [
        due_of(scope, one, period)
        for scope, one in late
        for period in one.periods_ending_in(one.start_date, first)
        if (scope, one.id, period.start) not in closed
    ]
    days: defaultdict[date, list[str]] = defaultdict(list)
    over = [due for due in ended if due.period.end <= now - graces[due.scope]]
    for due in (*over, *starts, *past):
        days[due.billed_at.date()].append(f"{due.scope.environment_id}:{due.subject}")
    return {day: (len(subjects), content_hash(sorted(subjects))[:16]) for day, subjects in days.items()}


def found_by_the_index(ledger: Ledger, now: datetime) -> Days:
    closing = days_to_close(ledger, now)
    assert closing.failures == ()
    return {day.day: (day.periods, day.attempt.split(":")[1]) for day in closing.days}


class History:
    """Environments whose subscriptions begin, change, end and are billed at random."""

    def __init__(self, ledger: Ledger, seed: int) -> None:
        self.ledger, self.now = ledger, BEGIN
        self.chance = Random(seed)  # noqa: S311 - to be repeated, guards nothing
        self.subscriptions: list[tuple[Scope, str]] = []
        self.plans: dict[Scope, list[str]] = {}
        for number, grace in enumerate(GRACES):
            with ledger.begin() as session:
                scope = a_scope(session, f"Tenant {seed}-{number}")
                tenants.set_billing_grace(session, scope, grace)
                a_customer(session, scope, "acme")
                self.plans[scope] = [
                    plans.create_plan(
                        session,
                        scope,
                        name=key,
                        key=key,
                        billing_period=interval,
                        interval=interval,
                        currency="USD",
                        prices=[plans.NewPrice(None, key, price)],
                        now=BEGIN,
                    ).id
                    for key, interval, price in (
                        ("monthly", "P1M", FLAT),
                        ("another", "P1M", FLAT),
                        ("weekly", "P1W", ADVANCE),
                    )
                ]

    def step(self) -> None:
        self.now += timedelta(minutes=self.chance.choice((5, 60, 61, 600, 3000, 9000)))
        what: Callable[[], None] = self.chance.choices(
            (self.subscribe, self.change, self.price, self.bill), weights=(4, 5, 1, 4)
        )[0]
        # What a history does not allow is refused, and changes nothing.
        with suppress(TallyError):
            what()

    def subscribe(self) -> None:
        scope = self.chance.choice(list(self.plans))
        start = self.now + timedelta(minutes=self.chance.randint(-80 * 1440, 5 * 1440))
        length = self.chance.choice((None, None, timedelta(days=self.chance.randint(1, 90))))
        with self.ledger.begin() as session:
            made = subscriptions.create_subscription(
                session,
                scope,
                customer_id="acme",
                plan_id=self.chance.choice(self.plans[scope]),
                start_date=self.chance.choice((start, self.now)),
                timezone=self.chance.choice(ZONES),
                end_date=None if length is None else start + length,
                billing_anchor=self.chance.choice(("subscription_start", "calendar")),
                now=self.now,
            )
        self.subscriptions.append((scope, made.id))

    def change(self) -> None:
        if not self.subscriptions:
            return
        scope, one = self.chance.choice(self.subscriptions)
        moment = self.now + timedelta(minutes=self.chance.randint(-10 * 1440, 20 * 1440))
        when = When(self.chance.choice(("now", "period_end", moment)), None, "key_1", self.now)
        ends = SubscriptionChanges(ends=True, end_date=self.chance.choice((None, moment)))
        plan = self.chance.choice(self.plans[scope])
        with self.ledger.begin() as session:
            match self.chance.randrange(6):
                case 0:
                    cancel(session, scope, one, when)
                case 1:
                    withdraw_cancellation(session, scope, one, when)
                case 2:
                    pause(session, scope, one, when)
                case 3:
                    resume(session, scope, one, when)
                case 4:
                    change_plan(session, scope, one, when, plan)
                case _:
                    change_terms(session, scope, one, ends, when)

    def price(self) -> None:
        """One that is billed in advance, also for the running period: it may make a start due that was not."""
        scope = self.chance.choice(list(self.plans))
        wanted = NewPlanPrice(ADVANCE, None, "seat", None, None)
        apply_to = self.chance.choice(list(ApplyTo))
        timing = Timing(self.chance.choice((None, self.now - timedelta(days=20))), apply_to)
        with self.ledger.begin() as session:
            add_price(session, scope, "key_1", self.chance.choice(self.plans[scope]), wanted, timing, self.now)

    def bill(self) -> None:
        """Drafts of some days, and some of them final; which invoice it is does not matter here."""
        last = self.now - timedelta(days=self.chance.choice((0, 0, 3, 20)))
        draft_invoices(self.ledger, last - timedelta(days=self.chance.choice((1, 40))), last, self.now)
        with self.ledger.begin() as session:
            drafts = session.scalars(select(Invoice.id).where(Invoice.status == InvoiceStatus.DRAFT.value))
            chosen = [one for one in sorted(drafts) if self.chance.random() < 0.7]
            closed = {"status": InvoiceStatus.VOID.value}
            session.execute(update(Invoice).where(Invoice.id.in_(chosen)).values(closed))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_what_is_to_be_closed_is_what_reading_every_subscription_finds(ledger: Ledger, seed: int) -> None:
    history = History(ledger, seed)
    total, looks = 0, 0
    for _ in range(80):
        history.step()
        expected = found_by_reading_all(ledger, history.now)
        assert found_by_the_index(ledger, history.now) == expected, history.now
        total += sum(periods for periods, _ in expected.values())
        with ledger.read() as session:
            looks += len(subscription_dues.may_be_due(session, history.now))
    assert total > 50
    # Whoever has nothing to close is not looked at again.
    assert looks <= total


def test_a_moment_that_was_set_back_meanwhile_is_not_moved_on(ledger: Ledger) -> None:
    history = History(ledger, 1)
    while not history.subscriptions:
        history.subscribe()
    scope, one = history.subscriptions[0]
    with ledger.begin() as session:
        session.execute(update(Subscription).values(due_from=BEGIN, start_date=BEGIN))
    with ledger.read() as session:
        (candidate,) = subscription_dues.may_be_due(session, BEGIN)
    with ledger.begin() as session:
        subscription_dues.look_again_at_starts(session, scope, BEGIN)
        subscription_dues.move_on(session, [MovedOn(candidate, None)])
        assert session.scalar(select(Subscription.due_from).where(Subscription.id == one)) == BEGIN
    with ledger.read() as session:
        (again,) = subscription_dues.may_be_due(session, BEGIN)
    with ledger.begin() as session:
        subscription_dues.move_on(session, [MovedOn(again, None)])
        assert session.scalar(select(func.count()).where(Subscription.due_from.is_not(None))) == 0
