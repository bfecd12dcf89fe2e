"""The history of subscriptions: what changed, from when on, who said so. It only grows."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.errors import Conflict
from billing.scope import Scope
from billing.subscription import Change, ChangeKind
from ledger.models import SubscriptionChange
from ledger.page import DEFAULT_LIMIT, Page, paginate_versions
from ledger.store.rows import among, in_chunks, in_scope, insert_new, scoped


@dataclass(frozen=True, kw_only=True)
class ChangeRecord(Change):
    """A change with its reason, and who made it when."""

    reason: str | None
    actor: str
    created_at: datetime


@dataclass(frozen=True)
class NewChange:
    """What is added to a history; `values` as `billing.subscription.ChangeKind` says."""

    kind: ChangeKind
    effective_at: datetime
    values: Mapping[str, Any] = field(default_factory=dict)
    withdraws: int | None = None
    reason: str | None = None


def append(
    session: Session,
    scope: Scope,
    subscription_id: str,
    known: int,
    changes: Sequence[NewChange],
    actor: str,
    now: datetime,
) -> None:
    """Adds changes after the `known` ones. The caller holds the subscription, and has read its history since.

    Conflict `subscription_changed` where it has not.
    """
    for sequence, change in enumerate(changes, known + 1):
        values = scoped(
            scope,
            subscription_id=subscription_id,
            sequence=sequence,
            kind=change.kind.value,
            effective_at=change.effective_at,
            plan_id=change.values.get("plan_id"),
            values=dict(change.values),
            withdraws=change.withdraws,
            reason=change.reason,
            actor=actor,
            created_at=now,
        )
        if not insert_new(session, SubscriptionChange, values):
            raise Conflict("subscription_changed", "somebody else has changed the subscription", hint="Try again.")


def list_changes(
    session: Session, scope: Scope, subscription_id: str, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[ChangeRecord]:
    """The history of a subscription, last entry first."""
    rows = select(SubscriptionChange).where(
        in_scope(SubscriptionChange, scope), SubscriptionChange.subscription_id == subscription_id
    )
    return paginate_versions(session, rows, SubscriptionChange.sequence, _record, cursor, limit)


def histories_of(
    session: Session, scope: Scope, subscription_ids: Collection[str]
) -> dict[str, tuple[ChangeRecord, ...]]:
    """Subscription id -> its history in the order in which it was written; one without changes is left out."""
    found: defaultdict[str, list[ChangeRecord]] = defaultdict(list)
    rows = select(SubscriptionChange).where(in_scope(SubscriptionChange, scope)).order_by(SubscriptionChange.sequence)
    for some in in_chunks(subscription_ids):
        for row in session.scalars(rows.where(among(session, SubscriptionChange.subscription_id, some))):
            found[row.subscription_id].append(_record(row))
    return {subscription_id: tuple(changes) for subscription_id, changes in found.items()}


def _record(row: SubscriptionChange) -> ChangeRecord:
    return ChangeRecord(
        sequence=row.sequence,
        kind=ChangeKind(row.kind),
        effective_at=row.effective_at,
        values=row.values,
        withdraws=row.withdraws,
        reason=row.reason,
        actor=row.actor,
        created_at=row.created_at,
    )
