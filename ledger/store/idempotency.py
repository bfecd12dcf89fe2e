"""Answers kept under an Idempotency-Key, so that a request sent twice has one effect and one answer."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.orm import Session

from billing.errors import Conflict
from billing.scope import Scope
from ledger.models import IdempotentRequest
from ledger.store.rows import affected, in_scope, insert_new, scoped

# A request that has run this long without an answer has died with its process.
RUNNING_LEASE = timedelta(minutes=2)
KEPT_FOR = timedelta(days=2)


@dataclass(frozen=True)
class StoredAnswer:
    """What was answered: the HTTP status and the body's text."""

    status: int
    body: str


def reserve(session: Session, scope: Scope, key: str, route: str, body_hash: str, now: datetime) -> StoredAnswer | None:
    """Takes the key for a request about to run (None), or returns the answer that it had before.

    Commit before running the request, so that a second one sees it. Conflict `idempotency_key_reused` (another route or
    body), `idempotency_key_in_use` (the first request is still running).
    """
    values = scoped(scope, key=key, route=route, body_hash=body_hash, reserved_at=now)
    if insert_new(session, IdempotentRequest, values):
        return None
    row = session.scalars(select(IdempotentRequest).where(_this(scope, key)).with_for_update()).one()
    over = now - row.reserved_at
    if over < KEPT_FOR and (row.route, row.body_hash) != (route, body_hash):
        raise Conflict(
            "idempotency_key_reused",
            "this Idempotency-Key was used for another request",
            hint="Use a new key for a new request.",
        )
    if row.status is not None and row.body is not None and over < KEPT_FOR:
        return StoredAnswer(row.status, row.body)
    if row.status is None and over < RUNNING_LEASE:
        raise Conflict(
            "idempotency_key_in_use",
            "the first request with this Idempotency-Key is still running",
            hint="Send it again in a moment.",
        )
    again = {"route": route, "body_hash": body_hash, "status": None, "body": None, "reserved_at": now}
    session.execute(update(IdempotentRequest).where(_this(scope, key)).values(again))
    return None


def complete(session: Session, scope: Scope, key: str, status: int, body: str) -> None:
    """Keeps the answer; in the request's own transaction, effect and answer are stored together or not at all."""
    session.execute(update(IdempotentRequest).where(_this(scope, key)).values(status=status, body=body))


def release(session: Session, scope: Scope, key: str) -> None:
    """Gives a key back after a request that had no effect. A kept answer stays."""
    session.execute(delete(IdempotentRequest).where(_this(scope, key), IdempotentRequest.status.is_(None)))


def purge(session: Session, now: datetime) -> int:
    """Removes the answers of all environments that are older than KEPT_FOR; returns how many."""
    return affected(session, delete(IdempotentRequest).where(IdempotentRequest.reserved_at <= now - KEPT_FOR))


def _this(scope: Scope, key: str) -> ColumnElement[bool]:
    return and_(in_scope(IdempotentRequest, scope), IdempotentRequest.key == key)
