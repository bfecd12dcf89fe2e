"""Meters. Each change of a definition is a new version; the values are `billing.meter.Meter`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, select, update
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.meter import Meter as MeterValue
from billing.meter import MeterDefinition, definition_to_json, parse_definition
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Meter, MeterVersion
from ledger.page import DEFAULT_LIMIT, Page, paginate, paginate_versions
from ledger.store.rows import in_scope, insert_new, scope_of, scoped


@dataclass(frozen=True)
class MeterRecord:
    """One version of a meter with what the ledger knows of it. `status` is the meter's own, in every version."""

    meter: MeterValue
    status: str
    created_at: datetime
    effective_from: datetime


def create_meter(
    session: Session, scope: Scope, definition: MeterDefinition, meter_id: str | None, now: datetime
) -> MeterValue:
    """Version 1 of a new meter; the caller may choose its id. Conflict `meter_exists`."""
    chosen = meter_id or new_id("meter", now)
    if not insert_new(session, Meter, scoped(scope, id=chosen, latest_version=1, created_at=now)):
        raise Conflict("meter_exists", "a meter with this id exists", field="id", hint="Choose another id.")
    _insert_version(session, scope, chosen, 1, definition, now)
    return get_meter(session, scope, chosen)


def change_meter(
    session: Session, scope: Scope, meter_id: str, changes: Mapping[str, Any], now: datetime
) -> MeterValue:
    """Replaces the fields of the definition's JSON that are named, None takes one away: the next version.

    NotFound `meter_not_found`, Conflict `meter_archived`, InvalidInput with the field.
    """
    latest = _held(session, scope, meter_id)
    definition = parse_definition({**definition_to_json(latest.meter), **changes})
    return _revise(session, scope, latest, definition, now)


def revise_meter(
    session: Session, scope: Scope, meter_id: str, definition: MeterDefinition, now: datetime
) -> MeterValue:
    """The next version of a meter, or the latest one when the definition is the same.

    NotFound `meter_not_found`, Conflict `meter_archived`.
    """
    return _revise(session, scope, _held(session, scope, meter_id), definition, now)


def archive_meter(session: Session, scope: Scope, meter_id: str, now: datetime) -> MeterRecord:
    """No new feature may name it and no new version is made; what is metered by it goes on. NotFound
    `meter_not_found`.
    """
    this_meter = and_(in_scope(Meter, scope), Meter.id == meter_id)
    session.execute(update(Meter).where(this_meter).values(status="archived"))
    return get_record(session, scope, meter_id)


def require_active(meter: MeterRecord) -> None:
    """Conflict `meter_archived`."""
    if meter.status == "archived":
        raise Conflict("meter_archived", "the meter is archived", field="meter_id", hint="Use another meter.")


def get_record(session: Session, scope: Scope, meter_id: str) -> MeterRecord:
    """A meter in its latest version. NotFound `meter_not_found`."""
    row = session.execute(
        _versions()
        .add_columns(Meter)
        .where(in_scope(Meter, scope), Meter.id == meter_id, MeterVersion.version == Meter.latest_version)
    ).one_or_none()
    if row is None:
        raise _not_found()
    return _record(*row)


def list_versions(
    session: Session, scope: Scope, meter_id: str, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[MeterRecord]:
    """The versions of a meter, newest first. NotFound `meter_not_found`."""
    meter = session.scalar(select(Meter).where(in_scope(Meter, scope), Meter.id == meter_id))
    if meter is None:
        raise _not_found()
    rows = select(MeterVersion).where(in_scope(MeterVersion, scope), MeterVersion.meter_id == meter_id)
    return paginate_versions(session, rows, MeterVersion.version, lambda row: _record(row, meter), cursor, limit)


def get_meter(session: Session, scope: Scope, meter_id: str, version: int | None = None) -> MeterValue:
    """A meter in its latest or a given version. NotFound `meter_not_found`."""
    wanted = Meter.latest_version if version is None else version
    rows = _versions().where(in_scope(Meter, scope), Meter.id == meter_id, MeterVersion.version == wanted)
    row = session.scalar(rows)
    if row is None:
        raise _not_found()
    return _value(row)


def list_meters(
    session: Session, scope: Scope, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[MeterRecord]:
    """Meters in their latest versions, newest meter first."""
    rows = select(Meter).where(in_scope(Meter, scope))
    page = paginate(session, rows, Meter.created_at, Meter.id, lambda row: row, cursor, limit)
    found = _latest(session, scope, [row.id for row in page.items])
    return Page([_record(found[row.id], row) for row in page.items], page.next_cursor)


def meters_listening_to(session: Session, scope: Scope, event_name: str) -> list[MeterValue]:
    """The latest versions of the meters that read events of this name, oldest meter first."""
    rows = _versions().where(in_scope(Meter, scope), MeterVersion.version == Meter.latest_version)
    found = (_value(row) for row in session.scalars(rows.order_by(Meter.created_at, Meter.id)))
    return [meter for meter in found if meter.event_name == event_name]


def all_meters(session: Session) -> list[tuple[Scope, MeterValue]]:
    """The latest version of every meter of every environment."""
    rows = _versions().where(MeterVersion.version == Meter.latest_version)
    ordered = rows.order_by(Meter.tenant_id, Meter.environment_id, Meter.id)
    return [(scope_of(row), _value(row)) for row in session.scalars(ordered)]


def _versions() -> Select[MeterVersion]:
    same_scope = and_(MeterVersion.tenant_id == Meter.tenant_id, MeterVersion.environment_id == Meter.environment_id)
    return select(MeterVersion).join(Meter, and_(same_scope, MeterVersion.meter_id == Meter.id))


def _latest(session: Session, scope: Scope, meter_ids: Collection[str]) -> dict[str, MeterVersion]:
    rows = _versions().where(
        in_scope(Meter, scope), Meter.id.in_(meter_ids), MeterVersion.version == Meter.latest_version
    )
    return {row.meter_id: row for row in session.scalars(rows)}


def _held(session: Session, scope: Scope, meter_id: str) -> MeterRecord:
    """The latest version, once nobody else can make another one. Conflict `meter_archived`."""
    this_meter = and_(in_scope(Meter, scope), Meter.id == meter_id)
    session.execute(select(Meter.id).where(this_meter).with_for_update(key_share=True))
    latest = get_record(session, scope, meter_id)
    require_active(latest)
    return latest


def _revise(
    session: Session, scope: Scope, latest: MeterRecord, definition: MeterDefinition, now: datetime
) -> MeterValue:
    if latest.meter.definition == definition:
        return latest.meter
    meter_id, version = latest.meter.id, latest.meter.version + 1
    _insert_version(session, scope, meter_id, version, definition, now)
    this_meter = and_(in_scope(Meter, scope), Meter.id == meter_id)
    session.execute(update(Meter).where(this_meter).values(latest_version=version))
    return get_meter(session, scope, meter_id)


def _insert_version(
    session: Session, scope: Scope, meter_id: str, version: int, definition: MeterDefinition, now: datetime
) -> None:
    values = scoped(
        scope, meter_id=meter_id, version=version, definition=definition_to_json(definition), effective_from=now
    )
    insert_new(session, MeterVersion, values)


def _value(row: MeterVersion) -> MeterValue:
    return MeterValue.of(row.meter_id, row.version, parse_definition(row.definition))


def _record(row: MeterVersion, meter: Meter) -> MeterRecord:
    return MeterRecord(_value(row), meter.status, meter.created_at, row.effective_from)


def _not_found() -> NotFound:
    return NotFound("meter_not_found", "no such meter", field="meter_id")
