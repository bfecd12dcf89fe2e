"""Invoices: one per subscription and period, frozen once finalized, paid forwards only."""

from dataclasses import fields
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.invoice import LineDraft, PaymentStatus
from billing.rating import TierUse
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import connections, invoices, mappings, subscriptions
from ledger.store.subscriptions import SubscriptionRecord
from tests.support.ledger_rows import (
    FEBRUARY,
    JANUARY,
    NOW,
    a_connection,
    a_draft,
    a_line,
    a_plan,
    a_scope,
    a_subscription,
    later,
    priced,
)

CHANGED_TOTAL = "UPDATE invoices SET total = '99'"
ADDED_LINE = """
    INSERT INTO invoice_lines
    SELECT tenant_id, environment_id, 'line_2', invoice_id, 'again', 1, display_name, price_type, quantity, amount,
           unrounded, period_start, period_end, price_id, price_version, meter_id, meter_version, breakdown, watermark,
           quantity_hash, discount, tax, discounts, taxes
    FROM invoice_lines"""
CHANGED_LINE = "UPDATE invoice_lines SET amount = '99'"


def subscription_of(session: Session, scope: Scope, invoice: invoices.InvoiceRecord) -> SubscriptionRecord:
    return subscriptions.get_subscription(session, scope, invoice.subscription_id or "")


def test_there_is_one_invoice_per_subscription_and_period(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        subscription = a_subscription(session, scope)
        first = invoices.ensure_draft(session, scope, subscription, JANUARY, NOW)
        again = invoices.ensure_draft(session, scope, subscription, JANUARY, later(days=1))
        other = invoices.ensure_draft(session, scope, subscription, FEBRUARY, NOW)
    assert again == first
    assert other.id != first.id
    assert (first.status, first.payment_status, first.number, first.lines) == ("draft", "pending", None, ())
    assert (first.period, first.currency, str(first.total)) == (JANUARY, "USD", "0.00")


def test_M4_lines_come_back_in_order_with_all_that_explains_them(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan = a_plan(session, scope)
        draft = a_draft(session, scope, subscription=a_subscription(session, scope, plan_id=plan.id))
        usage = a_line(
            plan.prices[1].id,
            "usage",
            "108.50",
            price_type="usage",
            quantity=Decimal("1085.000000000001"),
            unrounded=Decimal("108.5000000000001"),
            meter_id="meter_requests",
            meter_version=1,
            breakdown=(
                TierUse(Decimal(1000), Decimal(1000), Decimal("0.1"), Decimal(0), Decimal(100)),
                TierUse(None, Decimal("85.000000000001"), Decimal("0.1"), Decimal(0), Decimal("8.5000000000001")),
            ),
            watermark=NOW,
            quantity_hash="q1",
        )
        fixed = a_line(plan.prices[0].id, "fixed", "10.00")
        found = invoices.replace_lines(session, scope, draft.id, [usage, fixed], "h1", NOW, "1.0", NOW)
    assert [{item.name: getattr(line, item.name) for item in fields(LineDraft)} for line in found.lines] == [
        {item.name: getattr(line, item.name) for item in fields(LineDraft)} for line in (usage, fixed)
    ]
    assert (str(found.subtotal), str(found.total), str(found.amount_due)) == ("118.50", "118.50", "118.50")
    assert (found.inputs_hash, found.watermark, found.code_version) == ("h1", NOW, "1.0")


def test_M3_pricing_again_gives_the_same_lines_with_the_same_ids(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan = a_plan(session, scope)
        draft = a_draft(session, scope, subscription=a_subscription(session, scope, plan_id=plan.id))
        lines = [a_line(plan.prices[0].id, key) for key in ("a", "b")]
        first = invoices.replace_lines(session, scope, draft.id, lines, "h1", NOW, "1.0", NOW)
        again = invoices.replace_lines(session, scope, draft.id, lines, "h1", NOW, "1.0", later(days=1))
        fewer = invoices.replace_lines(session, scope, draft.id, lines[1:], "h2", NOW, "1.0", later(days=2))
    assert again == first
    assert fewer.lines == first.lines[1:]
    assert str(fewer.total) == "10.00"


def test_a_negative_total_leaves_nothing_due(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        found = priced(session, scope, a_draft(session, scope).id, "-3.00")
    assert (str(found.total), str(found.amount_due)) == ("-3.00", "0.00")


def test_a_finalized_invoice_has_a_number_and_its_time(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        draft = priced(session, scope, a_draft(session, scope).id)
        found = invoices.finalize(session, scope, draft.id, NOW)
        assert invoices.get_invoice(session, scope, draft.id) == found
    assert (found.number, found.status, found.finalized_at) == ("INV-202601-00001", "finalized", NOW)
    assert (found.payment_status, found.paid_at) == ("pending", None)


def test_an_invoice_with_nothing_due_is_paid_when_finalized(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        found = invoices.finalize(session, scope, a_draft(session, scope).id, NOW)
    assert (found.payment_status, found.paid_at) == ("paid", NOW)


def test_M6_only_what_was_checked_is_finalized(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        draft = priced(session, scope, a_draft(session, scope).id, inputs_hash="h2")
        with pytest.raises(Conflict) as caught:
            invoices.finalize(session, scope, draft.id, NOW, expected_inputs_hash="h1")
        assert caught.value.code == "invoice_changed"
        assert invoices.finalize(session, scope, draft.id, NOW, expected_inputs_hash="h2").number == "INV-202601-00001"


def test_M3_a_finalized_invoice_is_neither_priced_nor_finalized_again(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        draft = priced(session, scope, a_draft(session, scope).id)
        final = invoices.finalize(session, scope, draft.id, NOW)
        with pytest.raises(Conflict, match="not a draft"):
            priced(session, scope, draft.id, "99.00")
        with pytest.raises(Conflict, match="not a draft"):
            invoices.finalize(session, scope, draft.id, later(days=1))
        assert invoices.get_invoice(session, scope, draft.id) == final


@pytest.mark.parametrize(
    "statement",
    [
        CHANGED_TOTAL,
        CHANGED_LINE,
        "UPDATE invoices SET amount_due = '0'",
        "UPDATE invoices SET number = 'INV-202601-00009'",
        "UPDATE invoices SET inputs_hash = NULL",
        "UPDATE invoices SET status = 'draft'",
        "DELETE FROM invoices",
        "DELETE FROM invoice_lines",
        ADDED_LINE,
    ],
)
def test_M3_the_database_refuses_to_change_a_finalized_invoice(ledger: Ledger, statement: str) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        draft = priced(session, scope, a_draft(session, scope).id)
        invoices.finalize(session, scope, draft.id, NOW)
    with pytest.raises(IntegrityError, match="finalized invoice"), ledger.begin() as session:
        session.execute(text(statement))


def test_the_database_lets_a_draft_change(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        priced(session, scope, a_draft(session, scope).id)
        for statement in (ADDED_LINE, CHANGED_LINE, "DELETE FROM invoice_lines", CHANGED_TOTAL, "DELETE FROM invoices"):
            session.execute(text(statement))


def test_a_void_invoice_stays_void_with_its_number(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        draft = priced(session, scope, a_draft(session, scope).id)
        final = invoices.finalize(session, scope, draft.id, NOW)
        voided = invoices.void(session, scope, draft.id, later(days=1))
        assert invoices.void(session, scope, draft.id, later(days=2)) == voided
        assert (voided.status, voided.voided_at, voided.number) == ("void", later(days=1), final.number)
        with pytest.raises(Conflict):
            invoices.finalize(session, scope, draft.id, NOW)
    with pytest.raises(IntegrityError, match="finalized invoice"), ledger.begin() as session:
        session.execute(text("UPDATE invoices SET status = 'finalized'"))


def test_S3_payment_states_move_forwards_whatever_order_they_arrive_in(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        invoice = invoices.finalize(session, scope, priced(session, scope, a_draft(session, scope).id).id, NOW)

        def report(status: PaymentStatus, paid: str, days: int) -> invoices.InvoiceRecord:
            details = {"last4": "4242"} if status is PaymentStatus.PAID else None
            return invoices.record_payment_state(
                session, scope, invoice.id, Decimal(paid), status, later(days=days) if details else None, details
            )

        report(PaymentStatus.FAILED, "0", 1)
        paid = report(PaymentStatus.PAID, "10.00", 2)
        assert (paid.payment_status, str(paid.amount_paid), paid.paid_at) == ("paid", "10.00", later(days=2))
        assert paid.payment_details == {"last4": "4242"}
        assert report(PaymentStatus.FAILED, "0", 3) == paid
        assert report(PaymentStatus.PENDING, "0", 3) == paid
        assert report(PaymentStatus.PAID, "10.00", 4) == paid
        refunded = report(PaymentStatus.REFUNDED, "10.00", 5)
        assert (refunded.payment_status, refunded.paid_at) == ("refunded", later(days=2))
        assert report(PaymentStatus.PAID, "10.00", 6) == refunded


def test_a_part_payment_adds_up_and_never_shrinks(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        invoice = invoices.finalize(session, scope, priced(session, scope, a_draft(session, scope).id).id, NOW)
        for amount, expected in (("4.00", "4.00"), ("7.00", "7.00"), ("4.00", "7.00")):
            found = invoices.record_payment_state(
                session, scope, invoice.id, Decimal(amount), PaymentStatus.PARTIALLY_PAID, None, None
            )
            assert str(found.amount_paid) == expected


def test_a_draft_cannot_be_paid(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        draft = a_draft(session, scope)
        with pytest.raises(Conflict, match="cannot be paid"):
            invoices.record_payment_state(session, scope, draft.id, Decimal(1), PaymentStatus.PAID, NOW, None)


def test_links_are_kept_and_do_not_erase_each_other(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        draft = a_draft(session, scope)
        invoices.finalize(session, scope, draft.id, NOW)
        invoices.set_links(session, scope, draft.id, "https://pay.example/i", None)
        found = invoices.set_links(session, scope, draft.id, None, "https://pay.example/pdf")
        assert (found.stripe_hosted_invoice_url, found.invoice_pdf_url) == (
            "https://pay.example/i",
            "https://pay.example/pdf",
        )
        with pytest.raises(NotFound):
            invoices.set_links(session, scope, "inv_none", None, None)


def test_drafts_of_are_those_whose_period_ends_in_the_range(ledger: Ledger) -> None:
    with ledger.begin() as session:
        first, second = a_scope(session), a_scope(session, "Other")
        january = a_draft(session, first)
        other = a_draft(session, second)
        a_draft(session, first, FEBRUARY, subscription=subscription_of(session, first, january))
        day = timedelta(days=1)
        found = invoices.drafts_of(session, JANUARY.end, JANUARY.end + day)
        assert {(scope, draft.id) for scope, draft in found} == {(first, january.id), (second, other.id)}
        assert invoices.drafts_of(session, JANUARY.end - day, JANUARY.end) == []
        invoices.finalize(session, second, other.id, NOW)
        left = invoices.drafts_of(session, JANUARY.end, JANUARY.end + day)
        assert [(scope, draft.id, draft.period) for scope, draft in left] == [(first, january.id, JANUARY)]


def test_S1_to_sync_lists_a_finalized_invoice_until_its_mapping_is_done(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        draft = a_draft(session, scope)

        def waiting() -> list[str]:
            found = invoices.to_sync(session, JANUARY.end, JANUARY.end + timedelta(days=1))
            return [record.id for _, record in found]

        connection = a_connection(session, scope)
        assert waiting() == []
        invoices.finalize(session, scope, draft.id, NOW)
        assert waiting() == [draft.id]
        mappings.intend(session, scope, connection.id, "invoice", draft.id, NOW)
        for state in ("intended", "created", "failed", "finalized"):
            mappings.record(session, scope, connection.id, "invoice", draft.id, state=state, now=NOW)
            assert waiting() == [draft.id]
        connections.update_connection(session, scope, connection.id, {"status": "disabled"})
        assert waiting() == []
        connections.update_connection(session, scope, connection.id, {"status": "active"})
        subscription = subscriptions.get_subscription(session, scope, draft.subscription_id or "")
        other = a_draft(session, scope, FEBRUARY, subscription=subscription)
        invoices.finalize(session, scope, other.id, NOW)
        assert waiting() == [draft.id]
        mappings.record(session, scope, connection.id, "invoice", draft.id, state="done", now=NOW)
        assert waiting() == []
        later = invoices.to_sync(session, FEBRUARY.end, FEBRUARY.end + timedelta(days=1))
        assert [record.id for _, record in later] == [other.id]


def test_lists_are_filtered(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        first = a_draft(session, scope)
        second = a_draft(session, scope, FEBRUARY, subscription=subscription_of(session, scope, first))
        invoices.finalize(session, scope, second.id, NOW)

        def ids(**wanted: str | None) -> set[str]:
            return {found.id for found in invoices.list_invoices(session, scope, **wanted).items}  # type: ignore[arg-type]

        assert ids(customer_id=first.customer_id) == {first.id, second.id}
        assert ids(subscription_id=first.subscription_id, status="draft") == {first.id}
        assert ids(payment_status="paid") == {second.id}
        assert ids(customer_id="cus_none") == set()
