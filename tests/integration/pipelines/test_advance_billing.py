"""Flat prices that are billed in advance: at the start, at each boundary, and settled when their period is over."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from bench.postgres import NoPostgres, create_database, running_postgres
from billing.errors import Conflict, InvalidInput
from billing.invoice import BillingReason, InvoiceStatus, PaymentStatus
from billing.subscription import ChangeKind
from ledger.db import Ledger
from ledger.store import subscriptions
from ledger.store.credit_notes import CreditNoteRecord
from ledger.store.invoices import InvoiceRecord
from ledger.store.subscription_changes import NewChange
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.close_periods import days_to_close
from pipelines.steps.credit_invoice import NewCreditNote, issue_note, void_note
from pipelines.steps.explain_line import explain_line
from pipelines.steps.finalize_invoices import finalize_invoices
from pipelines.steps.recompute_invoice import recompute_invoice
from pipelines.steps.upcoming_invoice import upcoming_invoice
from pipelines.steps.void_invoice import void_invoice
from tests.integration.pipelines.stage import Shop, Stage
from warehouse_sql.client import Warehouse

ADVANCE: Mapping[str, Any] = {"pricing_model": "flat", "amount": "31.00", "billing_timing": "in_advance"}
PER_UNIT: Mapping[str, Any] = {"pricing_model": "per_unit", "unit_price": "0.001"}
SEPTEMBER, OCTOBER, NOVEMBER = (datetime(2024, month, 1, tzinfo=UTC) for month in (9, 10, 11))
START, CYCLE = BillingReason.SUBSCRIPTION_START, BillingReason.SUBSCRIPTION_CYCLE


def bill(stage: Stage, first: datetime) -> list[InvoiceRecord]:
    """All invoices up to 1 November by when they are due, final; made again each is the same, billed again too."""
    shops = stage.bill_by_steps(first.date())
    assert (shops.held, shops.failures) == ((), ())
    return [invoice for _, invoice in shops.invoices]


def all_of(stage: Stage, shop: Shop) -> list[InvoiceRecord]:
    return sorted(stage.invoices(shop), key=lambda invoice: (invoice.billed_at, invoice.billing_reason))


def check_again(stage: Stage, shop: Shop, first: datetime) -> None:
    """A rerun writes nothing, and every invoice made again is the same to the byte."""
    before = all_of(stage, shop)
    assert stage.bill_by_steps(first.date()).invoices == ()
    assert all_of(stage, shop) == before
    for invoice in before:
        again = recompute_invoice(stage.ledger, stage.warehouse, shop.scope, invoice.id, stage.now)
        assert (again.same, again.again) == (True, invoice)


def said(invoice: InvoiceRecord) -> list[tuple[str, int, str]]:
    """What kind each line is of, the month it begins in, and its amount."""
    return [
        (line.key.partition("~")[2] or line.price_type, line.period.start.month, str(line.amount))
        for line in invoice.lines
    ]


def change(stage: Stage, shop: Shop, subscription: SubscriptionRecord, *changes: NewChange) -> SubscriptionRecord:
    with stage.ledger.begin() as session:
        held = subscriptions.hold_subscription(session, shop.scope, subscription.id)
        return subscriptions.change_subscription(session, shop.scope, held, changes, "key_1", stage.now)


def cancelled(end: datetime) -> NewChange:
    return NewChange(ChangeKind.CANCELLED, end, {"end_date": end.isoformat(), "previous_end_date": None})


def test_each_boundary_bills_what_ended_in_arrears_and_what_begins_in_advance(stage: Stage) -> None:
    shop = stage.shop(prices=[ADVANCE, PER_UNIT])
    stage.subscribe(shop, start_date=SEPTEMBER)
    stage.send(shop, 1000, at=datetime(2024, 9, 10, tzinfo=UTC))
    stage.send(shop, 2000, first=1000, at=datetime(2024, 10, 10, tzinfo=UTC))
    bill(stage, SEPTEMBER)
    found = all_of(stage, shop)
    assert [(invoice.billing_reason, invoice.number, said(invoice)) for invoice in found] == [
        (START, "INV-202411-00001", [("advance", 9, "31.00")]),
        (CYCLE, "INV-202411-00002", [("usage", 9, "1.00"), ("advance", 10, "31.00")]),
        (CYCLE, "INV-202411-00003", [("usage", 10, "2.00"), ("advance", 11, "31.00")]),
    ]
    check_again(stage, shop, SEPTEMBER)


def test_a_subscription_has_one_invoice_of_its_start_on_the_day_it_begins(stage: Stage) -> None:
    shop = stage.shop(prices=[ADVANCE, PER_UNIT])
    stage.now = datetime(2024, 10, 1, 12, tzinfo=UTC)
    stage.subscribe(shop)
    (day,) = days_to_close(stage.ledger, stage.now).days
    assert (day.day, day.periods) == (date(2024, 10, 1), 1)
    bill(stage, OCTOBER)
    (invoice,) = stage.invoices(shop)
    assert (invoice.status, invoice.total, invoice.period.start) == (
        InvoiceStatus.FINALIZED,
        Decimal("31.00"),
        OCTOBER,
    )
    assert days_to_close(stage.ledger, stage.now).days == ()
    check_again(stage, shop, OCTOBER)


@pytest.mark.parametrize(
    ("price", "other"),
    [
        pytest.param({**ADVANCE, "billing_timing": "in_arrears"}, {}, id="nothing in advance"),
        pytest.param({**ADVANCE, "amount": "0"}, {}, id="an advance of zero"),
        pytest.param(ADVANCE, {"trial_end": datetime(2024, 11, 1, tzinfo=UTC)}, id="a trial for the whole period"),
    ],
)
def test_where_nothing_is_due_at_the_start_there_is_no_invoice_of_it(
    stage: Stage, price: Mapping[str, Any], other: Mapping[str, Any]
) -> None:
    shop = stage.shop(prices=[price])
    stage.now = datetime(2024, 10, 1, 12, tzinfo=UTC)
    stage.subscribe(shop, **other)
    bill(stage, OCTOBER)
    assert stage.invoices(shop) == []
    assert days_to_close(stage.ledger, stage.now).days == ()


def test_a_pause_that_came_after_its_month_was_billed_comes_back_on_the_next_invoice(stage: Stage) -> None:
    shop = stage.shop(prices=[ADVANCE])
    subscription = stage.subscribe(shop)
    now, stage.now = stage.now, datetime(2024, 10, 1, 12, tzinfo=UTC)
    bill(stage, OCTOBER)
    change(
        stage,
        shop,
        subscription,
        NewChange(ChangeKind.PAUSED, datetime(2024, 10, 11, tzinfo=UTC)),
        NewChange(ChangeKind.RESUMED, datetime(2024, 10, 21, tzinfo=UTC)),
    )
    stage.now = now
    bill(stage, NOVEMBER)
    # Of 31 days 10 and 11 ran: 10.00 and 11.00 were due, 31.00 was billed.
    start, cycle = all_of(stage, shop)
    assert said(cycle) == [("true_up", 10, "-10.00"), ("advance", 11, "31.00")]
    assert (start.total, cycle.total) == (Decimal("31.00"), Decimal("21.00"))
    text = explain_line(stage.ledger, shop.scope, cycle.id, cycle.lines[0].id).text
    assert text.splitlines() == [
        "due for the period: 10.00",
        "due for the period: 11.00",
        "billed in advance: 31.00",
        "difference: -10.00 USD",
    ]
    check_again(stage, shop, OCTOBER)


def test_a_cancellation_gives_the_rest_back_and_bills_nothing_further(stage: Stage) -> None:
    shop = stage.shop(prices=[ADVANCE, PER_UNIT])
    subscription = stage.subscribe(shop)
    now, stage.now = stage.now, datetime(2024, 10, 1, 12, tzinfo=UTC)
    bill(stage, OCTOBER)
    stage.send(shop, 100, at=datetime(2024, 10, 10, tzinfo=UTC))
    change(stage, shop, subscription, cancelled(datetime(2024, 10, 21, tzinfo=UTC)))
    stage.now = now
    bill(stage, datetime(2024, 10, 21, tzinfo=UTC))
    _, final = all_of(stage, shop)
    assert said(final) == [("usage", 10, "0.10"), ("true_up", 10, "-11.00")]
    assert (final.total, final.amount_due, final.payment_status) == (
        Decimal("-10.90"),
        Decimal("0.00"),
        PaymentStatus.PAID,
    )
    check_again(stage, shop, OCTOBER)


def credit(stage: Stage, shop: Shop, invoice: InvoiceRecord, amount: str | None = None) -> CreditNoteRecord:
    wanted = NewCreditNote(invoice.id, "Goodwill", None if amount is None else Decimal(amount))
    with stage.ledger.begin() as session:
        return issue_note(session, shop.scope, wanted, "key_1", stage.now)


@pytest.mark.parametrize(
    ("credited", "line"),
    [
        pytest.param("4.00", "-7.00", id="a part of what is unused"),
        pytest.param("11.00", "0.00", id="what is unused"),
        pytest.param(None, "0.00", id="all of it, which stays credited"),
    ],
)
def test_what_a_credit_note_gave_back_of_an_advance_is_not_given_back_again(
    stage: Stage, credited: str | None, line: str
) -> None:
    shop = stage.shop(prices=[ADVANCE])
    subscription = stage.subscribe(shop)
    now, stage.now = stage.now, datetime(2024, 10, 1, 12, tzinfo=UTC)
    ((start,),) = [bill(stage, OCTOBER)]
    note = credit(stage, shop, start, credited)
    change(stage, shop, subscription, cancelled(datetime(2024, 10, 21, tzinfo=UTC)))
    stage.now = now
    bill(stage, datetime(2024, 10, 21, tzinfo=UTC))
    _, final = all_of(stage, shop)
    assert said(final) == [("true_up", 10, line)]
    text = explain_line(stage.ledger, shop.scope, final.id, final.lines[0].id).text
    known = "11.00" if credited is None else credited
    assert f"given back by credit notes already: {known}" in text.splitlines()
    check_again(stage, shop, OCTOBER)
    # The settlement has counted on the note.
    with pytest.raises(Conflict) as refused, stage.ledger.begin() as session:
        void_note(session, shop.scope, note.id, "A mistake", "key_1", stage.now)
    assert refused.value.code == "credit_note_settled"


def test_what_was_given_back_of_an_advance_is_not_credited_again(stage: Stage) -> None:
    shop = stage.shop(prices=[ADVANCE])
    subscription = stage.subscribe(shop)
    now, stage.now = stage.now, datetime(2024, 10, 1, 12, tzinfo=UTC)
    ((start,),) = [bill(stage, OCTOBER)]
    credit(stage, shop, start, "4.00")
    change(stage, shop, subscription, cancelled(datetime(2024, 10, 21, tzinfo=UTC)))
    stage.now = now
    bill(stage, datetime(2024, 10, 21, tzinfo=UTC))
    # 31.00 less 4.00 of the note and 7.00 of the settlement.
    with pytest.raises(InvalidInput, match=r"20\.00 USD are left") as refused:
        credit(stage, shop, start, "20.01")
    assert refused.value.code == "amount_over_left"
    later = credit(stage, shop, start, "5.00")
    check_again(stage, shop, OCTOBER)
    assert credit(stage, shop, start).total == Decimal("15.00")
    with stage.ledger.begin() as session:
        assert void_note(session, shop.scope, later.id, "A mistake", "key_1", stage.now).status == "void"
    assert credit(stage, shop, start).total == Decimal("5.00")
    check_again(stage, shop, OCTOBER)


def test_M6_a_note_on_an_advance_that_comes_after_pricing_holds_the_settlement(stage: Stage) -> None:
    shop = stage.shop(prices=[ADVANCE])
    subscription = stage.subscribe(shop)
    now, stage.now = stage.now, datetime(2024, 10, 1, 12, tzinfo=UTC)
    ((start,),) = [bill(stage, OCTOBER)]
    change(stage, shop, subscription, cancelled(datetime(2024, 10, 21, tzinfo=UTC)))
    stage.now = now
    day = date(2024, 10, 21)
    stage.bill_by_steps_up_to_finalizing(day)
    credit(stage, shop, start, "4.00")
    held = finalize_invoices(
        stage.ledger, datetime(2024, 10, 21, tzinfo=UTC), datetime(2024, 10, 22, tzinfo=UTC), stage.now
    ).held
    assert ["what was billed in advance has changed since the draft was priced" in one.reasons for one in held] == [
        True
    ]
    bill(stage, datetime(2024, 10, 21, tzinfo=UTC))
    assert said(all_of(stage, shop)[1]) == [("true_up", 10, "-7.00")]


def test_one_that_ends_with_its_period_is_billed_no_advance_of_the_next(stage: Stage) -> None:
    shop = stage.shop(prices=[ADVANCE])
    stage.subscribe(shop, end_date=NOVEMBER)
    bill(stage, OCTOBER)
    assert [said(invoice) for invoice in all_of(stage, shop)] == [[("advance", 10, "31.00")], []]
    check_again(stage, shop, OCTOBER)


def test_more_seats_in_a_month_that_was_billed_are_charged_for_their_share(stage: Stage) -> None:
    shop = stage.shop(prices=[ADVANCE])
    subscription = stage.subscribe(shop)
    now, stage.now = stage.now, datetime(2024, 10, 1, 12, tzinfo=UTC)
    ((start,),) = [bill(stage, OCTOBER)]
    price_id = start.lines[0].price_id
    seats = NewChange(
        ChangeKind.QUANTITY_CHANGED, datetime(2024, 10, 22, tzinfo=UTC), {"price_id": price_id, "quantity": "4"}
    )
    change(stage, shop, subscription, seats)
    stage.now = now
    bill(stage, NOVEMBER)
    # 21 days of one seat, 10 of four: 21.00 + 40.00 - 31.00; November for four.
    assert said(all_of(stage, shop)[1]) == [("true_up", 10, "30.00"), ("advance", 11, "124.00")]
    check_again(stage, shop, OCTOBER)


def test_what_a_void_invoice_billed_in_advance_is_due_at_the_end_and_not_voided_after_that(stage: Stage) -> None:
    shop = stage.shop(prices=[ADVANCE])
    stage.subscribe(shop, start_date=SEPTEMBER)
    now, stage.now = stage.now, datetime(2024, 9, 1, 12, tzinfo=UTC)
    ((start,),) = [bill(stage, SEPTEMBER)]
    void_invoice(stage.ledger, shop.scope, None, start.id, "key_1", "Wrong address", stage.now)
    stage.now = now
    bill(stage, SEPTEMBER)
    _, september, october = all_of(stage, shop)
    assert said(september) == [("true_up", 9, "31.00"), ("advance", 10, "31.00")]
    assert said(october) == [("advance", 11, "31.00")]
    with pytest.raises(Conflict) as refused:
        void_invoice(stage.ledger, shop.scope, None, september.id, "key_1", "Too late", stage.now)
    assert refused.value.code == "advance_settled"
    check_again(stage, shop, SEPTEMBER)


def test_an_invoice_waits_for_the_one_that_billed_its_period_in_advance(stage: Stage) -> None:
    shop = stage.shop(prices=[ADVANCE, PER_UNIT], aggregation="sum")
    stage.subscribe(shop, start_date=SEPTEMBER)
    # September cannot be final: one of its events has no usable value.
    stage.send(shop, 1, at=datetime(2024, 9, 10, tzinfo=UTC), tokens="many")
    held = stage.bill_by_steps(SEPTEMBER.date()).held
    waits = "the invoice that bills a part of this period in advance is not final yet"
    assert [waits in each.reasons for each in held] == [False, True]
    assert [invoice.status for invoice in all_of(stage, shop)] == [
        InvoiceStatus.FINALIZED,
        InvoiceStatus.DRAFT,
        InvoiceStatus.DRAFT,
    ]


def test_the_upcoming_invoice_shows_the_advance_and_what_will_be_settled(stage: Stage) -> None:
    shop = stage.shop(prices=[ADVANCE, PER_UNIT])
    subscription = stage.subscribe(shop)

    def upcoming(now: datetime) -> list[tuple[str, str]]:
        found = upcoming_invoice(stage.ledger, stage.warehouse, shop.scope, subscription.id, now)
        return [(line.key.partition("~")[2] or line.price_type, str(line.amount)) for line in found.lines]

    assert upcoming(SEPTEMBER) == [("advance", "31.00")]
    running = datetime(2024, 10, 15, tzinfo=UTC)
    # The invoice of the start is not there yet, but nothing of it will be billed twice.
    assert upcoming(running) == [("usage", "0.00"), ("advance", "31.00")]
    now, stage.now = stage.now, datetime(2024, 10, 1, 12, tzinfo=UTC)
    bill(stage, OCTOBER)
    subscription = change(stage, shop, subscription, cancelled(datetime(2024, 10, 21, tzinfo=UTC)))
    assert upcoming(running) == [("usage", "0.00"), ("true_up", "-11.00")]
    stage.now = now
    bill(stage, OCTOBER)
    assert [str(line.amount) for line in all_of(stage, shop)[1].lines] == ["0.00", "-11.00"]


@pytest.fixture(params=["sqlite", "postgresql"])
def on_both(request: pytest.FixtureRequest, shared_warehouse: Warehouse) -> Iterator[Stage]:
    """The pipeline on either database."""
    if request.param == "sqlite":
        yield request.getfixturevalue("stage")
        return
    try:
        with running_postgres() as admin:
            ledger = Ledger(create_database(admin, "advance"))
            ledger.migrate()
            with Stage.open(ledger, shared_warehouse, datetime(2024, 11, 2, 0, 15, tzinfo=UTC)) as opened:
                yield opened
            ledger.dispose()
    except NoPostgres as reason:
        pytest.skip(f"PostgreSQL half skipped: {reason}")


def test_two_runs_at_once_bill_each_start_and_each_boundary_once(on_both: Stage) -> None:
    stage = on_both
    shop = stage.shop(prices=[ADVANCE, PER_UNIT])
    for number in range(4):
        stage.subscribe(shop, f"customer_{number}")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: stage.bill_by_steps(OCTOBER.date()), range(2)))
    stage.bill_by_steps(OCTOBER.date())
    found = all_of(stage, shop)
    assert [(invoice.billing_reason, invoice.total) for invoice in found] == [
        *[(START, Decimal("31.00"))] * 4,
        *[(CYCLE, Decimal("31.00"))] * 4,
    ]
    assert sorted(invoice.number or "" for invoice in found) == [f"INV-202411-0000{n}" for n in range(1, 9)]
    check_again(stage, shop, OCTOBER)
