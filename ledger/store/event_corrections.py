"""Corrections of events: at most one for each received event, decided in one transaction and applied afterwards."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.models import EventCorrection
from ledger.store.rows import among, in_chunks, in_scope, insert_new, scope_of, scoped


@dataclass(frozen=True)
class CorrectionRecord:
    """`event` and `corrected` (None for a void) are JSON of the event as it was received and as it should have been.

    `event_key` stands for the one received event; `applied_at` is None until the warehouse has carried it out.
    """

    id: str
    event_key: str
    event_id: str
    action: str
    reason: str
    actor: str
    customer_id: str
    timestamp: datetime
    event: str
    corrected_customer_id: str | None
    corrected_timestamp: datetime | None
    corrected: str | None
    requested_at: datetime
    applied_at: datetime | None


class Touch(NamedTuple):
    """A correction of an event of a customer, or of one that becomes theirs: the first moment that it weighs at."""

    timestamp: datetime
    applied: bool


def add(session: Session, scope: Scope, record: CorrectionRecord) -> bool:
    """False when the event has a correction already."""
    return insert_new(session, EventCorrection, scoped(scope, **vars(record)))


def by_event_key(session: Session, scope: Scope, event_keys: Collection[str]) -> dict[str, CorrectionRecord]:
    """The corrections of those events that have one."""
    rows = select(EventCorrection).where(in_scope(EventCorrection, scope))
    return {
        row.event_key: _record(row)
        for some in in_chunks(event_keys)
        for row in session.scalars(rows.where(among(session, EventCorrection.event_key, some)))
    }


def mark_applied(session: Session, scope: Scope, correction_id: str, now: datetime) -> None:
    """The warehouse has carried it out; the first time counts."""
    this = and_(in_scope(EventCorrection, scope), EventCorrection.id == correction_id)
    session.execute(update(EventCorrection).where(this, EventCorrection.applied_at.is_(None)).values(applied_at=now))


def unapplied(session: Session, until: datetime, limit: int) -> list[tuple[Scope, CorrectionRecord]]:
    """Corrections of all environments, requested up to `until`, that are not carried out yet; oldest first."""
    rows = select(EventCorrection).where(EventCorrection.applied_at.is_(None), EventCorrection.requested_at <= until)
    ordered = rows.order_by(EventCorrection.requested_at, EventCorrection.id).limit(limit)
    return [(scope_of(row), _record(row)) for row in session.scalars(ordered)]


def touching(session: Session, scope: Scope, customer_ids: Collection[str]) -> dict[str, list[Touch]]:
    """External id -> the corrections that touch a customer's events; one without any is left out."""
    columns = (
        EventCorrection.id,
        EventCorrection.customer_id,
        EventCorrection.timestamp,
        EventCorrection.corrected_customer_id,
        EventCorrection.corrected_timestamp,
        EventCorrection.applied_at,
    )
    found: defaultdict[str, dict[str, Touch]] = defaultdict(dict)
    for some in in_chunks(customer_ids):
        for end in (EventCorrection.customer_id, EventCorrection.corrected_customer_id):
            for row in session.execute(
                select(*columns).where(in_scope(EventCorrection, scope), among(session, end, some))
            ):
                was, becomes = (row.customer_id, row.timestamp), (row.corrected_customer_id, row.corrected_timestamp)
                for customer_id in {was[0], becomes[0]} & set(some):
                    moments = [at for whose, at in (was, becomes) if whose == customer_id]
                    found[customer_id][row.id] = Touch(min(moments), row.applied_at is not None)
    return {customer_id: list(touches.values()) for customer_id, touches in found.items()}


def _record(row: EventCorrection) -> CorrectionRecord:
    return CorrectionRecord(
        id=row.id,
        event_key=row.event_key,
        event_id=row.event_id,
        action=row.action,
        reason=row.reason,
        actor=row.actor,
        customer_id=row.customer_id,
        timestamp=row.timestamp,
        event=row.event,
        corrected_customer_id=row.corrected_customer_id,
        corrected_timestamp=row.corrected_timestamp,
        corrected=row.corrected,
        requested_at=row.requested_at,
        applied_at=row.applied_at,
    )
