"""Features: what prices are for; a metered one names its meter."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Feature
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.meters import get_meter
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
    """A feature, `feature_type` metered, boolean or static. Conflict `feature_exists`, NotFound `meter_not_found`."""
    if meter_id is not None:
        get_meter(session, scope, meter_id)
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
    return record


def get_feature(session: Session, scope: Scope, feature_id: str) -> FeatureRecord:
    """By id, or else by key. NotFound `feature_not_found`."""
    named = or_(Feature.id == feature_id, Feature.key == feature_id)
    # A key may look like another feature's id; the id wins.
    rows = select(Feature).where(in_scope(Feature, scope), named).order_by((Feature.id == feature_id).desc())
    row = session.scalar(rows.limit(1))
    if row is None:
        raise NotFound("feature_not_found", "no such feature", field="feature_id")
    return _record(row)


def list_features(
    session: Session, scope: Scope, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[FeatureRecord]:
    """Features, newest first."""
    rows = select(Feature).where(in_scope(Feature, scope))
    return paginate(session, rows, Feature.created_at, Feature.id, _record, cursor, limit)


def _record(row: Feature) -> FeatureRecord:
    return FeatureRecord(
        row.id, row.name, row.key, row.feature_type, row.meter_id, row.description, row.status, row.created_at
    )
