"""Which object of the provider stands for which row of ours; written as an intention before the first call."""

from collections.abc import Collection
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, select, update
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Mapping
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.bulk import insert_new_rows, update_rows
from ledger.store.connections import get_connection
from ledger.store.rows import among, in_scope, insert_new, scoped

# How far the work at the provider has come. "failed" stands outside: it may follow and be followed by any but "done".
_PROGRESS = {"intended": 0, "created": 1, "finalized": 2, "done": 3}

_FIRST_KEYS = 1


@dataclass(frozen=True)
class MappingRecord:
    """`key_version` is part of the provider's idempotency keys: raised when a key must not be used again."""

    id: str
    connection_id: str
    entity: str
    entity_id: str
    provider_id: str | None
    state: str
    key_version: int
    detail: dict[str, Any]
    last_error: str | None
    created_at: datetime
    updated_at: datetime


def intend(
    session: Session, scope: Scope, connection_id: str, entity: str, entity_id: str, now: datetime
) -> MappingRecord:
    """The mapping of an entity, made in state "intended" if there is none; the same one when run twice or at once.

    NotFound `connection_not_found`.
    """
    get_connection(session, scope, connection_id)
    values = scoped(
        scope,
        id=new_id("map", now),
        connection_id=connection_id,
        entity=entity,
        entity_id=entity_id,
        state="intended",
        key_version=_FIRST_KEYS,
        detail={},
        created_at=now,
        updated_at=now,
    )
    insert_new(session, Mapping, values)
    return _record(session.scalars(select(Mapping).where(_of_entity(scope, connection_id, entity, entity_id))).one())


def record(
    session: Session,
    scope: Scope,
    connection_id: str,
    entity: str,
    entity_id: str,
    *,
    state: str,
    now: datetime,
    provider_id: str | None = None,
    detail: MappingOf[str, Any] | None = None,
    last_error: str | None = None,
    key_version: int | None = None,
) -> MappingRecord:
    """The outcome of a call. What is None stays (but `last_error`, which is cleared); `detail` is merged by key.

    Progress never moves backwards: "created" after "done" changes the rest but not the state. NotFound
    `mapping_not_found`; Conflict `mapping_taken` when the provider's object stands for another entity, or this entity
    already has another object.
    """
    this_mapping = _of_entity(scope, connection_id, entity, entity_id)
    row = session.scalar(select(Mapping).where(this_mapping).with_for_update())
    if row is None:
        raise NotFound("mapping_not_found", "no such mapping", field="entity_id")
    if provider_id is not None and provider_id != row.provider_id:
        other = by_provider_id(session, scope, connection_id, entity, provider_id)
        if row.provider_id is not None or other is not None:
            raise Conflict("mapping_taken", "the provider's object and this entity are mapped to others")
    forward = row.state == "failed" or state == "failed" or _PROGRESS[state] >= _PROGRESS[row.state]
    values = {
        "state": state if forward and row.state != "done" else row.state,
        "provider_id": provider_id or row.provider_id,
        "detail": {**row.detail, **(detail or {})},
        "last_error": last_error,
        "key_version": key_version or row.key_version,
        "updated_at": now,
    }
    session.execute(update(Mapping).where(this_mapping).values(values))
    return _record(session.scalars(select(Mapping).where(this_mapping)).one())


def get_mapping(
    session: Session, scope: Scope, connection_id: str, entity: str, entity_id: str
) -> MappingRecord | None:
    """The mapping of one of our rows, if any."""
    row = session.scalar(select(Mapping).where(_of_entity(scope, connection_id, entity, entity_id)))
    return None if row is None else _record(row)


def by_provider_id(
    session: Session, scope: Scope, connection_id: str, entity: str, provider_id: str
) -> MappingRecord | None:
    """The mapping of one of the provider's objects, if any."""
    theirs = and_(
        in_scope(Mapping, scope),
        Mapping.connection_id == connection_id,
        Mapping.entity == entity,
        Mapping.provider_id == provider_id,
    )
    row = session.scalar(select(Mapping).where(theirs))
    return None if row is None else _record(row)


def of_entities(
    session: Session, scope: Scope, entity: str, entity_ids: Collection[str], connection_id: str | None = None
) -> list[MappingRecord]:
    """The mappings of many of our rows, of every connection unless one is named."""
    rows = select(*Mapping.__table__.columns).where(
        in_scope(Mapping, scope), Mapping.entity == entity, among(session, Mapping.entity_id, entity_ids)
    )
    if connection_id is not None:
        rows = rows.where(Mapping.connection_id == connection_id)
    return [_record(row) for row in session.execute(rows)]


def intend_new(
    session: Session,
    scope: Scope,
    connection_id: str,
    entity: str,
    details: MappingOf[str, MappingOf[str, Any]],
    now: datetime,
) -> list[MappingRecord]:
    """New mappings in state "intended", each with its detail by the entity's id; those that others have made meanwhile
    are left out."""
    wanted = [
        scoped(
            scope,
            id=new_id("map", now),
            connection_id=connection_id,
            entity=entity,
            entity_id=entity_id,
            provider_id=None,
            state="intended",
            key_version=_FIRST_KEYS,
            detail=dict(detail),
            last_error=None,
            created_at=now,
            updated_at=now,
        )
        for entity_id, detail in details.items()
    ]
    insert_new_rows(session, Mapping, wanted)
    ids = among(session, Mapping.id, [values["id"] for values in wanted])
    made = set(session.scalars(select(Mapping.id).where(in_scope(Mapping, scope), ids)))
    names = {field.name for field in fields(MappingRecord)}
    return [
        MappingRecord(**{name: value for name, value in values.items() if name in names})
        for values in wanted
        if values["id"] in made
    ]


def record_created(
    session: Session, scope: Scope, provider_ids: MappingOf[str, str], now: datetime
) -> dict[str, MappingRecord]:
    """New mappings by their id that stand for these objects of the provider now; those that got another one meanwhile,
    or were begun anew, are left out."""
    rows = [
        scoped(scope, id=mapping_id, provider_id=provider_id, state="created", updated_at=now)
        for mapping_id, provider_id in sorted(provider_ids.items())
    ]
    still_new = and_(Mapping.provider_id.is_(None), Mapping.state == "intended", Mapping.key_version == _FIRST_KEYS)
    update_rows(session, Mapping, rows, still_new)
    return {
        mapping.id: mapping
        for mapping in _by_ids(session, scope, provider_ids)
        if mapping.provider_id == provider_ids[mapping.id]
    }


def hold_undone(session: Session, scope: Scope, mapping_ids: Collection[str]) -> list[MappingRecord]:
    """Those that are not "done", their rows locked until the transaction ends, always in the same order."""
    return [mapping for mapping in _by_ids(session, scope, mapping_ids, hold=True) if mapping.state != "done"]


def record_done(
    session: Session, scope: Scope, details: MappingOf[str, MappingOf[str, Any]], now: datetime
) -> dict[str, MappingRecord]:
    """Mappings by their id that are done now, with these details instead of theirs. The caller holds their rows."""
    rows = [
        scoped(scope, id=mapping_id, state="done", detail=dict(detail), last_error=None, updated_at=now)
        for mapping_id, detail in details.items()
    ]
    update_rows(session, Mapping, rows, Mapping.state != "done")
    return {mapping.id: mapping for mapping in _by_ids(session, scope, details)}


def list_mappings(
    session: Session,
    scope: Scope,
    *,
    connection_id: str | None = None,
    entity: str | None = None,
    entity_id: str | None = None,
    provider_id: str | None = None,
    state: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[MappingRecord]:
    """Mappings, newest first."""
    wanted = {
        Mapping.connection_id: connection_id,
        Mapping.entity: entity,
        Mapping.entity_id: entity_id,
        Mapping.provider_id: provider_id,
        Mapping.state: state,
    }
    rows = select(Mapping).where(in_scope(Mapping, scope))
    rows = rows.where(*(column == value for column, value in wanted.items() if value is not None))
    return paginate(session, rows, Mapping.created_at, Mapping.id, _record, cursor, limit)


def _by_ids(session: Session, scope: Scope, ids: Collection[str], *, hold: bool = False) -> list[MappingRecord]:
    rows = select(*Mapping.__table__.columns).where(in_scope(Mapping, scope), among(session, Mapping.id, ids))
    rows = rows.order_by(Mapping.id)
    return [_record(row) for row in session.execute(rows.with_for_update() if hold else rows)]


def _of_entity(scope: Scope, connection_id: str, entity: str, entity_id: str) -> ColumnElement[bool]:
    return and_(
        in_scope(Mapping, scope),
        Mapping.connection_id == connection_id,
        Mapping.entity == entity,
        Mapping.entity_id == entity_id,
    )


def _record(row: Mapping | Row[Any]) -> MappingRecord:
    return MappingRecord(
        id=row.id,
        connection_id=row.connection_id,
        entity=row.entity,
        entity_id=row.entity_id,
        provider_id=row.provider_id,
        state=row.state,
        key_version=row.key_version,
        detail=row.detail,
        last_error=row.last_error,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
