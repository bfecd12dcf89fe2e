"""Corrections of events: one for each event, and what says whether anything was corrected in between."""

from ledger.db import Ledger
from ledger.store import event_corrections
from tests.support.ledger_rows import FEBRUARY, NOW, a_correction, a_scope, later


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
        found = event_corrections.touching(session, scope, ["acme", "beta", "other"])
        was, becomes = a_correction(**moved).timestamp, FEBRUARY.start
        assert found == {"acme": [(was, False)], "beta": [(becomes, False)]}
        event_corrections.mark_applied(session, scope, "cor_1", NOW)
        assert event_corrections.touching(session, scope, ["beta"]) == {"beta": [(becomes, True)]}


def test_a_correction_within_a_customer_counts_once_from_the_earlier_moment_on(ledger: Ledger) -> None:
    moved = {"corrected": "{}", "corrected_customer_id": "acme", "corrected_timestamp": FEBRUARY.start}
    with ledger.begin() as session:
        scope = a_scope(session)
        event_corrections.add(session, scope, a_correction(action="amend", **moved))
        was = a_correction().timestamp
        assert event_corrections.touching(session, scope, ["acme"]) == {"acme": [(was, False)]}
