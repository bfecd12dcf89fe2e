"""Gate results, the audit log, and answers kept under an Idempotency-Key."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from billing.errors import Conflict
from ledger.db import Ledger
from ledger.store import audit, gates, idempotency
from tests.support.at_once import in_threads
from tests.support.ledger_rows import NOW, a_scope, later


def test_M6_a_gate_has_passed_only_for_exactly_what_it_looked_at(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)

        def passed(subject_hash: str) -> bool:
            return gates.passed(session, scope, "no_conflicts", "inv_1", subject_hash)

        assert not passed("h1")
        gates.put_result(session, scope, "no_conflicts", "inv_1", "h1", True, {}, NOW)
        assert passed("h1")
        assert not passed("h2")
        gates.put_result(session, scope, "no_conflicts", "inv_1", "h1", False, {"conflicts": 2}, later(hours=1))
        assert not passed("h1")
        found = gates.list_results(session, scope, subject="inv_1")
        assert [(each.gate, each.passed, each.detail) for each in found] == [("no_conflicts", False, {"conflicts": 2})]


def test_the_audit_log_tells_who_did_what(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        first = audit.write(session, scope, "key_1", "invoice.voided", "invoice", "inv_1", {"reason": "x"}, NOW)
        second = audit.write(session, scope, "key_1", "plan.created", "plan", "plan_1", {}, later(hours=1))
        assert audit.list_entries(session, scope).items == [second, first]
        assert audit.list_entries(session, scope, entity="invoice", entity_id="inv_1").items == [first]


@pytest.mark.parametrize("statement", ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log"])
def test_the_audit_log_only_grows(ledger: Ledger, statement: str) -> None:
    with ledger.begin() as session:
        audit.write(session, a_scope(session), "key_1", "plan.created", "plan", "plan_1", {}, NOW)
    with pytest.raises(IntegrityError, match="only grows"), ledger.begin() as session:
        session.execute(text(statement))


def test_a_request_sent_twice_gets_the_first_answer(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        assert idempotency.reserve(session, scope, "k", "POST /plans", "b1", NOW) is None
        idempotency.complete(session, scope, "k", 201, '{"id": "plan_1"}')
        answer = idempotency.reserve(session, scope, "k", "POST /plans", "b1", later(hours=47))
        assert answer == idempotency.StoredAnswer(201, '{"id": "plan_1"}')


@pytest.mark.parametrize(("route", "body"), [("POST /plans", "b2"), ("POST /features", "b1")])
def test_a_key_used_for_another_request_is_refused(ledger: Ledger, route: str, body: str) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        idempotency.reserve(session, scope, "k", "POST /plans", "b1", NOW)
        with pytest.raises(Conflict) as caught:
            idempotency.reserve(session, scope, "k", route, body, NOW)
    assert caught.value.code == "idempotency_key_reused"


def test_of_several_requests_at_once_one_runs(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)

    def reserve() -> str:
        try:
            ledger.run(lambda session: idempotency.reserve(session, scope, "k", "POST /plans", "b1", NOW))
        except Conflict as refused:
            return refused.code
        return "runs"

    assert sorted(in_threads([reserve] * 4)) == [*["idempotency_key_in_use"] * 3, "runs"]


def test_a_key_is_free_again_after_a_release_a_crash_or_its_time(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)

        def reserve(minutes: float, body: str = "b1") -> object:
            return idempotency.reserve(session, scope, "k", "POST /plans", body, later(minutes=minutes))

        reserve(0)
        idempotency.release(session, scope, "k")
        assert reserve(0) is None
        assert reserve(2) is None  # The first one has been silent for the length of the lease.
        idempotency.complete(session, scope, "k", 201, "{}")
        idempotency.release(session, scope, "k")
        assert reserve(3) is not None
        two_days = 2 + 2 * 24 * 60
        assert reserve(two_days, "b2") is None


def test_old_answers_are_removed_and_younger_ones_stay(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        idempotency.reserve(session, scope, "old", "r", "b", NOW)
        idempotency.reserve(session, scope, "new", "r", "b", later(hours=1))
        assert idempotency.purge(session, later(days=2)) == 1
        with pytest.raises(Conflict):
            idempotency.reserve(session, scope, "new", "r", "b", later(hours=1))
