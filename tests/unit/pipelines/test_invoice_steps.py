"""From recorded quantities to finalized invoices, on a real ledger and without a warehouse."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import update

from billing.errors import Conflict
from billing.invoice import InvoiceStatus
from billing.period import Period
from billing.price_version import ApplyTo
from ledger.db import Ledger
from ledger.models import Invoice, Subscription
from ledger.store import audit, gates, invoices, plans, prices, quantities, subscriptions
from ledger.store.invoices import InvoiceRecord
from ledger.store.price_changes import add_price, archive_price, revise_price
from pipelines.steps.billing_day import BillingDay, billing_day
from pipelines.steps.draft_invoices import draft_invoices
from pipelines.steps.finalize_invoices import Finalized, finalize_invoices
from pipelines.steps.gate_invoices import QUANTITY_GATES, Corrections, Outcome, quantities_hash, store_outcomes
from pipelines.steps.gate_totals import gate_totals
from pipelines.steps.price_invoices import price_invoices
from tests.support.ledger_rows import FEBRUARY, JANUARY, a_customer, a_plan, a_quantity, a_scope, a_subscription

BILLING_DAY = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 2, tzinfo=UTC)
NOW = datetime(2026, 2, 2, 0, 15, tzinfo=UTC)


class Shop:
    """One environment with a plan of 10.00 flat and 0.01 a request."""

    def __init__(self, ledger: Ledger, tenant: str = "Acme Cloud") -> None:
        self.ledger = ledger
        with ledger.begin() as session:
            self.scope = a_scope(session, tenant)
            self.plan = a_plan(session, self.scope)

    def subscribe(self, customer: str = "acme", **other: object) -> subscriptions.SubscriptionRecord:
        """A customer on the plan since 1 January."""
        with self.ledger.begin() as session:
            customer_id = a_customer(session, self.scope, customer).id
            return a_subscription(session, self.scope, customer_id=customer_id, plan_id=self.plan.id, **other)

    def record(self, subscription_id: str, requests: int, passed: bool = True, **other: object) -> None:
        """January's requests, and what the gates that read the warehouse said about them."""
        quantity = a_quantity(
            subscription_id, self.plan, quantity=Decimal(requests), quantity_hash=f"q{requests}", **other
        )
        with self.ledger.begin() as session:
            quantities.put_quantity(session, self.scope, quantity)
            looked_at = quantities_hash([quantity], Corrections())
            detail = {"problems": [] if passed else ["stored 5, raw 6"]}
            subject = f"{subscription_id}@2026-01-01T00:00:00Z"
            outcomes = [Outcome(gate, self.scope, subject, looked_at, passed, detail) for gate in QUANTITY_GATES]
            store_outcomes(session, self.scope, outcomes, NOW)

    def invoice(self, subscription_id: str) -> InvoiceRecord:
        """The subscription's only invoice."""
        with self.ledger.read() as session:
            (found,) = invoices.list_invoices(session, self.scope, subscription_id=subscription_id).items
        return found


@pytest.fixture
def shop(ledger: Ledger) -> Shop:
    return Shop(ledger)


def a_day(ledger: Ledger, start: datetime, end: datetime, now: datetime = NOW) -> BillingDay:
    with ledger.read() as session:
        return billing_day(session, start, end, now)


def bill(ledger: Ledger, now: datetime = NOW) -> Finalized:
    draft_invoices(ledger, *BILLING_DAY, now)
    price_invoices(ledger, *BILLING_DAY, now, "1.0")
    gate_totals(ledger, *BILLING_DAY, now)
    return finalize_invoices(ledger, *BILLING_DAY, now)


def test_the_guides_usage_is_billed_with_its_flat_fee_on_one_invoice(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 15420)
    bill(shop.ledger)
    invoice = shop.invoice(subscription.id)
    assert (invoice.status, invoice.number, invoice.total) == (
        InvoiceStatus.FINALIZED,
        "INV-202602-00001",
        Decimal("164.20"),
    )
    assert [(line.price_type, line.quantity, line.amount) for line in invoice.lines] == [
        ("fixed", Decimal(1), Decimal("10.00")),
        ("usage", Decimal(15420), Decimal("154.20")),
    ]
    assert [line.key for line in invoice.lines] == [price.id for price in shop.plan.prices]


def test_M3_billing_again_writes_nothing_new(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 15420)
    draft_invoices(shop.ledger, *BILLING_DAY, NOW)
    assert [i.changed for i in price_invoices(shop.ledger, *BILLING_DAY, NOW, "1.0").invoices] == [True]
    priced = shop.invoice(subscription.id)
    later = NOW + timedelta(days=1)
    assert draft_invoices(shop.ledger, *BILLING_DAY, later).created == ()
    assert [i.changed for i in price_invoices(shop.ledger, *BILLING_DAY, later, "1.0").invoices] == [False]
    assert shop.invoice(subscription.id) == priced
    first = bill(shop.ledger)
    final = shop.invoice(subscription.id)
    assert [invoice.id for _, invoice in first.invoices] == [final.id]
    assert bill(shop.ledger, later) == Finalized((), (), ())
    assert shop.invoice(subscription.id) == final


def test_a_new_code_version_prices_an_open_draft_again(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 1)
    draft_invoices(shop.ledger, *BILLING_DAY, NOW)
    price_invoices(shop.ledger, *BILLING_DAY, NOW, "1.0")
    old = shop.invoice(subscription.id)
    price_invoices(shop.ledger, *BILLING_DAY, NOW, "1.1")
    new = shop.invoice(subscription.id)
    assert (old.code_version, new.code_version) == ("1.0", "1.1")
    assert old.inputs_hash != new.inputs_hash
    assert [line.id for line in old.lines] == [line.id for line in new.lines]


def test_a_subscription_that_begins_within_a_calendar_month_owes_its_share_of_the_flat_price(shop: Shop) -> None:
    subscription = shop.subscribe(start_date=datetime(2026, 1, 17, tzinfo=UTC), billing_anchor="calendar")
    shop.record(subscription.id, 100, period_start=datetime(2026, 1, 17, tzinfo=UTC))
    draft_invoices(shop.ledger, *BILLING_DAY, NOW)
    price_invoices(shop.ledger, *BILLING_DAY, NOW, "1.0")
    fixed, usage = shop.invoice(subscription.id).lines
    # 15 of 31 days of 10.00 are 4.8387…
    assert (fixed.amount, usage.amount) == (Decimal("4.84"), Decimal("1.00"))
    assert fixed.period == Period(datetime(2026, 1, 17, tzinfo=UTC), JANUARY.end)


def test_the_last_period_ends_where_the_subscription_does_and_is_billed_then_for_its_share(shop: Shop) -> None:
    ended = datetime(2026, 1, 11, tzinfo=UTC)
    subscription = shop.subscribe(end_date=ended)
    assert a_day(shop.ledger, *BILLING_DAY).due == ()
    last_day = ended, ended + timedelta(days=1)
    (due,) = a_day(shop.ledger, *last_day).due
    assert (due.period, due.full) == (Period(JANUARY.start, ended), JANUARY)
    shop.record(subscription.id, 0, segment_end=ended)
    draft_invoices(shop.ledger, *last_day, NOW)
    price_invoices(shop.ledger, *last_day, NOW, "1.0")
    # 10 of 31 days of 10.00 are 3.2258…
    assert shop.invoice(subscription.id).total == Decimal("3.23")
    march = datetime(2026, 3, 1, tzinfo=UTC)
    assert a_day(shop.ledger, march, march + timedelta(days=1), march + timedelta(days=2)).due == ()


@pytest.mark.parametrize(
    ("now", "due"),
    [
        pytest.param(datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC), 0, id="a moment before the period's end"),
        pytest.param(datetime(2026, 2, 1, tzinfo=UTC), 1, id="at the period's end"),
    ],
)
def test_a_period_is_due_once_it_has_ended(shop: Shop, now: datetime, due: int) -> None:
    shop.subscribe()
    assert len(a_day(shop.ledger, *BILLING_DAY, now).due) == due


def test_a_range_of_billing_days_holds_every_period_that_ends_in_it(shop: Shop) -> None:
    subscription = shop.subscribe()
    day = a_day(shop.ledger, BILLING_DAY[0], datetime(2026, 4, 2, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC))
    assert [(due.subscription.id, due.period.start.month) for due in day.due] == [
        (subscription.id, 1),
        (subscription.id, 2),
        (subscription.id, 3),
    ]


def test_a_draft_without_its_quantity_is_a_failure_and_the_others_are_priced(shop: Shop) -> None:
    without, with_quantity = shop.subscribe("one"), shop.subscribe("two")
    shop.record(with_quantity.id, 100)
    draft_invoices(shop.ledger, *BILLING_DAY, NOW)
    priced = price_invoices(shop.ledger, *BILLING_DAY, NOW, "1.0")
    assert [invoice.subscription_id for invoice in priced.invoices] == [with_quantity.id]
    assert [(failure.subject, failure.code) for failure in priced.failures] == [(without.id, "quantity_missing")]


def test_one_tenants_broken_subscription_stops_nobody_else(ledger: Ledger) -> None:
    broken, sound = Shop(ledger, "Broken"), Shop(ledger, "Sound")
    bad, good = broken.subscribe(), sound.subscribe()
    broken.record(bad.id, 1)
    sound.record(good.id, 100)
    with ledger.begin() as session:
        session.execute(update(Subscription).where(Subscription.id == bad.id).values(timezone="Nowhere/Town"))
    drafted = draft_invoices(ledger, *BILLING_DAY, NOW)
    assert [(failure.scope, failure.subject, failure.code) for failure in drafted.failures] == [
        (broken.scope, bad.id, "unknown_timezone")
    ]
    bill(ledger)
    assert sound.invoice(good.id).total == Decimal("11.00")


def test_M6_a_gate_that_did_not_pass_holds_its_invoice_and_no_other(shop: Shop) -> None:
    bad, good = shop.subscribe("one"), shop.subscribe("two")
    shop.record(bad.id, 5, passed=False)
    shop.record(good.id, 5)
    finalized = bill(shop.ledger)
    assert [invoice.subscription_id for _, invoice in finalized.invoices] == [good.id]
    (held,) = finalized.held
    assert held.subscription_id == bad.id
    assert "quantities_match_raw: stored 5, raw 6" in held.reasons
    with shop.ledger.read() as session:
        (verdict,) = gates.list_results(session, shop.scope, gate="finalize", subject=held.invoice_id)
    assert (verdict.passed, verdict.detail["problems"]) == (False, list(held.reasons))
    assert shop.invoice(bad.id).number is None


def test_M6_results_of_gates_that_looked_at_something_else_do_not_count(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 5)
    draft_invoices(shop.ledger, *BILLING_DAY, NOW)
    price_invoices(shop.ledger, *BILLING_DAY, NOW, "1.0")
    gate_totals(shop.ledger, *BILLING_DAY, NOW)
    price_invoices(shop.ledger, *BILLING_DAY, NOW, "1.1")
    (held,) = finalize_invoices(shop.ledger, *BILLING_DAY, NOW).held
    assert held.reasons == ("totals_match_lines has not run since something changed",)


def test_M6_without_any_gate_nothing_is_finalized(shop: Shop) -> None:
    subscription = shop.subscribe()
    with shop.ledger.begin() as session:
        quantities.put_quantity(session, shop.scope, a_quantity(subscription.id, shop.plan))
    draft_invoices(shop.ledger, *BILLING_DAY, NOW)
    (unpriced,) = finalize_invoices(shop.ledger, *BILLING_DAY, NOW).held
    assert unpriced.reasons == ("the draft is not priced",)
    price_invoices(shop.ledger, *BILLING_DAY, NOW, "1.0")
    (held,) = finalize_invoices(shop.ledger, *BILLING_DAY, NOW).held
    assert held.reasons == tuple(
        f"{gate} has not run"
        for gate in (
            "quantities_match_raw",
            "identities_count_once",
            "usage_events_are_usable",
            "quantities_as_expected",
            "totals_match_lines",
        )
    )


def test_M6_a_total_that_is_not_the_sum_of_its_lines_is_found_and_held(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 5)
    draft_invoices(shop.ledger, *BILLING_DAY, NOW)
    price_invoices(shop.ledger, *BILLING_DAY, NOW, "1.0")
    with shop.ledger.begin() as session:
        tampered = {"total": Decimal("9.99"), "amount_due": Decimal("9.99")}
        session.execute(update(Invoice).where(Invoice.subscription_id == subscription.id).values(tampered))
    (refused,) = gate_totals(shop.ledger, *BILLING_DAY, NOW).refused
    assert refused.detail["problems"] == [
        "total: the lines make 10.05, the invoice says 9.99",
        "amount_due: the lines make 10.05, the invoice says 9.99",
    ]
    (held,) = finalize_invoices(shop.ledger, *BILLING_DAY, NOW).held
    assert held.invoice_id == refused.subject


def test_M6_a_line_whose_amount_is_not_its_price_times_its_quantity_is_found(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 5)
    draft_invoices(shop.ledger, *BILLING_DAY, NOW)
    price_invoices(shop.ledger, *BILLING_DAY, NOW, "1.0")
    draft = shop.invoice(subscription.id)
    fixed, usage = draft.lines
    wrong = replace(usage, amount=Decimal("0.06"))
    with shop.ledger.begin() as session:
        invoices.replace_lines(
            session, shop.scope, draft.id, [fixed, wrong], draft.inputs_hash or "", draft.watermark, "1.0", NOW
        )
    (refused,) = gate_totals(shop.ledger, *BILLING_DAY, NOW).refused
    assert refused.detail["problems"] == [f"{usage.key}: rated anew the amount is 0.05, not 0.06"]


def test_quantities_that_changed_after_pricing_hold_the_invoice(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 5)
    draft_invoices(shop.ledger, *BILLING_DAY, NOW)
    price_invoices(shop.ledger, *BILLING_DAY, NOW, "1.0")
    gate_totals(shop.ledger, *BILLING_DAY, NOW)
    shop.record(subscription.id, 6)
    (held,) = finalize_invoices(shop.ledger, *BILLING_DAY, NOW).held
    assert held.reasons == ("the quantities have changed since the draft was priced",)
    assert [invoice.total for _, invoice in bill(shop.ledger).invoices] == [Decimal("10.06")]


def test_a_price_that_was_changed_during_the_period_holds_from_the_next_one(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 5)
    with shop.ledger.begin() as session:
        old = shop.plan.prices[0]
        revise_price(
            session,
            shop.scope,
            old.id,
            replace(old.price, amount=Decimal("20.00")),
            datetime(2026, 1, 25, tzinfo=UTC),
            NOW,
        )
    bill(shop.ledger)
    assert shop.invoice(subscription.id).lines[0].amount == Decimal("10.00")
    with shop.ledger.read() as session:
        plan = plans.get_plan(session, shop.scope, shop.plan.id, at=datetime(2026, 2, 1, tzinfo=UTC))
    assert plan.prices[0].price.amount == Decimal("20.00")


def test_a_price_that_was_changed_for_the_running_period_bills_all_of_it(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 5)
    old = shop.plan.prices[0]
    dearer = replace(old.price, amount=Decimal("20.00"))
    with shop.ledger.begin() as session:
        at = datetime(2026, 1, 25, tzinfo=UTC)
        revise_price(session, shop.scope, old.id, dearer, at, NOW, ApplyTo.RUNNING_PERIOD)
    bill(shop.ledger)
    line = shop.invoice(subscription.id).lines[0]
    assert (line.amount, line.price_version) == (Decimal("20.00"), 2)


def test_a_price_that_was_added_during_the_period_is_billed_from_the_next_one_and_an_archived_one_no_longer(
    shop: Shop,
) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 5)
    at = datetime(2026, 1, 25, tzinfo=UTC)
    with shop.ledger.begin() as session:
        new = plans.NewPrice(None, "Support", replace(shop.plan.prices[0].price, amount=Decimal("7.00")))
        added = add_price(session, shop.scope, shop.plan.id, new, at)
        archive_price(session, shop.scope, shop.plan.prices[0].id, at, at)
    bill(shop.ledger)
    assert [line.display_name for line in shop.invoice(subscription.id).lines] == ["Pro plan", "Requests"]
    with shop.ledger.read() as session:
        billed = prices.prices_billed_in(session, shop.scope, shop.plan.id, FEBRUARY)
    assert [price.id for price in billed] == [shop.plan.prices[1].id, added.id]


def test_M3_a_price_that_changed_after_pricing_holds_the_invoice_until_it_is_priced_again(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 5)
    draft_invoices(shop.ledger, *BILLING_DAY, NOW)
    price_invoices(shop.ledger, *BILLING_DAY, NOW, "1.0")
    gate_totals(shop.ledger, *BILLING_DAY, NOW)
    old = shop.plan.prices[0]
    with shop.ledger.begin() as session:
        cheaper = replace(old.price, amount=Decimal("9.00"))
        revise_price(session, shop.scope, old.id, cheaper, JANUARY.start, NOW, ApplyTo.RUNNING_PERIOD)
    (held,) = finalize_invoices(shop.ledger, *BILLING_DAY, NOW).held
    assert held.reasons == ("the prices have changed since the draft was priced",)
    assert [invoice.total for _, invoice in bill(shop.ledger).invoices] == [Decimal("9.05")]


def test_M3_a_change_that_would_reach_a_finalized_period_is_refused_and_the_invoice_stays(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 5)
    bill(shop.ledger)
    final = shop.invoice(subscription.id)
    old = shop.plan.prices[0]
    dearer = replace(old.price, amount=Decimal("20.00"))
    inside = JANUARY.end - timedelta(microseconds=1)
    refused = [(JANUARY.start, ApplyTo.NEXT_PERIOD), (inside, ApplyTo.RUNNING_PERIOD)]
    for at, apply_to in refused:
        with pytest.raises(Conflict) as caught, shop.ledger.begin() as session:
            revise_price(session, shop.scope, old.id, dearer, at, NOW, apply_to)
        assert (caught.value.code, caught.value.field) == ("period_finalized", "effective_from")
        with pytest.raises(Conflict), shop.ledger.begin() as session:
            archive_price(session, shop.scope, old.id, at, NOW, apply_to)
        with pytest.raises(Conflict), shop.ledger.begin() as session:
            add_price(session, shop.scope, shop.plan.id, plans.NewPrice(None, "x", old.price), NOW, at, apply_to)
    with shop.ledger.begin() as session:
        revise_price(session, shop.scope, old.id, dearer, inside, NOW)
        revise_price(session, shop.scope, old.id, old.price, JANUARY.end, NOW, ApplyTo.RUNNING_PERIOD)
    assert shop.invoice(subscription.id) == final
    assert bill(shop.ledger) == Finalized((), (), ())


def test_finalizing_is_in_the_audit_log(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 5)
    bill(shop.ledger)
    with shop.ledger.read() as session:
        (entry,) = audit.list_entries(session, shop.scope, entity="invoice").items
    assert (entry.action, entry.entity_id) == ("invoice.finalized", shop.invoice(subscription.id).id)
    assert (entry.detail["number"], entry.detail["total"]) == ("INV-202602-00001", "10.05")
