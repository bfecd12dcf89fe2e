"""Corrections of events: one for each event, and a count that says whether anything was corrected in between."""

from ledger.db import Ledger
from ledger.store import event_corrections
from ledger.store.event_corrections import state_of
from tests.support.ledger_rows import FEBRUARY, JANUARY, NOW, a_correction, a_scope, later


def test_an_event_is_corrected_once(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        assert event_corrections.add(session, scope, a_correction())
        assert not event_corrections.add(session, scope, a_correction(id="cor_2", action="amend"))
        assert event_corrections.unapplied(session, later(hours=-1), 10) == []
        [(_, waiting)] = event_corrections.unapplied(session, NOW, 10)
        assert waiting == a_correction()
        event_corrections.mark_applied(session, scope, "cor_1", NOW)
        event_corrections.mark_applied(session, scope, "cor_1", later(hours=1))
        assert event_corrections.unapplied(session, later(hours=2), 10) == []
        assert event_corrections.by_event_key(session, scope, ["key_1"])["key_1"].applied_at == NOW


def test_corrections_count_for_the_customers_and_times_that_an_event_had_before_and_after(ledger: Ledger) -> None:
    moved = {
        "action": "amend",
        "corrected": "{}",
        "corrected_customer_id": "beta",
        "corrected_timestamp": FEBRUARY.start,
    }
    with ledger.begin() as session:
        scope = a_scope(session)
        event_corrections.add(session, scope, a_correction(**moved))
        assert state_of(session, scope, "acme", JANUARY.start) == (0, 0)
        assert state_of(session, scope, "acme", JANUARY.end) == (1, 0)
        assert state_of(session, scope, "beta", FEBRUARY.start) == (0, 0)
        assert state_of(session, scope, "beta", FEBRUARY.end) == (1, 0)
        event_corrections.mark_applied(session, scope, "cor_1", NOW)
        assert state_of(session, scope, "beta", FEBRUARY.end) == (1, 1)


def test_a_text_that_a_json_column_cannot_hold_comes_back_as_it_was(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        odd = a_correction(event='{"properties": {"n": "\\u0000"}}')
        event_corrections.add(session, scope, odd)
        assert event_corrections.by_event_key(session, scope, ["key_1"])["key_1"] == odd
