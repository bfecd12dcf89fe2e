"""Connections to a payment provider. Their secrets are stored sealed and opened only where a gateway is built."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Connection
from ledger.secretbox import Sealed, SecretBox, Secrets
from ledger.store.rows import in_scope, insert_new, scope_of, scoped


@dataclass(frozen=True)
class ConnectionRecord:
    """`sync_config` is e.g. {"invoice": {"inbound": false, "outbound": true}}; `key_id` names the key that sealed.

    `events_read_until` is how far the provider's own list of events has been read.
    """

    id: str
    name: str
    provider: str
    status: str
    livemode: bool
    account_id: str | None
    sync_config: dict[str, Any]
    secret_key_last4: str
    webhook_secret_last4: str | None
    key_id: str
    created_at: datetime
    events_read_until: datetime | None


class ConnectionChanges(TypedDict, total=False):
    """What may change of a connection; a key that is absent stays as it is."""

    name: str
    status: str
    livemode: bool
    account_id: str | None
    sync_config: Mapping[str, Any]
    sealed: Sealed
    events_read_until: datetime


def create_connection(
    session: Session,
    scope: Scope,
    *,
    name: str,
    provider: str,
    livemode: bool,
    sync_config: Mapping[str, Any],
    sealed: Sealed,
    now: datetime,
    account_id: str | None = None,
    status: str = "active",
) -> ConnectionRecord:
    """A new connection. Conflict `connection_active_exists`: an environment has one active one per provider."""
    values = scoped(
        scope,
        id=new_id("conn", now),
        name=name,
        provider=provider,
        status=status,
        livemode=livemode,
        account_id=account_id,
        sync_config=dict(sync_config),
        created_at=now,
        **_sealed_columns(sealed),
    )
    if not insert_new(session, Connection, values):
        raise _second_active()
    return get_connection(session, scope, values["id"])


def get_connection(session: Session, scope: Scope, connection_id: str, *, hold: bool = False) -> ConnectionRecord:
    """NotFound `connection_not_found`, also for a deleted one. `hold` locks its row until the transaction ends."""
    if hold:
        session.execute(select(Connection.id).where(_this(scope, connection_id)).with_for_update())
    return _record(_get(session, scope, connection_id))


def active(session: Session, scope: Scope, provider: str) -> ConnectionRecord | None:
    """The environment's active connection to a provider, if any."""
    rows = select(Connection).where(in_scope(Connection, scope), _is_active(provider))
    row = session.scalar(rows)
    return None if row is None else _record(row)


def list_connections(session: Session, scope: Scope) -> list[ConnectionRecord]:
    """An environment's connections, newest first."""
    rows = select(Connection).where(in_scope(Connection, scope), Connection.deleted_at.is_(None))
    return [_record(row) for row in session.scalars(rows.order_by(Connection.created_at.desc(), Connection.id.desc()))]


def open_secrets(session: Session, scope: Scope, connection_id: str, box: SecretBox) -> Secrets:
    """The secrets in the clear. NotFound `connection_not_found`; Unavailable when they do not open (see SecretBox)."""
    row = _get(session, scope, connection_id)
    return box.open(scope, row.key_id, row.sealed_secrets or "")


def update_connection(
    session: Session, scope: Scope, connection_id: str, changes: ConnectionChanges
) -> ConnectionRecord:
    """Changes the keys that are present. NotFound `connection_not_found`, Conflict `connection_active_exists`."""
    found = _get(session, scope, connection_id)
    if changes.get("status") == "active":
        other = active(session, scope, found.provider)
        if other is not None and other.id != connection_id:
            raise _second_active()
    values: dict[str, Any] = {**changes}
    if "sealed" in changes:
        del values["sealed"]
        values |= _sealed_columns(changes["sealed"])
    if values:
        session.execute(update(Connection).where(_this(scope, connection_id)).values(values))
    return get_connection(session, scope, connection_id)


def delete_connection(session: Session, scope: Scope, connection_id: str, now: datetime) -> None:
    """Forgets the secrets and hides the connection; its mappings stay. NotFound `connection_not_found`."""
    _get(session, scope, connection_id)
    gone = {"deleted_at": now, "status": "disabled", "sealed_secrets": None}
    session.execute(update(Connection).where(_this(scope, connection_id)).values(gone))


def sealed_with_others(session: Session, box: SecretBox) -> list[tuple[Scope, str]]:
    """Connections of all environments whose secrets are sealed with another key than the box's current one."""
    rows = select(Connection).where(Connection.deleted_at.is_(None), Connection.key_id != box.current)
    return [(scope_of(row), row.id) for row in session.scalars(rows.order_by(Connection.created_at, Connection.id))]


def reseal_secrets(session: Session, scope: Scope, connection_id: str, box: SecretBox) -> None:
    """Seals a connection's secrets with the box's current key. As `open_secrets`; its row is locked meanwhile."""
    get_connection(session, scope, connection_id, hold=True)
    sealed = box.seal(scope, open_secrets(session, scope, connection_id, box))
    session.execute(update(Connection).where(_this(scope, connection_id)).values(_sealed_columns(sealed)))


def _get(session: Session, scope: Scope, connection_id: str) -> Connection:
    row = session.scalar(select(Connection).where(_this(scope, connection_id), Connection.deleted_at.is_(None)))
    if row is None:
        raise NotFound("connection_not_found", "no such connection", field="connection_id")
    return row


def _this(scope: Scope, connection_id: str) -> ColumnElement[bool]:
    return and_(in_scope(Connection, scope), Connection.id == connection_id)


def _is_active(provider: str) -> ColumnElement[bool]:
    return and_(Connection.provider == provider, Connection.status == "active", Connection.deleted_at.is_(None))


def _second_active() -> Conflict:
    return Conflict(
        "connection_active_exists",
        "the environment has an active connection to this provider",
        hint="Disable or delete the other connection first.",
    )


def _sealed_columns(sealed: Sealed) -> dict[str, Any]:
    return {
        "sealed_secrets": sealed.token,
        "key_id": sealed.key_id,
        "secret_key_last4": sealed.secret_key_last4,
        "webhook_secret_last4": sealed.webhook_secret_last4,
    }


def _record(row: Connection) -> ConnectionRecord:
    return ConnectionRecord(
        id=row.id,
        name=row.name,
        provider=row.provider,
        status=row.status,
        livemode=row.livemode,
        account_id=row.account_id,
        sync_config=row.sync_config,
        secret_key_last4=row.secret_key_last4,
        webhook_secret_last4=row.webhook_secret_last4,
        key_id=row.key_id,
        created_at=row.created_at,
        events_read_until=row.events_read_until,
    )
