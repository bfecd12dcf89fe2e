"""Plans: a named set of prices with a billing period and a currency."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Feature, Plan
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.prices import NewPrice, PriceRecord, insert_price, prices_of
from ledger.store.rows import in_scope, insert_new, scoped

__all__ = ["NewPrice", "PlanRecord", "PriceRecord", "create_plan", "get_plan", "list_plans"]


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
    )
    if not insert_new(session, Plan, values):
        raise Conflict("plan_exists", "a plan with this key exists", field="key", hint="Choose another key.")
    for position, new in enumerate(prices):
        insert_price(session, scope, plan_id, new, position, now)
    return get_plan(session, scope, plan_id)


def get_plan(session: Session, scope: Scope, plan_id: str, at: datetime | None = None) -> PlanRecord:
    """By id or key, with the latest price versions, or those in force at `at`. NotFound `plan_not_found`."""
    named = or_(Plan.id == plan_id, Plan.key == plan_id)
    # A key may look like another plan's id; the id wins.
    rows = select(Plan).where(in_scope(Plan, scope), named).order_by((Plan.id == plan_id).desc())
    row = session.scalar(rows.limit(1))
    if row is None:
        raise NotFound("plan_not_found", "no such plan", field="plan_id")
    return _record(row, prices_of(session, scope, [row.id], at)[row.id])


def list_plans(
    session: Session, scope: Scope, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[PlanRecord]:
    """Plans with their latest prices, newest first."""
    rows = select(Plan).where(in_scope(Plan, scope))
    page = paginate(session, rows, Plan.created_at, Plan.id, lambda row: row, cursor, limit)
    prices = prices_of(session, scope, [row.id for row in page.items])
    return Page([_record(row, prices[row.id]) for row in page.items], page.next_cursor)


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
    )
