"""Plans: a named set of prices with a billing period and a currency. A change of one is a new version."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Feature, Plan, PlanVersion
from ledger.page import DEFAULT_LIMIT, Page, paginate, paginate_versions
from ledger.store.price_changes import NewPrice, hold_prices, insert_price
from ledger.store.prices import PriceRecord, prices_of
from ledger.store.rows import in_scope, insert_new, scoped

__all__ = [
    "NewPrice",
    "PlanRecord",
    "PlanTerms",
    "PlanVersionRecord",
    "PriceRecord",
    "archive_plan",
    "create_plan",
    "get_plan",
    "list_plans",
    "list_versions",
    "require_active",
    "terms_of",
    "update_plan",
]


@dataclass(frozen=True)
class PlanRecord:
    """`billing_period` is what the caller sent ("monthly"), `interval` the same as an ISO 8601 duration ("P1M")."""

    id: str
    name: str
    key: str
    billing_period: str
    interval: str
    currency: str
    plan_type: str
    status: str
    description: str | None
    prices: tuple[PriceRecord, ...]
    created_at: datetime
    version: int
    tier_progress: str


@dataclass(frozen=True)
class PlanTerms:
    """What prices take from their plan.

    `tier_progress` says where usage prices begin after a change to the plan within a period: "reset" in the first tier,
    "continue" where the usage of the period has got to.
    """

    name: str
    currency: str
    billing_period: str
    tier_progress: str = "reset"


@dataclass(frozen=True)
class PlanVersionRecord:
    """What may change of a plan, as it was from `effective_from` on."""

    version: int
    name: str
    description: str | None
    status: str
    effective_from: datetime


def create_plan(
    session: Session,
    scope: Scope,
    *,
    name: str,
    key: str,
    billing_period: str,
    interval: str,
    currency: str,
    prices: Sequence[NewPrice],
    now: datetime,
    plan_type: str = "recurring",
    description: str | None = None,
    tier_progress: str = "reset",
) -> PlanRecord:
    """A plan with its prices. Conflict `plan_exists`, NotFound `feature_not_found` (field `prices[0].feature_id`)."""
    _require_features(session, scope, prices)
    plan_id = new_id("plan", now)
    values = scoped(
        scope,
        id=plan_id,
        name=name,
        key=key,
        billing_period=billing_period,
        interval=interval,
        currency=currency,
        plan_type=plan_type,
        status="active",
        description=description,
        created_at=now,
        tier_progress=tier_progress,
    )
    if not insert_new(session, Plan, values):
        raise Conflict("plan_exists", "a plan with this key exists", field="key", hint="Choose another key.")
    _insert_version(session, scope, plan_id, PlanVersionRecord(1, name, description, "active", now))
    for position, new in enumerate(prices):
        insert_price(session, scope, plan_id, new, position, now)
    return get_plan(session, scope, plan_id)


def get_plan(session: Session, scope: Scope, plan_id: str, at: datetime | None = None) -> PlanRecord:
    """By id or key, with all prices in their latest versions, or those in force at `at`. NotFound `plan_not_found`."""
    row = _row(session, scope, plan_id)
    return _record(row, prices_of(session, scope, [row.id], at)[row.id])


def update_plan(
    session: Session, scope: Scope, plan_id: str, changes: Mapping[str, str | None], now: datetime
) -> PlanRecord:
    """Sets `name` or `description` as a new version; the same again makes none. `plan_id` id or key.

    NotFound `plan_not_found`, Conflict `plan_archived`.
    """
    row = _held(session, scope, plan_id)
    require_active(row)
    return _change(session, scope, row, changes, now)


def archive_plan(session: Session, scope: Scope, plan_id: str, now: datetime) -> PlanRecord:
    """Nobody new may subscribe; subscriptions go on and are billed as before. NotFound `plan_not_found`."""
    return _change(session, scope, _held(session, scope, plan_id), {"status": "archived"}, now)


def list_versions(
    session: Session, scope: Scope, plan_id: str, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[PlanVersionRecord]:
    """The versions of a plan, newest first. NotFound `plan_not_found`."""
    found = get_plan(session, scope, plan_id).id
    rows = select(PlanVersion).where(in_scope(PlanVersion, scope), PlanVersion.plan_id == found)
    return paginate_versions(session, rows, PlanVersion.version, _version, cursor, limit)


def terms_of(session: Session, scope: Scope, plan_ids: Collection[str]) -> dict[str, PlanTerms]:
    """Plan id -> what its prices take from it."""
    rows = select(Plan).where(in_scope(Plan, scope), Plan.id.in_(plan_ids))
    return {
        row.id: PlanTerms(row.name, row.currency, row.billing_period, row.tier_progress)
        for row in session.scalars(rows)
    }


def require_active(plan: PlanRecord | Plan) -> None:
    """Conflict `plan_archived`."""
    if plan.status == "archived":
        raise Conflict("plan_archived", "the plan is archived", field="plan_id", hint="Use another plan.")


def list_plans(
    session: Session,
    scope: Scope,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
    at: datetime | None = None,
) -> Page[PlanRecord]:
    """Plans, newest first, their prices as in `get_plan`."""
    rows = select(Plan).where(in_scope(Plan, scope))
    page = paginate(session, rows, Plan.created_at, Plan.id, lambda row: row, cursor, limit)
    prices = prices_of(session, scope, [row.id for row in page.items], at)
    return Page([_record(row, prices[row.id]) for row in page.items], page.next_cursor)


def _row(session: Session, scope: Scope, plan_id: str) -> Plan:
    named = or_(Plan.id == plan_id, Plan.key == plan_id)
    # A key may look like another plan's id; the id wins.
    rows = select(Plan).where(in_scope(Plan, scope), named).order_by((Plan.id == plan_id).desc())
    row = session.scalar(rows.limit(1))
    if row is None:
        raise NotFound("plan_not_found", "no such plan", field="plan_id")
    return row


def _held(session: Session, scope: Scope, plan_id: str) -> Plan:
    """The plan as it is once nobody else can change it any more."""
    hold_prices(session, scope, _row(session, scope, plan_id).id)
    return _row(session, scope, plan_id)


def _change(session: Session, scope: Scope, row: Plan, changes: Mapping[str, str | None], now: datetime) -> PlanRecord:
    before = PlanVersionRecord(row.latest_version, row.name, row.description, row.status, now)
    after = replace(before, **changes)  # type: ignore[arg-type]
    if after != before:
        after = replace(after, version=before.version + 1)
        _insert_version(session, scope, row.id, after)
        new = {**changes, "latest_version": after.version}
        session.execute(update(Plan).where(and_(in_scope(Plan, scope), Plan.id == row.id)).values(new))
    return get_plan(session, scope, row.id, at=now)


def _insert_version(session: Session, scope: Scope, plan_id: str, version: PlanVersionRecord) -> None:
    insert_new(session, PlanVersion, scoped(scope, plan_id=plan_id, **vars(version)))


def _version(row: PlanVersion) -> PlanVersionRecord:
    return PlanVersionRecord(row.version, row.name, row.description, row.status, row.effective_from)


def _require_features(session: Session, scope: Scope, prices: Sequence[NewPrice]) -> None:
    wanted = {new.feature_id for new in prices if new.feature_id is not None}
    known = set(session.scalars(select(Feature.id).where(in_scope(Feature, scope), Feature.id.in_(wanted))))
    for index, new in enumerate(prices):
        if new.feature_id is not None and new.feature_id not in known:
            raise NotFound("feature_not_found", "no such feature", field=f"prices[{index}].feature_id")


def _record(row: Plan, prices: tuple[PriceRecord, ...]) -> PlanRecord:
    return PlanRecord(
        id=row.id,
        name=row.name,
        key=row.key,
        billing_period=row.billing_period,
        interval=row.interval,
        currency=row.currency,
        plan_type=row.plan_type,
        status=row.status,
        description=row.description,
        prices=prices,
        created_at=row.created_at,
        version=row.latest_version,
        tier_progress=row.tier_progress,
    )
