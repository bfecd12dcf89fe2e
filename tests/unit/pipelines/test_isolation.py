"""Work on many items: what fails of a batch is found, and fails alone."""

from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Barrier, Event, Lock

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.errors import Conflict, Unavailable
from billing.scope import Scope
from ledger.db import Ledger
from ledger.models import AuditEntry
from ledger.store import audit
from pipelines.steps import isolation
from pipelines.steps.isolation import Failure, Turn, Worked, apart, failure_of, in_batches, in_turns
from tests.support.ledger_rows import a_scope

NOW = datetime(2026, 2, 2, tzinfo=UTC)
ITEMS = [f"item_{number:02}" for number in range(16)]


@pytest.fixture
def scope(ledger: Ledger) -> Scope:
    with ledger.begin() as session:
        return a_scope(session)


def written(ledger: Ledger) -> list[str]:
    with ledger.read() as session:
        return sorted(session.scalars(select(AuditEntry.entity_id)))


def run(ledger: Ledger, scope: Scope, bad: set[str], seen: list[int]) -> Worked[str]:
    """A step that writes an entry for each item, and then fails where one of them is bad."""

    def work(session: Session, of: Scope, items: Sequence[str]) -> Worked[str]:
        seen.append(len(items))
        audit.write_many(session, of, "me", "tested", "item", [(item, {}) for item in items], NOW)
        if bad & set(items):
            raise Conflict("bad_item", "bad")
        return list(items), []

    return in_batches(ledger, ITEMS, lambda _: scope, work, lambda item, error: failure_of(scope, item, NOW, error))


def test_a_batch_without_a_bad_item_is_worked_on_once(ledger: Ledger, scope: Scope) -> None:
    seen: list[int] = []
    assert run(ledger, scope, set(), seen) == (ITEMS, [])
    assert seen == [16]
    assert written(ledger) == ITEMS


def test_a_bad_item_is_found_by_halves_and_the_others_are_written(ledger: Ledger, scope: Scope) -> None:
    seen: list[int] = []
    results, failures = run(ledger, scope, {"item_05"}, seen)
    others = [item for item in ITEMS if item != "item_05"]
    assert (results, written(ledger)) == (others, others)
    assert failures == [Failure(scope, "item_05", NOW, "bad_item", "bad")]
    # Halves down to the one, and each other half once.
    assert seen == [16, 8, 4, 4, 2, 1, 1, 2, 8]


def test_where_all_are_bad_each_is_said_so_and_nothing_is_written(ledger: Ledger, scope: Scope) -> None:
    results, failures = run(ledger, scope, set(ITEMS), [])
    assert (results, [failure.subject for failure in failures], written(ledger)) == ([], ITEMS, [])


def test_what_is_bad_without_the_ledger_costs_no_second_look(ledger: Ledger, scope: Scope) -> None:
    def look(item: str) -> int:
        if item == "item_03":
            raise Conflict("bad_item", "bad")
        return int(item[-2:])

    seen, failures = apart(ITEMS, look, lambda item, error: failure_of(scope, item, NOW, error))
    assert [number for _, number in seen] == [number for number in range(16) if number != 3]
    assert [failure.subject for failure in failures] == ["item_03"]


def test_a_ledger_that_is_away_is_no_items_fault(ledger: Ledger, scope: Scope) -> None:
    def away(item: str) -> int:
        raise Unavailable("ledger_unreachable", "away", hint="Try again.", retry_after_seconds=1)

    with pytest.raises(Unavailable):
        apart(ITEMS, away, lambda item, error: failure_of(scope, item, NOW, error))


def test_two_batches_are_worked_on_at_once_but_never_two_of_one_customer(
    ledger: Ledger, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "BATCH", 2)
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
    ledger: Ledger, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "BATCH", 2)

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


def test_what_has_to_be_in_order_is_done_batch_by_batch_though_two_are_worked_on(
    ledger: Ledger, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "BATCH", 2)
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
