"""Two batches of a billing day at once on PostgreSQL, one after the other on SQLite: the results are the same."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Lock

import pytest
from sqlalchemy.orm import Session

from billing.errors import Conflict, Unavailable
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit
from pipelines.steps import isolation
from pipelines.steps.draft_invoices import draft_invoices
from pipelines.steps.finalize_invoices import finalize_invoices
from pipelines.steps.gate_totals import gate_totals
from pipelines.steps.isolation import Failure, Turn, Worked, failure_of, in_batches, in_turns
from pipelines.steps.price_invoices import price_invoices
from tests.support.ledger_rows import a_scope
from tests.unit.pipelines.test_invoice_steps import BILLING_DAY, Shop, bill
from tests.unit.pipelines.test_invoice_steps import NOW as BILLED
from tests.unit.pipelines.test_isolation import ITEMS, NOW, written


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "BATCH", 2)


@pytest.fixture
def scope(ledger: Ledger) -> Scope:
    with ledger.begin() as session:
        return a_scope(session)


def test_two_batches_are_worked_on_at_once_but_never_two_of_one_customer(ledger: Ledger, scope: Scope) -> None:
    # The second batch has a customer of the first, and waits for it. The third one has none of the second.
    customers = dict(zip(ITEMS[:8], "abbcdefg", strict=True))
    together, running, lock = Barrier(2, timeout=60), set[str](), Lock()

    def work(session: Session, of: Scope, items: Sequence[str]) -> Worked[str]:
        whose = {customers[item] for item in items}
        with lock:
            assert running.isdisjoint(whose)
            running.update(whose)
        if whose & {"c", "d"} and ledger.takes_several:
            together.wait()
        audit.write_many(session, of, "me", "tested", "item", [(item, {}) for item in items], NOW)
        with lock:
            running.difference_update(whose)
        return list(items), []

    def failed(item: str, error: Exception) -> Failure:
        return failure_of(scope, item, NOW, error)

    assert in_batches(ledger, ITEMS[:8], lambda _: scope, work, failed, customers.__getitem__) == (ITEMS[:8], [])
    assert written(ledger) == ITEMS[:8]


def test_a_bad_item_of_two_batches_at_once_fails_alone_and_a_ledger_that_is_away_ends_the_run(
    ledger: Ledger, scope: Scope
) -> None:

    def work(session: Session, of: Scope, items: Sequence[str]) -> Worked[str]:
        audit.write_many(session, of, "me", "tested", "item", [(item, {}) for item in items], NOW)
        if "item_05" in items:
            raise Conflict("bad_item", "bad")
        return list(items), []

    def away(session: Session, of: Scope, items: Sequence[str]) -> Worked[str]:
        raise Unavailable("ledger_unreachable", "away", hint="Try again.", retry_after_seconds=1)

    def failed(item: str, error: Exception) -> Failure:
        return failure_of(scope, item, NOW, error)

    others = [item for item in ITEMS if item != "item_05"]
    bad = [Failure(scope, "item_05", NOW, "bad_item", "bad")]
    assert in_batches(ledger, ITEMS, lambda _: scope, work, failed, str) == (others, bad)
    assert written(ledger) == others
    with pytest.raises(Unavailable):
        in_batches(ledger, ITEMS, lambda _: scope, away, failed, str)


def test_what_has_to_be_in_order_is_done_batch_by_batch_though_two_are_worked_on(ledger: Ledger, scope: Scope) -> None:
    begun = [Event() for _ in range(len(ITEMS) // 2 + 1)]
    order: list[str] = []

    def work(session: Session, of: Scope, items: Sequence[str], my_turn: Turn) -> Worked[str]:
        number = ITEMS.index(items[0]) // 2
        begun[number].set()
        # The one after it has begun before it is done, but for the last one.
        if ledger.takes_several and number + 1 < len(ITEMS) // 2:
            assert begun[number + 1].wait(60)
        my_turn()
        order.extend(items)
        if number == 3:
            raise Conflict("bad_items", "bad")
        audit.write_many(session, of, "me", "tested", "item", [(item, {}) for item in items], NOW)
        return list(items), []

    def failed(item: str, error: Exception) -> Failure:
        return failure_of(scope, item, NOW, error)

    done, failures = in_turns(ledger, ITEMS, lambda _: scope, work, failed, str)
    others = [item for item in ITEMS if item not in {"item_06", "item_07"}]
    assert (done, [each.subject for each in failures], written(ledger)) == (others, ["item_06", "item_07"], others)
    assert list(dict.fromkeys(order)) == ITEMS


def test_numbers_follow_the_drafts_without_a_gap_through_several_batches(
    ledger: Ledger,
) -> None:
    shop = Shop(ledger)
    subscribed = [shop.subscribe(f"customer_{number}").id for number in range(7)]
    for number, subscription_id in enumerate(subscribed):
        # One is held back, and leaves no gap.
        shop.record(subscription_id, 100, passed=number != 3)
    finalized = bill(shop.ledger)
    assert [invoice.number for _, invoice in finalized.invoices] == [f"INV-202602-0000{n}" for n in range(1, 7)]
    assert [invoice.id for _, invoice in finalized.invoices] == sorted(invoice.id for _, invoice in finalized.invoices)
    assert [each.subscription_id for each in finalized.held] == [subscribed[3]]


def test_two_runs_of_several_batches_at_once_give_each_invoice_one_number(
    ledger: Ledger,
) -> None:
    shop = Shop(ledger)
    for number in range(9):
        shop.record(shop.subscribe(f"customer_{number}").id, 100)
    draft_invoices(shop.ledger, *BILLING_DAY, BILLED)
    price_invoices(shop.ledger, *BILLING_DAY, BILLED, "1.0")
    gate_totals(shop.ledger, *BILLING_DAY, BILLED)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(finalize_invoices, shop.ledger, *BILLING_DAY, BILLED) for _ in range(2)]
        done = [run.result() for run in runs]
    assert [(each.held, each.failures) for each in done] == [((), ()), ((), ())]
    numbers = sorted(invoice.number or "" for each in done for _, invoice in each.invoices)
    assert numbers == [f"INV-202602-0000{n}" for n in range(1, 10)]
