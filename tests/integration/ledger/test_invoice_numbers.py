"""Gapless numbers and single invoices, whoever works at the same time."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import pytest
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from billing.errors import Conflict, GateFailed
from billing.one_off import OneOffItem
from billing.scope import Scope
from ledger.db import Ledger
from ledger.models import Invoice
from ledger.store import gates, invoices, subscriptions
from pipelines.steps.finalize_invoice import finalize_invoice
from pipelines.steps.one_off_invoice import NewOneOff, create_one_off
from tests.support.at_once import Workers, in_threads
from tests.support.ledger_rows import JANUARY, NOW, a_customer, a_draft, a_plan, a_scope, a_subscription, priced
from tests.support.waiting import wait_until


def several_subscriptions(session: Session, scope: Scope, count: int) -> list[subscriptions.SubscriptionRecord]:
    plan = a_plan(session, scope)
    return [
        a_subscription(session, scope, plan_id=plan.id, customer_id=a_customer(session, scope, f"c{number}").id)
        for number in range(count)
    ]


def several_drafts(session: Session, scope: Scope, count: int) -> list[str]:
    return [a_draft(session, scope, subscription=each).id for each in several_subscriptions(session, scope, count)]


def expected(count: int) -> list[str]:
    return [f"INV-202601-{number:05}" for number in range(1, count + 1)]


def wait_for_a_blocked_rival(ledger: Ledger) -> None:
    """Returns once another transaction waits for a row; on SQLite it waits at its very beginning, unseen."""
    blocked = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def somebody_waits() -> bool:
        with ledger.read() as session:
            return session.get_bind().dialect.name == "sqlite" or bool(session.execute(blocked).scalar())

    wait_until(somebody_waits)


def test_numbers_count_per_environment_and_month_of_finalizing(ledger: Ledger) -> None:
    with ledger.begin() as session:
        first, second = a_scope(session), a_scope(session, environment="second")
        mine, theirs = several_drafts(session, first, 3), several_drafts(session, second, 1)
        # Midnight in UTC decides, wherever the clock stands.
        last_of_january = datetime.fromisoformat("2026-02-01T00:59:59+01:00")
        february = datetime(2026, 2, 1, tzinfo=UTC)
        moments = [NOW, last_of_january, february]
        numbers = [
            invoices.finalize(session, first, invoice_id, at).number
            for invoice_id, at in zip(mine, moments, strict=True)
        ]
        numbers.append(invoices.finalize(session, second, theirs[0], NOW).number)
    assert numbers == ["INV-202601-00001", "INV-202601-00002", "INV-202602-00001", "INV-202601-00001"]


def test_a_rolled_back_or_refused_finalizing_leaves_no_gap(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        first, second = several_drafts(session, scope, 2)

    def finalize_and_fail(session: Session) -> None:
        invoices.finalize(session, scope, first, NOW)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        ledger.run(finalize_and_fail)
    with ledger.begin() as session:
        assert invoices.finalize(session, scope, first, NOW).number == "INV-202601-00001"
        with pytest.raises(Conflict):
            invoices.finalize(session, scope, first, NOW)
        assert invoices.finalize(session, scope, second, NOW).number == "INV-202601-00002"


def test_threads_that_finalize_several_each_in_any_order_neither_fail_nor_leave_gaps(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        drafts = several_drafts(session, scope, 8)

    def finalize_all(ids: list[str]) -> list[str | None]:
        with ledger.begin() as session:
            return [invoices.finalize(session, scope, invoice_id, NOW).number for invoice_id in ids]

    given = in_threads([lambda start=start: finalize_all(drafts[start::4]) for start in range(4)])  # type: ignore[misc]
    assert sorted(str(number) for some in given for number in some) == expected(8)


def test_one_invoice_finalized_by_several_at_once_gets_one_number(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        draft, next_draft = several_drafts(session, scope, 2)

    def finalize() -> str | None:
        try:
            return ledger.run(lambda session: invoices.finalize(session, scope, draft, NOW)).number
        except Conflict as refused:
            return refused.code

    assert sorted(map(str, in_threads([finalize] * 4))) == ["INV-202601-00001", *["invoice_not_draft"] * 3]
    with ledger.begin() as session:
        assert invoices.finalize(session, scope, next_draft, NOW).number == "INV-202601-00002"


def test_a_draft_priced_while_it_is_finalized_is_not_taken_for_what_was_checked(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        draft = priced(session, scope, several_drafts(session, scope, 1)[0], inputs_hash="checked")

    def finalize() -> str | None:
        try:
            with ledger.begin() as session:
                return invoices.finalize(session, scope, draft.id, NOW, expected_inputs_hash="checked").number
        except Conflict as refused:
            return refused.code

    with ThreadPoolExecutor(1) as other:
        with ledger.begin() as session:
            priced(session, scope, draft.id, "99.00", inputs_hash="unchecked")
            finalizing = other.submit(finalize)
            wait_for_a_blocked_rival(ledger)
        assert finalizing.result(30) == "invoice_changed"


def test_a_rival_that_has_its_invoice_already_waits_for_the_numbers_alone(ledger: Ledger) -> None:
    """Numbers are locked last: who holds them waits for no rows of another one."""
    with ledger.begin() as session:
        scope = a_scope(session)
        first, second, earlier = several_drafts(session, scope, 3)
        invoices.finalize(session, scope, earlier, NOW)

    def finalize_the_second() -> str | None:
        with ledger.begin() as session:
            return invoices.finalize(session, scope, second, NOW).number

    with ThreadPoolExecutor(1) as other:
        with ledger.begin() as session:
            assert invoices.finalize(session, scope, first, NOW).number == "INV-202601-00002"
            rival = other.submit(finalize_the_second)
            wait_for_a_blocked_rival(ledger)
        assert rival.result(60) == "INV-202601-00003"


def test_one_period_drafted_by_several_at_once_is_one_invoice(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        subscription = a_subscription(session, scope)

    def ensure() -> str:
        return ledger.run(lambda session: invoices.ensure_draft(session, scope, subscription, JANUARY, NOW)).id

    assert len(set(in_threads([ensure] * 4))) == 1


def test_pricing_at_once_leaves_the_lines_of_one_run(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        draft = a_draft(session, scope)

    def price(amount: str) -> None:
        ledger.run(lambda session: priced(session, scope, draft.id, amount))

    in_threads([lambda amount=f"{number}.00": price(amount) for number in range(1, 5)])  # type: ignore[misc]
    with ledger.read() as session:
        found = invoices.get_invoice(session, scope, draft.id)
    assert [line.amount for line in found.lines] == [found.total]


def test_processes_that_bill_the_same_subscriptions_make_each_invoice_once_and_without_gaps(
    ledger: Ledger, ledger_url: str, workers: Workers
) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        ids = [found.id for found in several_subscriptions(session, scope, 6)]
    given = workers.all_at_once("bill", ledger_url, scope.tenant_id, scope.environment_id, *ids)
    assert sorted(number for some in given for number in some) == expected(6)
    with ledger.read() as session:
        found = invoices.list_invoices(session, scope, limit=100).items
    assert sorted(str(invoice.number) for invoice in found) == expected(6)
    assert all(len(invoice.lines) == 1 for invoice in found)


def test_invoices_made_by_hand_share_the_numbers_without_gaps_whoever_finalizes_at_once(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        drafts = several_drafts(session, scope, 4)
        item = OneOffItem("Onboarding", amount=Decimal(5))
        by_hand = [create_one_off(session, scope, NewOneOff("c0", [item], "USD"), "key_1", NOW).id for _ in range(6)]

    def finalize_by_hand(invoice_id: str) -> str | None:
        return finalize_invoice(ledger, scope, invoice_id, "key_1", NOW).number

    def finalize(invoice_id: str) -> str | None:
        return ledger.run(lambda session: invoices.finalize(session, scope, invoice_id, NOW)).number

    calls = [partial(finalize_by_hand, invoice_id) for invoice_id in by_hand]
    # The same one from two sides is one number.
    calls += [partial(finalize_by_hand, by_hand[0]), *(partial(finalize, invoice_id) for invoice_id in drafts)]
    given = in_threads(calls)
    assert sorted({str(number) for number in given}) == expected(10)
    assert given[0] == given[6]


def test_a_one_off_invoice_that_its_gate_refuses_takes_no_number(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        a_customer(session, scope, "c0")
        item = OneOffItem("Onboarding", amount=Decimal(5))
        wrong, right = (create_one_off(session, scope, NewOneOff("c0", [item], "USD"), "key_1", NOW) for _ in range(2))
        tampered = {"total": Decimal("9.99"), "amount_due": Decimal("9.99")}
        session.execute(update(Invoice).where(Invoice.id == wrong.id).values(tampered))
    with pytest.raises(GateFailed) as refused:
        finalize_invoice(ledger, scope, wrong.id, "key_1", NOW)
    assert "total: the lines make 5.00, the invoice says 9.99" in refused.value.detail
    with ledger.read() as session:
        (verdict,) = gates.list_results(session, scope, gate="finalize", subject=wrong.id)
    assert not verdict.passed
    assert finalize_invoice(ledger, scope, right.id, "key_1", NOW).number == "INV-202601-00001"
