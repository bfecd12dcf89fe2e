"""API keys. The secret is shown once, at creation; the ledger keeps its SHA-256 and the last four characters.

A plain hash is enough, because a secret has 256 random bits: there is nothing to guess, so nothing to slow down.
"""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from billing.errors import InvalidInput, NotAuthenticated, NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import ApiKey
from ledger.store.rows import in_scope, insert_new, scope_of, scoped
from ledger.store.tenants import get_environment

ALL_SCOPES = frozenset(
    {
        "events:read",
        "events:write",
        "events:correct",
        "usage:read",
        "catalog:read",
        "catalog:write",
        "customers:read",
        "customers:write",
        "subscriptions:read",
        "subscriptions:write",
        "invoices:read",
        "invoices:write",
        "gates:override",
        "payments:read",
        "payments:write",
        "connections:read",
        "connections:write",
        "runs:read",
        "runs:write",
    }
)


@dataclass(frozen=True)
class KeyRecord:
    id: str
    scope: Scope
    scopes: frozenset[str]
    name: str
    last4: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def create_key(
    session: Session,
    scope: Scope,
    name: str,
    scopes: Collection[str],
    now: datetime,
    expires_at: datetime | None = None,
) -> tuple[KeyRecord, str]:
    """A new key and its secret, which cannot be read again. InvalidInput `key_scope_unknown`."""
    unknown = sorted(set(scopes) - ALL_SCOPES)
    if unknown:
        raise InvalidInput("key_scope_unknown", f"unknown scope {unknown[0]!r}", field="scopes")
    kind = get_environment(session, scope).kind
    secret = f"tally_{kind}_{secrets.token_urlsafe(32)}"
    record = KeyRecord(new_id("key", now), scope, frozenset(scopes), name, secret[-4:], now, expires_at, None)
    values = scoped(
        scope,
        id=record.id,
        name=name,
        secret_sha256=_sha256(secret),
        last4=record.last4,
        scopes=sorted(record.scopes),
        created_at=now,
        expires_at=expires_at,
    )
    insert_new(session, ApiKey, values)
    return record, secret


def authenticate(session: Session, secret: str, now: datetime) -> KeyRecord:
    """The key behind a secret. NotAuthenticated `api_key_unknown`, `api_key_revoked`, `api_key_expired`."""
    row = session.scalar(select(ApiKey).where(ApiKey.secret_sha256 == _sha256(secret)))
    if row is None:
        raise NotAuthenticated("api_key_unknown", "this API key does not exist", hint="Send a key in X-API-Key.")
    if row.revoked_at is not None:
        raise NotAuthenticated("api_key_revoked", "this API key was revoked", hint="Use another key.")
    if row.expires_at is not None and row.expires_at <= now:
        raise NotAuthenticated("api_key_expired", "this API key has expired", hint="Use the key that replaced it.")
    return _record(row)


def list_keys(session: Session, scope: Scope) -> list[KeyRecord]:
    """All keys of an environment, revoked ones too, newest first."""
    rows = select(ApiKey).where(in_scope(ApiKey, scope)).order_by(ApiKey.created_at.desc(), ApiKey.id.desc())
    return [_record(row) for row in session.scalars(rows)]


def revoke_key(session: Session, scope: Scope, key_id: str, now: datetime) -> KeyRecord:
    """Ends a key at once and for good; a second call changes nothing. NotFound `api_key_not_found`."""
    still_valid = in_scope(ApiKey, scope) & (ApiKey.id == key_id) & ApiKey.revoked_at.is_(None)
    session.execute(update(ApiKey).where(still_valid).values(revoked_at=now))
    return _record(_get(session, scope, key_id))


def rotate_key(session: Session, scope: Scope, key_id: str, overlap: timedelta, now: datetime) -> tuple[KeyRecord, str]:
    """A successor with the same name and scopes; the old key works until `now + overlap`, or its earlier end."""
    old = _get(session, scope, key_id)
    if old.revoked_at is not None:
        raise NotFound("api_key_not_found", "this API key was revoked", field="key_id", hint="Create a new key.")
    end = now + overlap
    ends_at = end if old.expires_at is None else min(end, old.expires_at)
    session.execute(update(ApiKey).where(in_scope(ApiKey, scope), ApiKey.id == key_id).values(expires_at=ends_at))
    return create_key(session, scope, old.name, old.scopes, now)


def _get(session: Session, scope: Scope, key_id: str) -> ApiKey:
    row = session.scalar(select(ApiKey).where(in_scope(ApiKey, scope), ApiKey.id == key_id))
    if row is None:
        raise NotFound("api_key_not_found", "no such API key", field="key_id")
    return row


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _record(row: ApiKey) -> KeyRecord:
    return KeyRecord(
        row.id,
        scope_of(row),
        frozenset(row.scopes),
        row.name,
        row.last4,
        row.created_at,
        row.expires_at,
        row.revoked_at,
    )
