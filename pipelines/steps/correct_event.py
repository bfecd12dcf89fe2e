"""Voids or amends a received event: decided in the ledger, where it waits for nothing, then carried out.

One transaction holds the customers, asks for a final invoice that counts the event, and writes the correction with its
audit entry. From then on it will be done: by this call, by the same call again, or by the reconcile step. An invoice is
not finalized while a correction of its customer waits, nor before its checks have run on what the correction left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from billing.errors import Conflict, InvalidInput, NotFound
from billing.instant import format_instant
from billing.meter import Meter
from billing.scope import Scope
from ingestion.amendment import Amendment
from ingestion.event import Event
from ledger.db import Ledger
from ledger.ids import new_id
from ledger.store import audit, customers, event_corrections
from ledger.store.event_corrections import CorrectionRecord
from pipelines.steps.apply_corrections import apply_correction
from pipelines.steps.finalized_periods import EventPlace, meters_on_final_invoices, refuse_if_final
from warehouse_sql.client import Warehouse
from warehouse_sql.event_log import EventStatus, StoredEvent, identities_of, received_events
from warehouse_sql.readings import read_event

__all__ = ["Correction", "amend_event", "amendment_identity", "event_key", "void_event"]


@dataclass(frozen=True)
class Correction:
    """A correction that was carried out. `corrected_identity` is that of the event which takes the place, if any."""

    record: CorrectionRecord
    identity: str
    corrected_identity: str | None


def event_key(event: StoredEvent) -> str:
    """Stands for one received event in its environment, however often it is received again."""
    event_name, identity, content_hash, hour = event.key
    return sha256(msgspec.json.encode([event_name, identity, content_hash, format_instant(hour)])).hexdigest()


def amendment_identity(event: StoredEvent) -> str:
    """The identity of what takes the place of an event: always the same, so that it can be there only once."""
    return f"amendment_{event_key(event)}"


def void_event(
    ledger: Ledger,
    warehouse: Warehouse,
    scope: Scope,
    event_id: str,
    identity: str | None,
    reason: str,
    actor: str,
    now: datetime,
) -> Correction:
    """Take an event out of all usage. It stays stored, and what is sent under its identity later never counts.

    NotFound `event_not_found`; Conflict `event_already_voided`, `event_not_counted`, `event_ambiguous`,
    `event_being_corrected`, `period_finalized`; Unavailable.
    """
    found, finished = _settled(ledger, warehouse, scope, event_id, identity, now)
    for correction in finished:
        if correction.action == "void":
            return _correction(correction)
    return _correct(ledger, warehouse, scope, _the_counted(found), None, reason, actor, now)


def amend_event(
    ledger: Ledger,
    warehouse: Warehouse,
    scope: Scope,
    event_id: str,
    amendment: Amendment,
    actor: str,
    now: datetime,
) -> Correction:
    """Replace an event by what it should have been. Asking for what it is already since an amendment changes nothing.

    Errors as in `void_event`, and InvalidInput `nothing_to_amend` where the event was sent like that.
    """
    found, _ = _settled(ledger, warehouse, scope, event_id, amendment.identity, now)
    event = _the_counted(found)
    as_sent = _as_event(event, event.identity)
    corrected = amendment.of(as_sent)
    if corrected == as_sent:
        made_by = {amendment_identity(each): each for each in found if each.status is EventStatus.AMENDED}
        if event.identity not in made_by:
            raise InvalidInput(
                "nothing_to_amend", "The event was sent like this.", hint="Send what it should have been."
            )
        key = event_key(made_by[event.identity])
        with ledger.read() as session:
            return _correction(event_corrections.by_event_key(session, scope, [key])[key])
    return _correct(ledger, warehouse, scope, event, amendment, amendment.reason, actor, now)


def _settled(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, event_id: str, identity: str | None, now: datetime
) -> tuple[list[StoredEvent], list[CorrectionRecord]]:
    """What was received of an event id, once corrections that were cut off are finished; and these."""
    found = _received(warehouse, scope, event_id, identity)
    with ledger.read() as session:
        known = event_corrections.by_event_key(session, scope, [event_key(event) for event in found])
    waiting = [correction for correction in known.values() if correction.applied_at is None]
    for correction in waiting:
        apply_correction(ledger, warehouse, scope, correction, now)
    return (_received(warehouse, scope, event_id, identity) if waiting else found), waiting


def _received(warehouse: Warehouse, scope: Scope, event_id: str, identity: str | None) -> list[StoredEvent]:
    identities = identities_of(warehouse, scope, event_id)
    found = [event for event in received_events(warehouse, scope, identities) if event.event_id == event_id]
    if not found:
        raise NotFound("event_not_found", "There is no such event.", field="event_id")
    if identity is None:
        return found
    chosen = _lineage(found, identity)
    if not chosen:
        raise NotFound("identity_not_found", "is not an identity of this event", field="identity")
    return chosen


def _lineage(found: Sequence[StoredEvent], identity: str) -> list[StoredEvent]:
    """The events of an identity and those that took their places, one after the other."""
    wanted = {identity}
    # An amendment is received after what it amends.
    for event in found:
        if event.identity in wanted and event.status is EventStatus.AMENDED:
            wanted.add(amendment_identity(event))
    return [event for event in found if event.identity in wanted]


def _the_counted(found: Sequence[StoredEvent]) -> StoredEvent:
    counted = [event for event in found if event.status is EventStatus.COUNTED]
    if len(counted) == 1:
        return counted[0]
    if counted:
        raise Conflict(
            "event_ambiguous",
            f"{len(counted)} events with different identities have this event_id.",
            field="identity",
            hint="Send the identity of the one that is meant; GET /api/v1/events/{event_id} shows them.",
        )
    if any(event.status is EventStatus.VOIDED for event in found):
        raise Conflict("event_already_voided", "The event is voided already.", hint="Send a new event, with a new id.")
    if any(event.status is EventStatus.AMENDED for event in found):
        raise _rival()
    raise Conflict(
        "event_not_counted",
        "The event is left out already: another one was received before it under the same identity.",
        hint="GET /api/v1/events/{event_id} names the one that counts.",
    )


def _correct(
    ledger: Ledger,
    warehouse: Warehouse,
    scope: Scope,
    event: StoredEvent,
    amendment: Amendment | None,
    reason: str,
    actor: str,
    now: datetime,
) -> Correction:
    corrected = None if amendment is None else amendment.of(_as_event(event, amendment_identity(event)))
    places = [(EventPlace(event.event_name, event.customer_id, event.timestamp), event.texts)]
    if corrected is not None:
        moved = EventPlace(corrected.event_name, corrected.customer_id, corrected.timestamp)
        places.append((moved, corrected.texts()))
    not_fitting = [_not_fitting(ledger, warehouse, scope, place, texts) for place, texts in places]
    record = CorrectionRecord(
        id=new_id("cor", now),
        event_key=event_key(event),
        event_id=event.event_id,
        action="void" if corrected is None else "amend",
        reason=reason,
        actor=actor,
        customer_id=event.customer_id,
        timestamp=event.timestamp,
        event=msgspec.json.encode(event).decode(),
        corrected_customer_id=None if corrected is None else corrected.customer_id,
        corrected_timestamp=None if corrected is None else corrected.timestamp,
        corrected=None if corrected is None else msgspec.json.encode(corrected).decode(),
        requested_at=now,
        applied_at=None,
    )

    def decide(session: Session) -> None:
        customers.hold_customers(session, scope, {place.customer_id for place, _ in places})
        for (place, _), meters in zip(places, not_fitting, strict=True):
            refuse_if_final(session, scope, place, meters)
        if not event_corrections.add(session, scope, record):
            raise _rival()
        _audit(session, scope, record, event, corrected, now)

    ledger.run(decide)
    apply_correction(ledger, warehouse, scope, record, now)
    return _correction(record)


def _not_fitting(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, place: EventPlace, texts: dict[str, str | None]
) -> list[Meter]:
    """The meters on final invoices that do not take the event: it weighs nothing there."""
    with ledger.read() as session:
        meters = meters_on_final_invoices(session, scope, place)
    readings = read_event(warehouse, place.timestamp, texts, meters)
    return [meter for meter, reading in zip(meters, readings, strict=True) if not reading.fits]


def _as_event(event: StoredEvent, identity: str) -> Event:
    return Event(
        event_name=event.event_name,
        customer_id=event.customer_id,
        event_id=event.event_id,
        timestamp=event.timestamp,
        idempotency_key=identity,
        properties={**event.texts},
        timed=event.timed,
    )


def _audit(
    session: Session,
    scope: Scope,
    record: CorrectionRecord,
    event: StoredEvent,
    corrected: Event | None,
    now: datetime,
) -> None:
    detail: dict[str, Any] = {"correction_id": record.id, "reason": record.reason, "before": _shown(event)}
    if corrected is not None:
        detail["after"] = _shown(corrected)
    action = "event.voided" if corrected is None else "event.amended"
    audit.write(session, scope, record.actor, action, "event", record.event_id, detail, now)


def _shown(event: StoredEvent | Event) -> dict[str, Any]:
    """For the audit log. Properties as one text: not every text that an event may hold fits into a JSON column."""
    return {
        "identity": event.identity,
        "event_name": event.event_name,
        "customer_id": event.customer_id,
        "timestamp": format_instant(event.timestamp),
        "properties": msgspec.json.encode(
            event.properties if isinstance(event, StoredEvent) else event.texts()
        ).decode(),
    }


def _correction(record: CorrectionRecord) -> Correction:
    corrected = None if record.corrected is None else msgspec.json.decode(record.corrected, type=Event).identity
    return Correction(record, msgspec.json.decode(record.event, type=StoredEvent).identity, corrected)


def _rival() -> Conflict:
    return Conflict("event_being_corrected", "Another correction of this event came first.", hint="Look at it again.")
