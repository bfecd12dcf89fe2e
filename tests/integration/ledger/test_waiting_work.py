"""Inbox and outbox: each piece of work once, one worker at a time, nothing lost when a worker dies."""

from datetime import datetime

import pytest
from sqlalchemy.orm import Session

from billing.errors import NotFound
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import inbox, outbox
from tests.support.at_once import in_threads
from tests.support.ledger_rows import NOW, a_connection, a_scope, later


def receive(
    session: Session, scope: Scope, connection_id: str, event_id: str = "evt_1"
) -> tuple[inbox.InboxRecord, bool]:
    return inbox.receive(session, scope, connection_id, event_id, "invoice.paid", NOW, '{"id": 1}', NOW, "192.0.2.1")


def due_events(ledger: Ledger, now: datetime) -> list[str]:
    with ledger.begin() as session:
        return [record.id for _, record in inbox.claim_due(session, now, 10)]


def due_items(ledger: Ledger, now: datetime) -> list[str]:
    with ledger.begin() as session:
        return [record.entity_id for _, record in outbox.claim_due(session, now, 10)]


def test_S3_a_webhook_event_is_kept_once_also_when_delivered_several_times_at_once(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        connection = a_connection(session, scope)
    answers = in_threads([lambda: ledger.run(lambda session: receive(session, scope, connection.id))] * 4)
    assert len({record.id for record, _ in answers}) == 1
    assert sorted(fresh for _, fresh in answers) == [False, False, False, True]
    assert answers[0][0].payload == '{"id": 1}'


def test_an_event_is_worked_on_by_one_worker_until_its_lease_ends(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        event, _ = receive(session, scope, a_connection(session, scope).id)
    assert due_events(ledger, NOW) == [event.id]
    assert due_events(ledger, later(minutes=4)) == []
    with ledger.begin() as session:
        assert inbox.claim(session, scope, event.id, later(minutes=4)) is None
        again = inbox.claim(session, scope, event.id, later(minutes=5))
        assert again is not None
        assert again.attempts == 2
        inbox.mark_processed(session, scope, event.id, later(minutes=6))
        assert inbox.claim(session, scope, event.id, later(days=1)) is None
    assert due_events(ledger, later(days=1)) == []


def test_events_claimed_at_once_go_to_one_worker_each(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        connection = a_connection(session, scope)
        ids = [receive(session, scope, connection.id, f"evt_{number}")[0].id for number in range(8)]

    def claim() -> list[str]:
        with ledger.begin() as session:
            return [record.id for _, record in inbox.claim_due(session, NOW, 2)]

    claimed = [event_id for some in in_threads([claim] * 4) for event_id in some]
    assert len(claimed) == len(set(claimed))
    assert sorted(claimed + due_events(ledger, NOW)) == sorted(ids)


def test_a_failed_event_waits_and_is_given_up_in_the_end(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        event, _ = receive(session, scope, a_connection(session, scope).id)
    assert due_events(ledger, NOW) == [event.id]
    with ledger.begin() as session:
        inbox.mark_failed(session, scope, event.id, later(hours=1), "boom", NOW)
    assert due_events(ledger, later(minutes=59)) == []
    assert due_events(ledger, later(hours=1)) == [event.id]
    with ledger.begin() as session:
        inbox.mark_failed(session, scope, event.id, None, "boom again", later(hours=2))
        found = inbox.get_event(session, scope, event.id)
        assert (found.state, found.last_error, found.closed_at) == ("failed", "boom again", later(hours=2))
    assert due_events(ledger, later(days=9)) == []
    with ledger.begin() as session:
        inbox.reopen(session, scope, event.id, later(days=9))
        assert inbox.list_events(session, scope, state="open").items[0].attempts == 0
    assert due_events(ledger, later(days=9)) == [event.id]


def test_a_worker_that_lost_its_lease_cannot_undo_the_outcome(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        event, _ = receive(session, scope, a_connection(session, scope).id)
        inbox.mark_ignored(session, scope, event.id, "not ours", NOW)
        inbox.mark_failed(session, scope, event.id, later(hours=1), "late", NOW)
        found = inbox.get_event(session, scope, event.id)
    assert (found.state, found.last_error) == ("ignored", "not ours")


def test_an_event_needs_its_connection(ledger: Ledger) -> None:
    with ledger.begin() as session, pytest.raises(NotFound, match="no such connection"):
        receive(session, a_scope(session), "conn_none")


def test_open_work_is_asked_for_once_per_kind_and_row(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope, other = a_scope(session), a_scope(session, "Other")
        first = outbox.enqueue(session, scope, "invoice.sync", "inv_1", NOW)
        assert outbox.enqueue(session, scope, "invoice.sync", "inv_1", later(hours=1)).id == first.id
        assert outbox.enqueue(session, scope, "customer.sync", "inv_1", NOW).id != first.id
        assert outbox.enqueue(session, other, "invoice.sync", "inv_1", NOW).id != first.id
        outbox.done(session, scope, first.id, NOW)
        assert outbox.get_item(session, scope, first.id).state == "done"
        assert outbox.enqueue(session, scope, "invoice.sync", "inv_1", NOW).id != first.id


def test_work_asked_for_while_it_is_being_done_is_done_once_more(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        item = outbox.enqueue(session, scope, "invoice.sync", "inv_1", NOW)
    assert due_items(ledger, NOW) == ["inv_1"]
    with ledger.begin() as session:
        outbox.enqueue(session, scope, "invoice.sync", "inv_1", later(seconds=1))
    assert due_items(ledger, later(seconds=1)) == []
    with ledger.begin() as session:
        outbox.done(session, scope, item.id, later(seconds=2))
    assert due_items(ledger, later(seconds=2)) == ["inv_1"]
    with ledger.begin() as session:
        outbox.done(session, scope, item.id, later(seconds=3))
    assert due_items(ledger, later(days=1)) == []


def test_work_of_a_worker_that_died_is_due_again_after_the_lease(ledger: Ledger) -> None:
    with ledger.begin() as session:
        outbox.enqueue(session, a_scope(session), "invoice.sync", "inv_1", NOW)
    assert due_items(ledger, NOW) == ["inv_1"]
    assert due_items(ledger, later(minutes=5)) == ["inv_1"]


def test_work_that_is_put_off_waits_without_counting_as_failed(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        item = outbox.enqueue(session, scope, "invoice.collect", "inv_1", NOW)
    for day in range(3):
        assert due_items(ledger, later(days=day)) == ["inv_1"]
        with ledger.begin() as session:
            outbox.put_off(session, scope, item.id, later(days=day + 1))
            found = outbox.get_item(session, scope, item.id)
        assert (found.state, found.attempts, found.last_error) == ("open", 0, None)
        assert due_items(ledger, later(days=day, hours=23)) == []


def test_work_is_retried_later_or_given_up(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        item = outbox.enqueue(session, scope, "invoice.sync", "inv_1", NOW)
    due_items(ledger, NOW)
    with ledger.begin() as session:
        outbox.retry_later(session, scope, item.id, later(hours=1), "rate limited")
    assert due_items(ledger, later(minutes=59)) == []
    assert due_items(ledger, later(hours=1)) == ["inv_1"]
    with ledger.begin() as session:
        outbox.give_up(session, scope, item.id, "rejected", later(hours=2))
        found = outbox.list_items(session, scope, state="failed").items
        assert [(each.last_error, each.attempts) for each in found] == [("rejected", 2)]
    assert due_items(ledger, later(days=1)) == []
