"""Meters. Each change of a definition is a new version; the values are `billing.meter.Meter`."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Select, and_, select, update
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.meter import Meter as MeterValue
from billing.meter import MeterDefinition, definition_to_json, parse_definition
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Meter, MeterVersion
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.rows import in_scope, insert_new, scope_of, scoped


def create_meter(
    session: Session, scope: Scope, definition: MeterDefinition, meter_id: str | None, now: datetime
) -> MeterValue:
    """Version 1 of a new meter; the caller may choose its id. Conflict `meter_exists`."""
    chosen = meter_id or new_id("meter", now)
    if not insert_new(session, Meter, scoped(scope, id=chosen, latest_version=1, created_at=now)):
        raise Conflict("meter_exists", "a meter with this id exists", field="id", hint="Choose another id.")
    _insert_version(session, scope, chosen, 1, definition, now)
    return get_meter(session, scope, chosen)


def revise_meter(
    session: Session, scope: Scope, meter_id: str, definition: MeterDefinition, now: datetime
) -> MeterValue:
    """The next version of a meter, or the latest one when the definition is the same. NotFound `meter_not_found`."""
    this_meter = and_(in_scope(Meter, scope), Meter.id == meter_id)
    session.execute(select(Meter.id).where(this_meter).with_for_update())
    latest = get_meter(session, scope, meter_id)
    if latest.definition == definition:
        return latest
    version = latest.version + 1
    _insert_version(session, scope, meter_id, version, definition, now)
    session.execute(update(Meter).where(this_meter).values(latest_version=version))
    return get_meter(session, scope, meter_id)


def get_meter(session: Session, scope: Scope, meter_id: str, version: int | None = None) -> MeterValue:
    """A meter in its latest or a given version. NotFound `meter_not_found`."""
    wanted = Meter.latest_version if version is None else version
    rows = _versions().where(in_scope(Meter, scope), Meter.id == meter_id, MeterVersion.version == wanted)
    row = session.scalar(rows)
    if row is None:
        raise NotFound("meter_not_found", "no such meter", field="meter_id")
    return _value(row)


def list_meters(
    session: Session, scope: Scope, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[MeterValue]:
    """Meters in their latest versions, newest meter first."""
    rows = select(Meter).where(in_scope(Meter, scope))
    page = paginate(session, rows, Meter.created_at, Meter.id, lambda row: row.id, cursor, limit)
    found = _latest(session, scope, page.items)
    return Page([found[meter_id] for meter_id in page.items], page.next_cursor)


def all_meters(session: Session) -> list[tuple[Scope, MeterValue]]:
    """The latest version of every meter of every environment."""
    rows = _versions().where(MeterVersion.version == Meter.latest_version)
    ordered = rows.order_by(Meter.tenant_id, Meter.environment_id, Meter.id)
    return [(scope_of(row), _value(row)) for row in session.scalars(ordered)]


def _versions() -> Select[MeterVersion]:
    same_scope = and_(MeterVersion.tenant_id == Meter.tenant_id, MeterVersion.environment_id == Meter.environment_id)
    return select(MeterVersion).join(Meter, and_(same_scope, MeterVersion.meter_id == Meter.id))


def _latest(session: Session, scope: Scope, meter_ids: Collection[str]) -> dict[str, MeterValue]:
    rows = _versions().where(
        in_scope(Meter, scope), Meter.id.in_(meter_ids), MeterVersion.version == Meter.latest_version
    )
    return {row.meter_id: _value(row) for row in session.scalars(rows)}


def _insert_version(
    session: Session, scope: Scope, meter_id: str, version: int, definition: MeterDefinition, now: datetime
) -> None:
    values = scoped(
        scope, meter_id=meter_id, version=version, definition=definition_to_json(definition), effective_from=now
    )
    insert_new(session, MeterVersion, values)


def _value(row: MeterVersion) -> MeterValue:
    return MeterValue.of(row.meter_id, row.version, parse_definition(row.definition))
