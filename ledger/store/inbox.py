"""The webhook inbox: each of the provider's events once, kept before it is answered, worked off afterwards."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.orm import Session

from billing.errors import NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import InboxEvent, WebhookDelivery
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.connections import get_connection
from ledger.store.rows import in_scope, insert_new, scope_of, scoped

LEASE = timedelta(minutes=5)


@dataclass(frozen=True)
class InboxRecord:
    """`state` is open, processed, ignored or failed (given up); `created` is the provider's time of the event."""

    id: str
    connection_id: str
    provider_event_id: str
    type: str
    created: datetime
    payload: str
    state: str
    attempts: int
    due_at: datetime
    last_error: str | None
    received_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True)
class DeliveryRecord:
    """One verified delivery; `fresh` is the one that brought the event, `source` where it came from."""

    source: str
    fresh: bool
    received_at: datetime


def receive(
    session: Session,
    scope: Scope,
    connection_id: str,
    provider_event_id: str,
    type: str,  # noqa: A002 - the provider's word
    created: datetime,
    payload: str,
    now: datetime,
    source: str,
) -> tuple[InboxRecord, bool]:
    """Keeps an event; (the record, True) the first time, (the one kept then, False) afterwards. Each delivery is noted.

    NotFound `connection_not_found`.
    """
    get_connection(session, scope, connection_id)
    values = scoped(
        scope,
        id=new_id("whk", now),
        connection_id=connection_id,
        provider_event_id=provider_event_id,
        type=type,
        created=created,
        payload=payload,
        state="open",
        attempts=0,
        due_at=now,
        received_at=now,
    )
    fresh = insert_new(session, InboxEvent, values)
    theirs = and_(InboxEvent.connection_id == connection_id, InboxEvent.provider_event_id == provider_event_id)
    row = session.scalars(select(InboxEvent).where(in_scope(InboxEvent, scope), theirs)).one()
    delivery = scoped(scope, id=new_id("dlv", now), inbox_id=row.id, source=source, fresh=fresh, received_at=now)
    insert_new(session, WebhookDelivery, delivery)
    return _record(row), fresh


def is_known(session: Session, scope: Scope, connection_id: str, provider_event_id: str) -> bool:
    """Whether the inbox holds this event."""
    theirs = and_(InboxEvent.connection_id == connection_id, InboxEvent.provider_event_id == provider_event_id)
    return session.scalar(select(InboxEvent.id).where(in_scope(InboxEvent, scope), theirs)) is not None


def list_deliveries(session: Session, scope: Scope, inbox_id: str) -> list[DeliveryRecord]:
    """Every verified delivery of an event, oldest first."""
    rows = select(WebhookDelivery).where(in_scope(WebhookDelivery, scope), WebhookDelivery.inbox_id == inbox_id)
    ordered = rows.order_by(WebhookDelivery.received_at, WebhookDelivery.id)
    return [DeliveryRecord(row.source, row.fresh, row.received_at) for row in session.scalars(ordered)]


def claim_due(session: Session, now: datetime, limit: int, lease: timedelta = LEASE) -> list[tuple[Scope, InboxRecord]]:
    """Up to `limit` due events of all environments, oldest first, for this worker alone until the lease ends.

    A worker that dies leaves its events to the next one after the lease.
    """
    due = and_(InboxEvent.state == "open", InboxEvent.due_at <= now)
    rows = select(InboxEvent).where(due).order_by(InboxEvent.due_at, InboxEvent.id).limit(limit)
    claimed = session.scalars(rows.with_for_update(skip_locked=True)).all()
    return [(scope_of(row), _claim(session, scope_of(row), row.id, now + lease)) for row in claimed]


def claim(session: Session, scope: Scope, inbox_id: str, now: datetime, lease: timedelta = LEASE) -> InboxRecord | None:
    """One event for this worker alone; None when closed or held by another. NotFound `inbox_event_not_found`."""
    row = session.scalar(select(InboxEvent).where(_this(scope, inbox_id)).with_for_update())
    if row is None:
        raise NotFound("inbox_event_not_found", "no such webhook event", field="inbox_id")
    if row.state != "open" or row.due_at > now:
        return None
    return _claim(session, scope, inbox_id, now + lease)


def mark_processed(session: Session, scope: Scope, inbox_id: str, now: datetime) -> None:
    """Closes an event as done."""
    _close(session, scope, inbox_id, "processed", None, now)


def mark_ignored(session: Session, scope: Scope, inbox_id: str, reason: str, now: datetime) -> None:
    """Closes an event that is none of our business, with the reason."""
    _close(session, scope, inbox_id, "ignored", reason, now)


def mark_failed(
    session: Session, scope: Scope, inbox_id: str, next_attempt_at: datetime | None, error: str, now: datetime
) -> None:
    """Puts an event back until `next_attempt_at`, or gives it up when that is None."""
    if next_attempt_at is None:
        _close(session, scope, inbox_id, "failed", error, now)
    else:
        _set(session, scope, inbox_id, due_at=next_attempt_at, last_error=error)


def reopen(session: Session, scope: Scope, inbox_id: str, now: datetime) -> None:
    """Makes a closed event due again: processing one twice ends in the same state."""
    session.execute(
        update(InboxEvent)
        .where(_this(scope, inbox_id))
        .values(state="open", due_at=now, attempts=0, closed_at=None, last_error=None)
    )


def get_event(session: Session, scope: Scope, inbox_id: str) -> InboxRecord:
    """NotFound `inbox_event_not_found`."""
    row = session.scalar(select(InboxEvent).where(_this(scope, inbox_id)))
    if row is None:
        raise NotFound("inbox_event_not_found", "no such webhook event", field="inbox_id")
    return _record(row)


def list_events(
    session: Session,
    scope: Scope,
    *,
    state: str | None = None,
    type: str | None = None,  # noqa: A002 - the provider's word
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[InboxRecord]:
    """Events, last received first."""
    rows = select(InboxEvent).where(in_scope(InboxEvent, scope))
    if state is not None:
        rows = rows.where(InboxEvent.state == state)
    if type is not None:
        rows = rows.where(InboxEvent.type == type)
    return paginate(session, rows, InboxEvent.received_at, InboxEvent.id, _record, cursor, limit)


def _claim(session: Session, scope: Scope, inbox_id: str, until: datetime) -> InboxRecord:
    _set(session, scope, inbox_id, due_at=until, attempts=InboxEvent.attempts + 1)
    return get_event(session, scope, inbox_id)


def _close(session: Session, scope: Scope, inbox_id: str, state: str, error: str | None, now: datetime) -> None:
    _set(session, scope, inbox_id, state=state, last_error=error, closed_at=now)


def _set(session: Session, scope: Scope, inbox_id: str, **values: object) -> None:
    # Only an open event moves: a worker whose lease ran out cannot undo what its successor concluded.
    still_open = and_(_this(scope, inbox_id), InboxEvent.state == "open")
    session.execute(update(InboxEvent).where(still_open).values(**values).execution_options(synchronize_session=False))


def _this(scope: Scope, inbox_id: str) -> ColumnElement[bool]:
    return and_(in_scope(InboxEvent, scope), InboxEvent.id == inbox_id)


def _record(row: InboxEvent) -> InboxRecord:
    return InboxRecord(
        id=row.id,
        connection_id=row.connection_id,
        provider_event_id=row.provider_event_id,
        type=row.type,
        created=row.created,
        payload=row.payload,
        state=row.state,
        attempts=row.attempts,
        due_at=row.due_at,
        last_error=row.last_error,
        received_at=row.received_at,
        closed_at=row.closed_at,
    )
