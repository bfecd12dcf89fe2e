"""Alerts and finished runs in the ledger: one alert stands for a subject, a message has one sender at a time."""

import json
from datetime import timedelta

from ledger.db import Ledger
from ledger.store import alerts, pipeline_runs
from ledger.store.alerts import AlertRecord
from ledger.store.pipeline_runs import FinishedRun, RunTotal
from tests.support.at_once import in_threads
from tests.support.ledger_rows import NOW

LEASE = timedelta(minutes=2)


def opened(ledger: Ledger, subject: str = "env_1") -> AlertRecord | None:
    with ledger.begin() as session:
        return alerts.open_alert(session, "usage_late", subject, "usage is late", {"seconds": 7200}, NOW)


def test_of_a_kind_and_subject_one_alert_stands_and_it_may_come_again(ledger: Ledger) -> None:
    first = opened(ledger)
    assert first is not None
    assert opened(ledger) is None
    with ledger.begin() as session:
        assert alerts.resolve(session, first, NOW + LEASE)
        assert not alerts.resolve(session, first, NOW + LEASE)
        assert alerts.standing(session) == []
    again = opened(ledger)
    assert again is not None
    assert again.id != first.id
    with ledger.read() as session:
        assert [alert.resolved_at for alert in alerts.newest(session)] in ([None, NOW + LEASE], [NOW + LEASE, None])


def test_two_watches_at_once_open_one_alert(ledger: Ledger) -> None:
    assert len([found for found in in_threads([lambda: opened(ledger)] * 4) if found is not None]) == 1
    with ledger.read() as session:
        assert alerts.unsent(session)["open"][0] == 1


def test_a_message_is_held_by_one_sender_until_its_lease_is_over(ledger: Ledger) -> None:
    opened(ledger)
    with ledger.begin() as session:
        (held,) = alerts.claim_due(session, NOW, 10, LEASE)
        assert alerts.claim_due(session, NOW, 10, LEASE) == []
        (again,) = alerts.claim_due(session, NOW + LEASE, 10, LEASE)
        assert (again.id, again.body, again.attempts) == (held.id, held.body, 2)
        alerts.close_message(session, held.id, "sent", NOW)
        alerts.send_later(session, held.id, NOW, "too late to say")
        assert alerts.claim_due(session, NOW + 9 * LEASE, 10, LEASE) == []
    said = json.loads(held.body)
    assert (said["id"], said["event"], said["alert"]["detail"]) == (held.id, "alert.opened", {"seconds": 7200})


def test_what_was_given_up_is_sent_again_when_somebody_asks(ledger: Ledger) -> None:
    opened(ledger)
    with ledger.begin() as session:
        (held,) = alerts.claim_due(session, NOW, 10, LEASE)
        alerts.close_message(session, held.id, "failed", NOW, "the receiver answered 500")
        assert alerts.unsent(session)["failed"][0] == 1
        assert alerts.reopen_failed(session, NOW) == 1
        assert [message.id for message in alerts.claim_due(session, NOW, 10, LEASE)] == [held.id]


def test_an_old_alert_is_forgotten_with_its_messages_and_a_standing_one_is_not(ledger: Ledger) -> None:
    first, _ = opened(ledger), opened(ledger, "env_2")
    assert first is not None
    with ledger.begin() as session:
        alerts.resolve(session, first, NOW)
        assert alerts.purge(session, NOW) == 0
        assert alerts.purge(session, NOW + LEASE) == 1
        assert [alert.subject for alert in alerts.newest(session)] == ["env_2"]


def run(run_id: str, status: str, minutes: int, days: str = "2026-01-01") -> FinishedRun:
    return FinishedRun(run_id, "billing", days, status, NOW + timedelta(minutes=minutes), 1500)


def test_a_run_counts_once_and_stays_counted_when_it_is_forgotten(ledger: Ledger) -> None:
    with ledger.begin() as session:
        assert pipeline_runs.note(session, run("a", "failed", 0))
        assert not pipeline_runs.note(session, run("a", "failed", 0))
        assert pipeline_runs.note(session, run("b", "failed", 1))
        assert pipeline_runs.purge(session, NOW + timedelta(minutes=1)) == 1
        assert pipeline_runs.totals(session) == [RunTotal("billing", "failed", 2, 3000)]


def test_what_has_failed_last_is_failing_until_the_same_days_succeed(ledger: Ledger) -> None:
    with ledger.begin() as session:
        for done in (run("a", "succeeded", 0), run("b", "failed", 1), run("c", "failed", 1, days="2026-01-02")):
            pipeline_runs.note(session, done)
        assert [days for _, days, _, _ in pipeline_runs.failing(session)] == ["2026-01-01", "2026-01-02"]
        pipeline_runs.note(session, run("d", "succeeded", 2))
        assert [run_id for _, _, run_id, _ in pipeline_runs.failing(session)] == ["c"]
