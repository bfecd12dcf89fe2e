"""Finds the plans and subscriptions that the provider does not have as they are now."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeVar

from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.db import Ledger
from ledger.page import Page
from ledger.store import connections, outbox, plans, subscriptions
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps import sync_plan, sync_subscription
from pipelines.steps.connections import PROVIDER
from pipelines.steps.sync_config import syncs

__all__ = ["ask_for_changed"]

_PAGE = 100
T = TypeVar("T")


def ask_for_changed(ledger: Ledger, scope: Scope, now: datetime) -> int:
    """Puts in what is not at the provider as it is now: what changed by itself, as a price that came into force or a
    pause that began, and what was there before the connection was. Returns how many."""
    with ledger.read() as session:
        connection = connections.active(session, scope, PROVIDER)
    if connection is None:
        return 0
    changed: list[tuple[str, str]] = []
    if syncs(connection.sync_config, "plan", "outbound"):
        changed += [("plan", plan_id) for plan_id in _changed_plans(ledger, scope, connection.id, now)]
    if syncs(connection.sync_config, "subscription", "outbound"):
        found = _changed_subscriptions(ledger, scope, connection.id, now)
        changed += [("subscription", subscription_id) for subscription_id in found]
    with ledger.begin() as session:
        for entity, entity_id in changed:
            outbox.enqueue(session, scope, f"{entity}.sync", entity_id, now)
    return len(changed)


def _changed_plans(ledger: Ledger, scope: Scope, connection_id: str, now: datetime) -> Iterator[str]:
    for session, page in _pages(ledger, lambda s, cursor: plans.list_plans(s, scope, cursor, _PAGE, now)):
        for plan in page.items:
            if not sync_plan.is_current(session, scope, connection_id, plan):
                yield plan.id


def _changed_subscriptions(ledger: Ledger, scope: Scope, connection_id: str, now: datetime) -> Iterator[str]:
    def read(session: Session, cursor: str | None) -> Page[SubscriptionRecord]:
        return subscriptions.list_subscriptions(session, scope, now, cursor=cursor, limit=_PAGE)

    for session, page in _pages(ledger, read):
        for ours in page.items:
            if not sync_subscription.is_current(session, scope, connection_id, ours, now):
                yield ours.id


def _pages(ledger: Ledger, read: Callable[[Session, str | None], Page[T]]) -> Iterator[tuple[Session, Page[T]]]:
    """Page by page, each with the transaction that it was read in."""
    cursor: str | None = None
    while True:
        with ledger.read() as session:
            page = read(session, cursor)
            yield session, page
        cursor = page.next_cursor
        if cursor is None:
            return
