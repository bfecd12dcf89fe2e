"""The audit log: who did what to which row. It only grows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import AuditEntry
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.bulk import insert_rows
from ledger.store.rows import in_scope, insert_new, scoped


@dataclass(frozen=True)
class AuditRecord:
    id: str
    actor: str
    action: str
    entity: str
    entity_id: str
    detail: dict[str, Any]
    at: datetime


def write(
    session: Session,
    scope: Scope,
    actor: str,
    action: str,
    entity: str,
    entity_id: str,
    detail: Mapping[str, Any],
    now: datetime,
) -> AuditRecord:
    """Adds an entry, `actor` a key id or the name of a part of the system. No secrets in `detail`."""
    record = AuditRecord(new_id("aud", now), actor, action, entity, entity_id, dict(detail), now)
    insert_new(session, AuditEntry, scoped(scope, **vars(record)))
    return record


def write_many(
    session: Session,
    scope: Scope,
    actor: str,
    action: str,
    entity: str,
    details: Sequence[tuple[str, Mapping[str, Any]]],
    now: datetime,
) -> None:
    """The same entry for many entities: each with its id and detail."""
    rows = [
        scoped(
            scope,
            id=new_id("aud", now),
            actor=actor,
            action=action,
            entity=entity,
            entity_id=entity_id,
            detail=dict(detail),
            at=now,
        )
        for entity_id, detail in details
    ]
    insert_rows(session, AuditEntry, rows)


def list_entries(
    session: Session,
    scope: Scope,
    *,
    entity: str | None = None,
    entity_id: str | None = None,
    action: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[AuditRecord]:
    """Entries, newest first."""
    rows = select(AuditEntry).where(in_scope(AuditEntry, scope))
    if entity is not None:
        rows = rows.where(AuditEntry.entity == entity)
    if entity_id is not None:
        rows = rows.where(AuditEntry.entity_id == entity_id)
    if action is not None:
        rows = rows.where(AuditEntry.action == action)
    return paginate(session, rows, AuditEntry.at, AuditEntry.id, _record, cursor, limit)


def _record(row: AuditEntry) -> AuditRecord:
    return AuditRecord(row.id, row.actor, row.action, row.entity, row.entity_id, row.detail, row.at)
