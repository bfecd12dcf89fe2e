"""Corrections of events: at most one for each received event, decided in one transaction and applied afterwards."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.models import EventCorrection
from ledger.store.rows import in_chunks, in_scope, insert_new, scope_of, scoped


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


def add(session: Session, scope: Scope, record: CorrectionRecord) -> bool:
    """False when the event has a correction already."""
    return insert_new(session, EventCorrection, scoped(scope, **vars(record)))


def by_event_key(session: Session, scope: Scope, event_keys: Collection[str]) -> dict[str, CorrectionRecord]:
    """The corrections of those events that have one."""
    rows = select(EventCorrection).where(in_scope(EventCorrection, scope))
    return {
        row.event_key: _record(row)
        for some in in_chunks(event_keys)
        for row in session.scalars(rows.where(EventCorrection.event_key.in_(some)))
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


def state_of(session: Session, scope: Scope, customer_id: str, before: datetime) -> tuple[int, int]:
    """How many corrections touch a customer's events with timestamps before `before`, and how many are applied.

    Both only grow, so equal numbers mean that nothing was corrected in between. `customer_id` is the external one.
    """
    was = and_(EventCorrection.customer_id == customer_id, EventCorrection.timestamp < before)
    becomes = and_(EventCorrection.corrected_customer_id == customer_id, EventCorrection.corrected_timestamp < before)
    rows = select(func.count(), func.count(EventCorrection.applied_at)).select_from(EventCorrection)
    total, applied = session.execute(rows.where(in_scope(EventCorrection, scope), or_(was, becomes))).one()
    return total, applied


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
