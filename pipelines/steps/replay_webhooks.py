"""Use case: webhook events that were given up, or ignored for a reason that has gone, are worked off once more."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, inbox

__all__ = ["replay"]

_PAGE = 100


def replay(ledger: Ledger, scope: Scope, ids: Collection[str], actor: str, now: datetime) -> int:
    """Makes these events due again, or without ids all that were given up; returns how many.

    An event says only "look again", so working one off twice ends in the same state. NotFound `inbox_event_not_found`:
    none is replayed.
    """
    with ledger.begin() as session:
        chosen = [inbox.get_event(session, scope, each).id for each in ids] if ids else _given_up(session, scope)
        for each in chosen:
            inbox.reopen(session, scope, each, now)
            audit.write(session, scope, actor, "webhook.replayed", "webhook", each, {}, now)
    return len(chosen)


def _given_up(session: Session, scope: Scope) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = inbox.list_events(session, scope, state="failed", cursor=cursor, limit=_PAGE)
        found += [event.id for event in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found
