"""Features: what prices are for; a metered one names its meter. A change of one is a new version."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Feature, FeatureVersion
from ledger.page import DEFAULT_LIMIT, Page, paginate, paginate_versions
from ledger.store import meters
from ledger.store.rows import in_scope, insert_new, scoped


@dataclass(frozen=True)
class FeatureRecord:
    id: str
    name: str
    key: str
    feature_type: str
    meter_id: str | None
    description: str | None
    status: str
    created_at: datetime
    version: int = 1


@dataclass(frozen=True)
class FeatureVersionRecord:
    """What may change of a feature, as it was from `effective_from` on."""

    version: int
    name: str
    description: str | None
    status: str
    effective_from: datetime


def create_feature(
    session: Session,
    scope: Scope,
    *,
    name: str,
    key: str,
    feature_type: str,
    now: datetime,
    meter_id: str | None = None,
    description: str | None = None,
) -> FeatureRecord:
    """A feature, `feature_type` metered, boolean or static.

    Conflict `feature_exists`, `meter_archived`; NotFound `meter_not_found`.
    """
    if meter_id is not None:
        meters.require_active(meters.get_record(session, scope, meter_id))
    record = FeatureRecord(new_id("feat", now), name, key, feature_type, meter_id, description, "active", now)
    values = scoped(
        scope,
        id=record.id,
        name=name,
        key=key,
        feature_type=feature_type,
        meter_id=meter_id,
        description=description,
        status=record.status,
        created_at=now,
    )
    if not insert_new(session, Feature, values):
        raise Conflict("feature_exists", "a feature with this key exists", field="key", hint="Choose another key.")
    _insert_version(session, scope, record.id, FeatureVersionRecord(1, name, description, record.status, now))
    return record


def update_feature(
    session: Session, scope: Scope, feature_id: str, changes: Mapping[str, str | None], now: datetime
) -> FeatureRecord:
    """Sets `name` or `description` as a new version; the same again makes none. `feature_id` id or key.

    NotFound `feature_not_found`, Conflict `feature_archived`.
    """
    row = _held(session, scope, feature_id)
    require_active(_record(row))
    return _change(session, scope, row, changes, now)


def archive_feature(session: Session, scope: Scope, feature_id: str, now: datetime) -> FeatureRecord:
    """No new price may name it; the prices that do go on. NotFound `feature_not_found`."""
    return _change(session, scope, _held(session, scope, feature_id), {"status": "archived"}, now)


def list_versions(
    session: Session, scope: Scope, feature_id: str, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[FeatureVersionRecord]:
    """The versions of a feature, newest first. NotFound `feature_not_found`."""
    found = _row(session, scope, feature_id).id
    rows = select(FeatureVersion).where(in_scope(FeatureVersion, scope), FeatureVersion.feature_id == found)
    return paginate_versions(session, rows, FeatureVersion.version, _version, cursor, limit)


def require_active(feature: FeatureRecord) -> None:
    """Conflict `feature_archived`."""
    if feature.status == "archived":
        raise Conflict("feature_archived", "the feature is archived", field="feature_id", hint="Use another feature.")


def get_feature(session: Session, scope: Scope, feature_id: str) -> FeatureRecord:
    """By id, or else by key. NotFound `feature_not_found`."""
    return _record(_row(session, scope, feature_id))


def list_features(
    session: Session, scope: Scope, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[FeatureRecord]:
    """Features, newest first."""
    rows = select(Feature).where(in_scope(Feature, scope))
    return paginate(session, rows, Feature.created_at, Feature.id, _record, cursor, limit)


def _row(session: Session, scope: Scope, feature_id: str) -> Feature:
    named = or_(Feature.id == feature_id, Feature.key == feature_id)
    # A key may look like another feature's id; the id wins.
    rows = select(Feature).where(in_scope(Feature, scope), named).order_by((Feature.id == feature_id).desc())
    row = session.scalar(rows.limit(1))
    if row is None:
        raise NotFound("feature_not_found", "no such feature", field="feature_id")
    return row


def _held(session: Session, scope: Scope, feature_id: str) -> Feature:
    """The feature as it is once nobody else can change it any more."""
    this_one = and_(in_scope(Feature, scope), Feature.id == _row(session, scope, feature_id).id)
    return session.scalars(select(Feature).where(this_one).with_for_update(key_share=True)).one()


def _change(
    session: Session, scope: Scope, row: Feature, changes: Mapping[str, str | None], now: datetime
) -> FeatureRecord:
    before = FeatureVersionRecord(row.latest_version, row.name, row.description, row.status, now)
    after = replace(before, **changes)  # type: ignore[arg-type]
    if after != before:
        after = replace(after, version=before.version + 1)
        _insert_version(session, scope, row.id, after)
        new = {**changes, "latest_version": after.version}
        session.execute(update(Feature).where(and_(in_scope(Feature, scope), Feature.id == row.id)).values(new))
    return get_feature(session, scope, row.id)


def _insert_version(session: Session, scope: Scope, feature_id: str, version: FeatureVersionRecord) -> None:
    insert_new(session, FeatureVersion, scoped(scope, feature_id=feature_id, **vars(version)))


def _version(row: FeatureVersion) -> FeatureVersionRecord:
    return FeatureVersionRecord(row.version, row.name, row.description, row.status, row.effective_from)


def _record(row: Feature) -> FeatureRecord:
    return FeatureRecord(
        row.id,
        row.name,
        row.key,
        row.feature_type,
        row.meter_id,
        row.description,
        row.status,
        row.created_at,
        row.latest_version,
    )
