"""Which subscriptions may have something to bill that is not billed yet: a moment of each, which an index answers by.

What a subscription bills before its moment is closed, or is left to a person. It is worked out from the periods and
invoices by whoever looks (`pipelines.steps.close_periods`), who moves it on; each writer that can make something due
sets it back to the start, without working anything out. So it is never too late, and too early costs one look.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, bindparam, or_, select, update
from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.models import Environment, Subscription
from ledger.store.rows import in_scope, scope_of
from ledger.store.subscriptions import SubscriptionRecord, subscriptions_of

__all__ = ["Candidate", "MovedOn", "look_again_at_starts", "may_be_due", "move_on"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """`revision` counts how often the moment was set: what is worked out holds for as long as it stays the same."""

    scope: Scope
    subscription: SubscriptionRecord
    due_from: datetime
    revision: int


@dataclass(frozen=True, slots=True)
class MovedOn:
    """From when on a candidate has something to bill; None for one that has come to its end."""

    candidate: Candidate
    due_from: datetime | None


def may_be_due(session: Session, now: datetime) -> list[Candidate]:
    """Subscriptions of all environments whose moment has come, oldest first: at the start at once, later on when the
    grace of the environment is over."""
    of_its = and_(Environment.tenant_id == Subscription.tenant_id, Environment.id == Subscription.environment_id)
    columns = (
        Subscription.tenant_id,
        Subscription.environment_id,
        Subscription.id,
        Subscription.due_from,
        Subscription.due_revision,
    )
    graces = session.scalars(select(Environment.billing_grace_seconds).distinct()).all()
    over = [
        and_(Environment.billing_grace_seconds == seconds, Subscription.due_from <= now - timedelta(seconds=seconds))
        for seconds in graces
    ]
    has_come = or_(Subscription.due_from == Subscription.start_date, *over)
    rows = session.execute(select(*columns).join(Environment, of_its).where(Subscription.due_from <= now, has_come))
    found = [(scope_of(row), row.id, row.due_from, row.due_revision) for row in rows]
    ids: defaultdict[Scope, list[str]] = defaultdict(list)
    for scope, subscription_id, _, _ in found:
        ids[scope].append(subscription_id)
    records = {scope: subscriptions_of(session, scope, some) for scope, some in ids.items()}
    candidates = [Candidate(scope, records[scope][one], moment, revision) for scope, one, moment, revision in found]
    return sorted(candidates, key=lambda one: (one.subscription.start_date, one.subscription.id))


def move_on(session: Session, moved: Sequence[MovedOn]) -> None:
    """Sets the moments of candidates, but not of one that was set back or moved on since it was read."""
    if not moved:
        return
    table = Subscription.__table__.c
    same = and_(
        table.tenant_id == bindparam("of_tenant"),
        table.environment_id == bindparam("of_environment"),
        table.id == bindparam("of_id"),
        table.due_revision == bindparam("of_revision"),
    )
    statement = update(Subscription.__table__).where(same)  # type: ignore[arg-type]
    values: list[dict[str, Any]] = [
        {
            "of_tenant": one.candidate.scope.tenant_id,
            "of_environment": one.candidate.scope.environment_id,
            "of_id": one.candidate.subscription.id,
            "of_revision": one.candidate.revision,
            "due_from": one.due_from,
            "due_revision": one.candidate.revision + 1,
        }
        for one in moved
    ]
    session.connection().execute(statement, values)


def look_again_at_starts(session: Session, scope: Scope, since: datetime) -> None:
    """Sets those back that began at `since` or later: other prices may make an advance of their first period due."""
    these = and_(in_scope(Subscription, scope), Subscription.start_date >= since)
    again = {"due_from": Subscription.start_date, "due_revision": Subscription.due_revision + 1}
    session.execute(update(Subscription).where(these).values(again))
