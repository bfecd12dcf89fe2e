"""Subscriptions: a customer on a plan from a date."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.period import Schedule, parse_anchor, parse_interval
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Subscription
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.customers import get_customer
from ledger.store.plans import get_plan
from ledger.store.rows import affected, in_scope, insert_new, scope_of, scoped


@dataclass(frozen=True)
class SubscriptionRecord:
    """`billing_anchor` is "subscription_start", "calendar" or an instant in ISO 8601."""

    id: str
    customer_id: str
    plan_id: str
    status: str
    start_date: datetime
    end_date: datetime | None
    billing_anchor: str
    interval: str
    timezone: str
    currency: str
    collection_method: str
    metadata: dict[str, str]
    created_at: datetime

    def schedule(self) -> Schedule:
        """The rules that make this subscription's periods. They do not know of `end_date`."""
        anchor = parse_anchor(self.billing_anchor)
        return Schedule(self.start_date, parse_interval(self.interval), anchor, self.timezone)


def create_subscription(
    session: Session,
    scope: Scope,
    *,
    customer_id: str,
    plan_id: str,
    start_date: datetime,
    timezone: str,
    now: datetime,
    end_date: datetime | None = None,
    billing_anchor: str = "subscription_start",
    collection_method: str = "charge_automatically",
    metadata: Mapping[str, str] | None = None,
) -> SubscriptionRecord:
    """A new subscription in the plan's interval and currency; `customer_id` ours or external, `plan_id` id or key.

    "scheduled" when it starts after `now`. NotFound `customer_not_found`, `plan_not_found`.
    """
    customer = get_customer(session, scope, customer_id)
    plan = get_plan(session, scope, plan_id)
    record = SubscriptionRecord(
        id=new_id("sub", now),
        customer_id=customer.id,
        plan_id=plan.id,
        status="scheduled" if start_date > now else "active",
        start_date=start_date,
        end_date=end_date,
        billing_anchor=billing_anchor,
        interval=plan.interval,
        timezone=timezone,
        currency=plan.currency,
        collection_method=collection_method,
        metadata=dict(metadata or {}),
        created_at=now,
    )
    record.schedule()
    values = scoped(scope, **{name: value for name, value in vars(record).items() if name != "metadata"})
    insert_new(session, Subscription, {**values, "meta": record.metadata})
    return get_subscription(session, scope, record.id)


def get_subscription(session: Session, scope: Scope, subscription_id: str) -> SubscriptionRecord:
    """NotFound `subscription_not_found`."""
    row = session.scalar(select(Subscription).where(in_scope(Subscription, scope), Subscription.id == subscription_id))
    if row is None:
        raise NotFound("subscription_not_found", "no such subscription", field="subscription_id")
    return _record(row)


def list_subscriptions(
    session: Session,
    scope: Scope,
    *,
    customer_id: str | None = None,
    plan_id: str | None = None,
    status: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[SubscriptionRecord]:
    """Subscriptions, newest first; `customer_id` and `plan_id` are our ids."""
    rows = select(Subscription).where(in_scope(Subscription, scope))
    if customer_id is not None:
        rows = rows.where(Subscription.customer_id == customer_id)
    if plan_id is not None:
        rows = rows.where(Subscription.plan_id == plan_id)
    if status is not None:
        rows = rows.where(Subscription.status == status)
    return paginate(session, rows, Subscription.created_at, Subscription.id, _record, cursor, limit)


def subscriptions_at(session: Session, scope: Scope, customer_id: str, moment: datetime) -> list[SubscriptionRecord]:
    """A customer's subscriptions that had begun by `moment` and not ended, oldest first; our id."""
    rows = select(Subscription).where(
        in_scope(Subscription, scope),
        Subscription.customer_id == customer_id,
        Subscription.start_date <= moment,
        or_(Subscription.end_date.is_(None), Subscription.end_date > moment),
    )
    return [_record(row) for row in session.scalars(rows.order_by(Subscription.start_date, Subscription.id))]


def billable(session: Session, start: datetime, end: datetime) -> list[tuple[Scope, SubscriptionRecord]]:
    """Subscriptions of all environments that may have a period ending in [start, end), oldest first.

    Candidates only: ended ones are among them, because the last period of a subscription may end long after it did.
    The caller asks `schedule().ending_in(start, end)` and leaves out periods that start at `end_date` or later.
    """
    rows = select(Subscription).where(Subscription.start_date < end)
    return [
        (scope_of(row), record)
        for row in session.scalars(rows.order_by(Subscription.start_date, Subscription.id))
        if _may_bill(record := _record(row), start)
    ]


def cancel_subscription(
    session: Session, scope: Scope, subscription_id: str, end_date: datetime, now: datetime
) -> SubscriptionRecord:
    """Ends a subscription at `end_date`; "cancelled" at once when that is not after `now`, else by `settle_statuses`.

    NotFound `subscription_not_found`, Conflict `subscription_cancelled`.
    """
    found = get_subscription(session, scope, subscription_id)
    values: dict[str, object] = {"end_date": end_date}
    if end_date <= now:
        values["status"] = "cancelled"
    still_open = and_(
        in_scope(Subscription, scope), Subscription.id == subscription_id, Subscription.status != "cancelled"
    )
    if affected(session, update(Subscription).where(still_open).values(values)) == 0:
        raise Conflict("subscription_cancelled", "the subscription is cancelled already")
    return get_subscription(session, scope, found.id)


def settle_statuses(session: Session, now: datetime) -> int:
    """Lets time pass in all environments: scheduled ones that have begun are active, ended ones cancelled."""
    ended = and_(Subscription.status != "cancelled", Subscription.end_date <= now)
    begun = and_(Subscription.status == "scheduled", Subscription.start_date <= now)
    return affected(session, update(Subscription).where(ended).values(status="cancelled")) + affected(
        session, update(Subscription).where(begun).values(status="active")
    )


def _may_bill(record: SubscriptionRecord, start: datetime) -> bool:
    if record.end_date is None or record.end_date > start:
        return True
    if record.end_date <= record.start_date:
        return False
    return record.schedule().period_at(record.end_date).end >= start


def _record(row: Subscription) -> SubscriptionRecord:
    return SubscriptionRecord(
        id=row.id,
        customer_id=row.customer_id,
        plan_id=row.plan_id,
        status=row.status,
        start_date=row.start_date,
        end_date=row.end_date,
        billing_anchor=row.billing_anchor,
        interval=row.interval,
        timezone=row.timezone,
        currency=row.currency,
        collection_method=row.collection_method,
        metadata=row.meta,
        created_at=row.created_at,
    )
