"""Billing is safe to repeat: run again, run twice at once, cut off in the middle, or after events have come late."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from billing.invoice import InvoiceStatus
from ledger.store import meters
from pipelines.steps.invoice_hash import invoice_hash
from tests.integration.pipelines.stage import BILLING, BILLING_DAY, Stage, metadata_of
from warehouse_sql.usage import read_quantities

UP_TO_PRICES = BILLING[: BILLING.index("priced_invoices") + 1]


def test_M3_a_rerun_of_a_billing_day_writes_nothing_new(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 1500)
    stage.run(UP_TO_PRICES, BILLING_DAY)
    (draft,) = stage.invoices(shop)
    again = stage.run(UP_TO_PRICES, BILLING_DAY)
    assert metadata_of(again, "billable_quantities")["changed"] == 0
    assert metadata_of(again, "draft_invoices")["created"] == 0
    assert metadata_of(again, "priced_invoices")["changed"] == 0
    assert stage.invoices(shop) == [draft]
    stage.bill()
    (final,) = stage.invoices(shop)
    assert (final.id, final.lines, invoice_hash(final)) == (draft.id, draft.lines, invoice_hash(draft))
    stage.now += timedelta(days=1)
    assert metadata_of(stage.bill(), "billable_quantities")["settled"] == 1
    assert stage.invoices(shop) == [final]


def test_two_billing_runs_at_once_give_one_invoice(stage: Stage) -> None:
    shop = stage.shop()
    subscriptions = [stage.subscribe(shop, f"customer_{number}") for number in range(5)]
    for number in range(5):
        stage.send(shop, 100, f"customer_{number}")

    with ThreadPoolExecutor(2) as pool:
        finalized = [done for done in pool.map(lambda _: stage.bill_by_steps(), range(2)) if not done.failures]
    assert sum(len(done.invoices) for done in finalized) == 5
    invoices = stage.invoices(shop)
    assert sorted(invoice.subscription_id or "" for invoice in invoices) == sorted(s.id for s in subscriptions)
    assert sorted(invoice.number or "" for invoice in invoices) == [f"INV-202411-0000{n}" for n in range(1, 6)]
    assert {invoice.total for invoice in invoices} == {Decimal("11.00")}


def test_a_run_that_was_cut_off_after_any_step_is_finished_by_the_next_one(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 1500)
    for steps in range(1, len(BILLING)):
        stage.run(BILLING[:steps], BILLING_DAY)
    assert stage.bill().success
    (invoice,) = stage.invoices(shop)
    assert (invoice.status, invoice.total, invoice.number) == (
        InvoiceStatus.FINALIZED,
        Decimal("24.00"),
        "INV-202411-00001",
    )


def test_a_late_event_leaves_a_final_invoice_as_it_is(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 100)
    stage.bill_by_steps()
    (final,) = stage.invoices(shop)
    stage.send(shop, 100, first=100)
    stage.roll_up_by_steps()
    stage.bill_by_steps()
    assert stage.invoices(shop) == [final]
    assert final.total == Decimal("11.00")


def test_an_event_that_arrives_before_the_invoice_is_final_is_billed(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 100)
    stage.roll_up_by_steps()
    stage.run(UP_TO_PRICES, BILLING_DAY)
    stage.send(shop, 100, first=100)
    stage.bill_by_steps()
    (invoice,) = stage.invoices(shop)
    assert (invoice.status, invoice.total) == (InvoiceStatus.FINALIZED, Decimal("12.00"))


def test_M3_a_changed_meter_counts_every_open_period_and_no_finalized_one(stage: Stage) -> None:
    shop = stage.shop(aggregation="sum")
    stage.subscribe(shop, start_date=datetime(2024, 9, 1, tzinfo=UTC))
    stage.send(shop, 100, at=datetime(2024, 9, 10, tzinfo=UTC), tokens="2")
    stage.send(shop, 100, first=100, at=datetime(2024, 10, 10, tzinfo=UTC), tokens="2")
    stage.bill_by_steps(first=date(2024, 10, 1))
    finals = sorted(stage.invoices(shop), key=lambda invoice: invoice.period.start)
    assert [(i.lines[0].meter_version, i.lines[0].quantity) for i in finals] == [(1, Decimal(200)), (1, Decimal(200))]

    other = stage.shop("Beta Cloud", aggregation="sum")
    stage.subscribe(other)
    stage.send(other, 100, tokens="2")
    stage.run(UP_TO_PRICES, BILLING_DAY)
    assert stage.invoices(other)[0].lines[0].quantity == Decimal(200)
    for changed in (shop, other):
        with stage.ledger.begin() as session:
            meters.change_meter(session, changed.scope, "meter_api_requests", {"multiplier": "0.5"}, stage.now)
    stage.roll_up_by_steps()
    stage.bill_by_steps(first=date(2024, 10, 1))
    (invoice,) = stage.invoices(other)
    assert (invoice.lines[0].meter_version, invoice.lines[0].quantity) == (2, Decimal(100))
    assert sorted(stage.invoices(shop), key=lambda one: one.period.start) == finals

    # What was billed can be counted again, by the version that the invoice names.
    with stage.ledger.read() as session:
        named = meters.get_meter(session, shop.scope, "meter_api_requests", finals[1].lines[0].meter_version)
    period, watermark = finals[1].period, finals[1].lines[0].watermark
    again = read_quantities(stage.warehouse, shop.scope, named, period.start, period.end, None, watermark=watermark)
    assert again["acme_corp_001"].quantity_hash == finals[1].lines[0].quantity_hash
    assert again["acme_corp_001"].value == finals[1].lines[0].quantity


def test_E3_an_identity_that_came_for_two_customers_and_hours_is_billed_once(stage: Stage) -> None:
    shop = stage.shop()
    first, second = stage.subscribe(shop, "first"), stage.subscribe(shop, "second")
    stage.send(shop, 1, "first", at=datetime(2024, 10, 3, 9, tzinfo=UTC))
    stage.send_again(shop, "first-0", "first", datetime(2024, 10, 20, 9, tzinfo=UTC))
    stage.send_again(shop, "first-0", "second", datetime(2024, 10, 3, 9, tzinfo=UTC))
    stage.bill_by_steps()
    assert [stage.invoices(shop, s)[0].lines[0].quantity for s in (first, second)] == [Decimal(1), Decimal(0)]


def test_months_are_billed_by_one_run_over_their_billing_days(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop, start_date=datetime(2024, 8, 1, tzinfo=UTC))
    stage.send(shop, 1, at=datetime(2024, 8, 31, 23, 59, 59, 999999, tzinfo=UTC))
    stage.send(shop, 2, first=1, at=datetime(2024, 9, 1, tzinfo=UTC))
    stage.bill_by_steps(first=date(2024, 9, 1))
    invoices = sorted(stage.invoices(shop), key=lambda invoice: invoice.period.start)
    assert [(i.period.start.month, i.lines[0].quantity, i.number) for i in invoices] == [
        (8, Decimal(1), "INV-202411-00001"),
        (9, Decimal(2), "INV-202411-00002"),
        (10, Decimal(0), "INV-202411-00003"),
    ]
