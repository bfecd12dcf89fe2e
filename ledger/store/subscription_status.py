"""Filters by what a subscription is at a moment: `billing.subscription.Life` as SQL, so that no job has to keep it."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, not_, or_, select
from sqlalchemy.orm import aliased

from billing.subscription import ChangeKind, SubscriptionStatus
from ledger.models import Subscription, SubscriptionChange

_PAUSES = (ChangeKind.PAUSED.value, ChangeKind.RESUMED.value)


def has_status(status: SubscriptionStatus, now: datetime) -> ColumnElement[bool]:
    """Whether a row of `subscriptions` has the status at `now`."""
    scheduled = Subscription.start_date > now
    # One that was ended before it began is over at once.
    ended = and_(
        Subscription.end_date.is_not(None),
        or_(Subscription.end_date <= now, Subscription.end_date <= Subscription.start_date),
    )
    running = and_(not_(scheduled), not_(ended))
    last_pause = func.coalesce(_last_before(now, SubscriptionChange.kind, *_PAUSES), ChangeKind.RESUMED.value)
    paused = last_pause == ChangeKind.PAUSED.value
    in_trial = and_(Subscription.trial_end.is_not(None), Subscription.trial_end > now)
    match status:
        case SubscriptionStatus.SCHEDULED:
            return and_(scheduled, not_(ended))
        case SubscriptionStatus.CANCELLED:
            return ended
        case SubscriptionStatus.PAUSED:
            return and_(running, paused)
        case SubscriptionStatus.TRIALING:
            return and_(running, not_(paused), in_trial)
        case SubscriptionStatus.ACTIVE:
            return and_(running, not_(paused), not_(in_trial))


def has_plan(plan_id: str, now: datetime) -> ColumnElement[bool]:
    """Whether a row of `subscriptions` is on the plan at `now`; one that is to begin, on its first."""
    changed_to = _last_before(now, SubscriptionChange.plan_id, ChangeKind.PLAN_CHANGED.value)
    return func.coalesce(changed_to, Subscription.plan_id) == plan_id


def _last_before(now: datetime, column: Any, *kinds: str) -> Any:
    """Of the changes of these kinds that hold at `now`, the last one's column."""
    withdrawal = aliased(SubscriptionChange)
    same = [
        getattr(withdrawal, name) == getattr(SubscriptionChange, name)
        for name in ("tenant_id", "environment_id", "subscription_id")
    ]
    withdrawn = exists().where(*same, withdrawal.withdraws == SubscriptionChange.sequence)
    rows: Select[Any] = (
        select(column)
        .where(
            SubscriptionChange.tenant_id == Subscription.tenant_id,
            SubscriptionChange.environment_id == Subscription.environment_id,
            SubscriptionChange.subscription_id == Subscription.id,
            SubscriptionChange.kind.in_(kinds),
            or_(SubscriptionChange.effective_at <= now, SubscriptionChange.effective_at <= Subscription.start_date),
            ~withdrawn,
        )
        .order_by(SubscriptionChange.effective_at.desc(), SubscriptionChange.sequence.desc())
        .limit(1)
    )
    return rows.correlate(Subscription).scalar_subquery()
