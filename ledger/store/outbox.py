"""Work to do at the provider, written in the transaction that makes it necessary and done after it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.orm import Session

from billing.errors import NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import OutboxItem
from ledger.models.work import IS_OPEN
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.rows import in_scope, insert, scope_of, scoped

LEASE = timedelta(minutes=5)


@dataclass(frozen=True)
class OutboxRecord:
    """`state` is open, done or failed (given up). `due_at` is the next attempt, or the end of a worker's lease."""

    id: str
    kind: str
    entity_id: str
    state: str
    attempts: int
    due_at: datetime
    last_error: str | None
    created_at: datetime
    closed_at: datetime | None


def enqueue(session: Session, scope: Scope, kind: str, entity_id: str, now: datetime) -> OutboxRecord:
    """Asks for work, `kind` "customer.sync", "invoice.sync" …; one open item per kind and entity.

    Asked again while a worker is busy with it, the item is due once more when the worker is done: it may have read what
    has changed since.
    """
    values = scoped(
        scope,
        id=new_id("run", now),
        kind=kind,
        entity_id=entity_id,
        state="open",
        requests=1,
        claimed_requests=0,
        attempts=0,
        due_at=now,
        created_at=now,
    )
    statement = insert(session, OutboxItem).values(values)
    again = statement.on_conflict_do_update(
        index_elements=["tenant_id", "environment_id", "kind", "entity_id"],
        index_where=IS_OPEN,
        set_={"requests": OutboxItem.__table__.c.requests + 1},
    )
    session.execute(again)
    this_work = and_(OutboxItem.kind == kind, OutboxItem.entity_id == entity_id, OutboxItem.state == "open")
    return _record(session.scalars(select(OutboxItem).where(in_scope(OutboxItem, scope), this_work)).one())


def claim_due(
    session: Session, now: datetime, limit: int, lease: timedelta = LEASE
) -> list[tuple[Scope, OutboxRecord]]:
    """Up to `limit` due items of all environments, oldest first, for this worker alone until the lease ends."""
    due = and_(OutboxItem.state == "open", OutboxItem.due_at <= now)
    rows = select(OutboxItem).where(due).order_by(OutboxItem.due_at, OutboxItem.id).limit(limit)
    claimed = session.scalars(rows.with_for_update(skip_locked=True)).all()
    found = []
    for row in claimed:
        scope = scope_of(row)
        _set(
            session,
            scope,
            row.id,
            due_at=now + lease,
            attempts=OutboxItem.attempts + 1,
            claimed_requests=OutboxItem.requests,
        )
        found.append((scope, get_item(session, scope, row.id)))
    return found


def done(session: Session, scope: Scope, outbox_id: str, now: datetime) -> None:
    """Closes an item, unless it was asked for again since it was claimed: then it is due at once."""
    open_item = session.scalar(select(OutboxItem).where(_this(scope, outbox_id)).with_for_update())
    if open_item is not None and open_item.claimed_requests and open_item.requests > open_item.claimed_requests:
        _set(session, scope, outbox_id, due_at=now, attempts=0, last_error=None)
    else:
        _set(session, scope, outbox_id, state="done", last_error=None, closed_at=now)


def retry_later(session: Session, scope: Scope, outbox_id: str, next_attempt_at: datetime, error: str) -> None:
    """Puts an item back until `next_attempt_at`."""
    _set(session, scope, outbox_id, due_at=next_attempt_at, last_error=error)


def put_off(session: Session, scope: Scope, outbox_id: str, until: datetime) -> None:
    """Nothing is to be done before `until`, which is no failure."""
    _set(session, scope, outbox_id, due_at=until, attempts=0, last_error=None)


def give_up(session: Session, scope: Scope, outbox_id: str, error: str, now: datetime) -> None:
    """Closes an item as failed; asking again makes a new one."""
    _set(session, scope, outbox_id, state="failed", last_error=error, closed_at=now)


def get_item(session: Session, scope: Scope, outbox_id: str) -> OutboxRecord:
    """NotFound `outbox_item_not_found`."""
    row = session.scalar(select(OutboxItem).where(_this(scope, outbox_id)))
    if row is None:
        raise NotFound("outbox_item_not_found", "no such piece of work", field="outbox_id")
    return _record(row)


def list_items(
    session: Session, scope: Scope, *, state: str | None = None, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[OutboxRecord]:
    """Items, newest first."""
    rows = select(OutboxItem).where(in_scope(OutboxItem, scope))
    if state is not None:
        rows = rows.where(OutboxItem.state == state)
    return paginate(session, rows, OutboxItem.created_at, OutboxItem.id, _record, cursor, limit)


def _set(session: Session, scope: Scope, outbox_id: str, **values: object) -> None:
    # Only an open item moves: a worker whose lease ran out cannot undo what its successor concluded.
    still_open = and_(_this(scope, outbox_id), OutboxItem.state == "open")
    session.execute(update(OutboxItem).where(still_open).values(**values).execution_options(synchronize_session=False))


def _this(scope: Scope, outbox_id: str) -> ColumnElement[bool]:
    return and_(in_scope(OutboxItem, scope), OutboxItem.id == outbox_id)


def _record(row: OutboxItem) -> OutboxRecord:
    return OutboxRecord(
        id=row.id,
        kind=row.kind,
        entity_id=row.entity_id,
        state=row.state,
        attempts=row.attempts,
        due_at=row.due_at,
        last_error=row.last_error,
        created_at=row.created_at,
        closed_at=row.closed_at,
    )
