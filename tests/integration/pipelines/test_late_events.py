"""Events that come after their invoice was final are billed by the next one, once, as if they had been in time (M5)."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.invoice import BillingReason, InvoiceStatus
from billing.line_adjustment import AdjustmentState, Treatment
from ledger.store import credit_notes, invoices, tenants
from pipelines.steps.credit_invoice import NewCreditNote, issue_note
from pipelines.steps.finalize_invoices import finalize_invoices
from pipelines.steps.late_usage import find_late_usage
from pipelines.steps.recompute_invoice import recompute_invoice
from tests.integration.pipelines.late import (
    BEGIN,
    END,
    NOVEMBER_10,
    OCTOBER_10,
    adjustments,
    bill_up_to,
    by_month,
    look,
    october,
    price_up_to,
)
from tests.integration.pipelines.stage import Shop, Stage


def test_M5_a_late_event_is_on_the_next_invoice_with_what_its_tiers_make_of_it(stage: Stage) -> None:
    shop, _ = october(stage)
    # 900 x 0.01 + 10.00
    assert by_month(stage, shop)[10].total == Decimal("19.00")
    stage.send(shop, 600, first=900, at=OCTOBER_10)
    stage.send(shop, 10, first=5000, at=NOVEMBER_10)
    bill_up_to(stage, datetime(2024, 12, 2, tzinfo=UTC))
    november = by_month(stage, shop)[11]
    (line,) = november.adjustment_lines
    # 1000 x 0.01 + 10.00 + 500 x 0.008 = 24.00, of which 19.00 were billed
    assert (line.amount, line.quantity, line.price_type) == (Decimal("5.00"), Decimal(600), "adjustment")
    assert line.period == by_month(stage, shop)[10].period
    assert [row.amount for row in line.breakdown] == [Decimal("24.00"), Decimal("-19.00")]
    assert november.total == Decimal("10.10") + Decimal("5.00")
    (record,) = adjustments(stage, shop)
    assert (record.state, record.carried_by, record.events) == (AdjustmentState.BILLED, november.id, 600)
    again = recompute_invoice(stage.ledger, stage.warehouse, shop.scope, november.id, stage.now)
    assert again.same, (again.reasons, [line.reasons for line in again.lines])


def test_M5_nothing_is_billed_twice_however_often_it_runs_and_later_events_make_a_further_difference(
    stage: Stage,
) -> None:
    shop, _ = october(stage)
    stage.send(shop, 50, first=900, at=OCTOBER_10)
    price_up_to(stage, datetime(2024, 12, 2, tzinfo=UTC))
    price_up_to(stage, datetime(2024, 12, 2, tzinfo=UTC))
    first = by_month(stage, shop)[11]
    # More of it while the draft is open: the same adjustment grows, and the draft as it was is not finalized.
    stage.send(shop, 50, first=950, at=OCTOBER_10)
    find_late_usage(stage.ledger, stage.warehouse, stage.now)
    held = finalize_invoices(stage.ledger, BEGIN, END, stage.now)
    assert [reason for one in held.held for reason in one.reasons] == [
        "what earlier invoices have come to since has changed since the draft was priced"
    ]
    for _ in range(2):
        bill_up_to(stage, datetime(2024, 12, 3, tzinfo=UTC))
    second = by_month(stage, shop)[11]
    assert [line.amount for line in first.adjustment_lines] == [Decimal("0.50")]
    assert [line.amount for line in second.adjustment_lines] == [Decimal("1.00")]
    assert first.adjustment_lines[0].key == second.adjustment_lines[0].key
    stage.send(shop, 100, first=1000, at=OCTOBER_10)
    bill_up_to(stage, datetime(2025, 1, 2, tzinfo=UTC))
    assert [line.amount for line in by_month(stage, shop)[12].adjustment_lines] == [Decimal("0.80")]
    assert [one.amount for one in adjustments(stage, shop)] == [Decimal("1.00"), Decimal("0.80")]


def test_M5_an_adjustment_on_a_void_invoice_waits_for_the_next_one(stage: Stage) -> None:
    shop, _ = october(stage)
    stage.send(shop, 100, first=900, at=OCTOBER_10)
    bill_up_to(stage, datetime(2024, 12, 2, tzinfo=UTC))
    november = by_month(stage, shop)[11]
    with stage.ledger.begin() as session:
        invoices.void(session, shop.scope, november.id, stage.now, "tests")
    assert [one.state for one in adjustments(stage, shop)] == [AdjustmentState.PENDING]
    bill_up_to(stage, datetime(2025, 1, 2, tzinfo=UTC))
    assert [line.amount for line in by_month(stage, shop)[12].adjustment_lines] == [Decimal("1.00")]


def test_M5_of_several_open_drafts_the_first_one_carries_it(stage: Stage) -> None:
    shop, _ = october(stage)
    stage.send(shop, 100, first=900, at=OCTOBER_10)
    bill_up_to(stage, datetime(2025, 2, 2, tzinfo=UTC))
    found = by_month(stage, shop)
    assert [[line.amount for line in found[month].adjustment_lines] for month in (11, 12, 1)] == [
        [Decimal("1.00")],
        [],
        [],
    ]


def test_M5_what_changes_no_amount_is_kept_and_billed_by_nothing(stage: Stage) -> None:
    shop, _ = october(stage)
    # The same identity at another hour: received, and never counted.
    stage.send_again(shop, "acme_corp_001-1", "acme_corp_001", datetime(2024, 10, 11, tzinfo=UTC))
    bill_up_to(stage, datetime(2024, 12, 2, tzinfo=UTC))
    assert by_month(stage, shop)[11].adjustment_lines == ()
    (record,) = adjustments(stage, shop)
    assert (record.state, record.events, record.quantity) == (AdjustmentState.EVEN, 1, Decimal(900))


@pytest.mark.parametrize(("late", "amount"), [(600, "-1.00"), (50, "0.50")])
def test_M5_more_usage_may_cost_less(stage: Stage, late: int, amount: str) -> None:
    tiers = [{"up_to": 1000, "unit_price": "0.01"}, {"up_to": None, "unit_price": "0.00533333"}]
    shop = stage.shop(prices=[{"pricing_model": "tiered", "tier_mode": "volume", "tiers": tiers}])
    stage.subscribe(shop)
    stage.send(shop, 900, at=OCTOBER_10)
    bill_up_to(stage, datetime(2024, 11, 2, tzinfo=UTC))
    stage.send(shop, late, first=900, at=OCTOBER_10)
    bill_up_to(stage, datetime(2024, 12, 2, tzinfo=UTC))
    november = by_month(stage, shop)[11]
    assert [str(line.amount) for line in november.adjustment_lines] == [amount]
    assert (november.total, november.amount_due) == (Decimal(amount), max(Decimal(amount), Decimal(0)))


def treat(stage: Stage, shop: Shop, treatment: Treatment) -> None:
    with stage.ledger.begin() as session:
        tenants.set_late_events(session, shop.scope, treatment)


def test_M5_an_environment_may_have_it_billed_apart_at_once_and_once(stage: Stage) -> None:
    shop, _ = october(stage)
    treat(stage, shop, Treatment.SEPARATE_INVOICE)
    stage.send(shop, 100, first=900, at=OCTOBER_10)
    made = look(stage, datetime(2024, 11, 20, tzinfo=UTC))
    ((_, invoice),) = made.invoices
    assert (invoice.billing_reason, invoice.status, invoice.total) == (
        BillingReason.ADJUSTMENT,
        InvoiceStatus.FINALIZED,
        Decimal("1.00"),
    )
    assert look(stage, stage.now).invoices == ()
    assert recompute_invoice(stage.ledger, stage.warehouse, shop.scope, invoice.id, stage.now).same
    bill_up_to(stage, datetime(2024, 12, 2, tzinfo=UTC))
    assert by_month(stage, shop)[11].adjustment_lines == ()
    # Void, it is billed again: what is due stays due.
    with stage.ledger.begin() as session:
        invoices.void(session, shop.scope, invoice.id, stage.now, "tests")
    assert [each.total for _, each in look(stage, stage.now).invoices] == [Decimal("1.00")]


VOLUME = {
    "pricing_model": "tiered",
    "tier_mode": "volume",
    "tiers": [{"up_to": 1000, "unit_price": "0.01"}, {"up_to": None, "unit_price": "0.005"}],
}


def cheaper_october(stage: Stage) -> Shop:
    """October was billed at 9.00 and comes to 7.50 with what came late."""
    shop = stage.shop(prices=[VOLUME])
    stage.subscribe(shop)
    stage.send(shop, 900, at=OCTOBER_10)
    bill_up_to(stage, datetime(2024, 11, 2, tzinfo=UTC))
    treat(stage, shop, Treatment.CREDIT_NOTE)
    stage.send(shop, 600, first=900, at=OCTOBER_10)
    return shop


def test_M5_what_was_too_much_may_go_back_by_a_credit_note(stage: Stage) -> None:
    shop = cheaper_october(stage)
    made = look(stage, datetime(2024, 11, 20, tzinfo=UTC))
    ((_, note),) = made.credit_notes
    assert (note.total, note.invoice_id) == (Decimal("1.50"), by_month(stage, shop)[10].id)
    assert look(stage, stage.now).credit_notes == ()
    assert [one.state for one in adjustments(stage, shop)] == [AdjustmentState.CREDITED]
    # More of it: the next difference is against what was billed less the note.
    stage.send(shop, 300, first=2000, at=OCTOBER_10)
    bill_up_to(stage, datetime(2024, 12, 2, tzinfo=UTC))
    assert [line.amount for line in by_month(stage, shop)[11].adjustment_lines] == [Decimal("1.50")]


def test_M5_what_no_credit_note_can_give_back_is_on_the_next_invoice(stage: Stage) -> None:
    shop = cheaper_october(stage)
    with stage.ledger.begin() as session:
        issue_note(session, shop.scope, NewCreditNote(by_month(stage, shop)[10].id, "goodwill"), "tests", stage.now)
    made = look(stage, datetime(2024, 11, 20, tzinfo=UTC))
    assert (made.credit_notes, made.waiting) == ((), 1)
    bill_up_to(stage, datetime(2024, 12, 2, tzinfo=UTC))
    assert [line.amount for line in by_month(stage, shop)[11].adjustment_lines] == [Decimal("-1.50")]
    with stage.ledger.read() as session:
        assert len(credit_notes.list_notes(session, shop.scope).items) == 1


def test_M5_a_subscription_that_has_ended_gets_an_invoice_of_its_own(stage: Stage) -> None:
    shop, _ = october(stage, end_date=datetime(2024, 11, 1, tzinfo=UTC))
    stage.send(shop, 100, first=900, at=OCTOBER_10)
    made = look(stage, datetime(2024, 11, 20, tzinfo=UTC))
    assert [invoice.total for _, invoice in made.invoices] == [Decimal("1.00")]


def test_M5_an_event_that_came_while_the_invoice_was_a_draft_is_not_missed(stage: Stage) -> None:
    shop, _ = october(stage)
    # Entered late, so that its October is still open when a look is taken for the other one's.
    stage.subscribe(shop, "other_corp")
    stage.send(shop, 900, "other_corp", at=OCTOBER_10)
    price_up_to(stage, datetime(2024, 11, 2, 2, tzinfo=UTC))
    stage.send(shop, 100, "other_corp", first=900, at=OCTOBER_10)
    look(stage, datetime(2024, 11, 2, 3, tzinfo=UTC))
    assert len(finalize_invoices(stage.ledger, BEGIN, END, datetime(2024, 11, 2, 4, tzinfo=UTC)).invoices) == 1
    assert adjustments(stage, shop) == []
    look(stage, datetime(2024, 11, 2, 5, tzinfo=UTC))
    assert [(one.events, one.amount) for one in adjustments(stage, shop)] == [(100, Decimal("1.00"))]
