"""Work on many items: what fails of a batch is found, and fails alone."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.errors import Conflict, Unavailable
from billing.scope import Scope
from ledger.db import Ledger
from ledger.models import AuditEntry
from ledger.store import audit
from pipelines.steps.isolation import Failure, Worked, apart, failure_of, in_batches
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
