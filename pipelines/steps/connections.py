"""Connections to the provider: made and changed only after the provider accepted their key, opened for the other steps.

Secrets are in the clear only between the box and the gateway; no record, error or log line of ours holds one.
"""

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from billing.errors import Conflict, InvalidInput
from billing.ports import CallPace, GatewayFactory, PaymentGateway, ProviderAccount, ProviderKeyRefused
from billing.scope import Scope
from ledger.db import Ledger
from ledger.secretbox import SecretBox, Secrets
from ledger.store import audit, tenants
from ledger.store import connections as store
from ledger.store.connections import ConnectionRecord
from pipelines.steps.call_pace import CallPaces
from pipelines.steps.sync_config import (
    AFTER_LAST_TRY,
    COLLECTIONS,
    DEFAULT_DAYS_UNTIL_DUE,
    DEFAULT_RETRY_DAYS,
    calls_per_second,
    check_sync_config,
    merged,
    syncs,
)

PROVIDER = "stripe"
ENTITY = "connection"
# The audit's word for another secret key of the provider.
KEY_CHANGED = "connection.key_changed"
_SECRET_KEY = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9_]{8,250}")
_WEBHOOK_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]{8,250}")
_KEPT_GATEWAYS = 256
_FEWEST_AT_ONCE = 4
_MOST_AT_ONCE = 128


@dataclass(frozen=True)
class Link:
    """A connection and the gateway that uses its key."""

    connection: ConnectionRecord
    gateway: PaymentGateway

    def syncs(self, entity: str, direction: str) -> bool:
        """Whether an entity travels in a direction, as in `sync_config`."""
        return syncs(self.connection.sync_config, entity, direction)

    @property
    def sends_invoices(self) -> bool:
        """Whether invoices go to the provider at all."""
        return self.syncs("invoice", "outbound")

    @property
    def provider_collects(self) -> bool:
        """Whether the provider charges and retries on its own. Then nobody else may: see `pay_invoice`."""
        return self.collected_by == "stripe"

    @property
    def we_collect(self) -> bool:
        """Whether we charge on a schedule of our own: see `collect_invoice`."""
        return self.collected_by == "tallyhouse"

    @property
    def collected_by(self) -> str:
        """Who charges and retries what is sent from now on: one of `COLLECTIONS`."""
        return str(self.connection.sync_config.get("collection", COLLECTIONS[0]))

    @property
    def retry_days(self) -> tuple[int, ...]:
        """Days from each of our tries to the next."""
        return tuple(self.connection.sync_config.get("retry_days", DEFAULT_RETRY_DAYS))

    @property
    def after_last_try(self) -> str:
        return str(self.connection.sync_config.get("after_last_try", AFTER_LAST_TRY[0]))

    @property
    def calls_at_once(self) -> int:
        """How many calls have to run at once to make use of the pace, when an answer takes half a second."""
        pace = calls_per_second(self.connection.sync_config, live=self.connection.livemode)
        return max(_FEWEST_AT_ONCE, min(_MOST_AT_ONCE, pace // 2))

    @property
    def days_until_due(self) -> int:
        return int(self.connection.sync_config.get("days_until_due", DEFAULT_DAYS_UNTIL_DUE))


@dataclass(frozen=True)
class NewConnection:
    """`webhook_secrets` newest first; `sync_config` as in `check_sync_config`."""

    name: str
    secret_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    sync_config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ConnectionUpdate:
    """What should change; None stays, and so does what `sync_config` does not name.

    `webhook_secrets` replaces all of them: send both while one is being rolled.
    """

    name: str | None = None
    status: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    webhook_secrets: tuple[str, ...] | None = field(default=None, repr=False)
    sync_config: Mapping[str, Any] | None = None


class Gateways:
    """Opens connections. Gateways are kept by key, so that their HTTP connections are reused; safe between threads."""

    def __init__(self, ledger: Ledger, box: SecretBox, factory: GatewayFactory, paces: CallPaces | None = None) -> None:
        """Without `paces` the provider is called as fast as work comes."""
        self._paces = paces
        self._ledger = ledger
        self._box = box
        self._factory = factory
        self._kept: OrderedDict[bytes, PaymentGateway] = OrderedDict()
        self._lock = threading.Lock()

    def active(self, scope: Scope) -> Link | None:
        """The environment's active connection, or None."""
        with self._ledger.read() as session:
            connection = store.active(session, scope, PROVIDER)
        return None if connection is None else self.open(scope, connection)

    def require(self, scope: Scope) -> Link:
        """The active connection. Conflict `no_connection` or `connection_inactive`."""
        link = self.active(scope)
        if link is None:
            raise self.missing(scope)
        return link

    def missing(self, scope: Scope) -> Conflict:
        """Why there is no active connection."""
        with self._ledger.read() as session:
            known = store.list_connections(session, scope)
        if known:
            return Conflict("connection_inactive", "the Stripe connection is disabled", hint="Enable the connection.")
        return Conflict("no_connection", "there is no Stripe connection", hint="Create a connection first.")

    def open(self, scope: Scope, connection: ConnectionRecord) -> Link:
        """One connection, active or not. NotFound when it was deleted; Unavailable when its secrets do not open."""
        with self._ledger.read() as session:
            secrets = store.open_secrets(session, scope, connection.id, self._box)
        # Asked for each time: the settings of a pace that is in use may have changed.
        pace = None if self._paces is None else self._paces.of(connection)
        return Link(connection, self._gateway(secrets.secret_key, pace))

    def _gateway(self, secret_key: str, pace: CallPace | None) -> PaymentGateway:
        name = hashlib.sha256(secret_key.encode()).digest()
        with self._lock:
            gateway = self._kept.pop(name, None) or self._factory(secret_key, pace)
            self._kept[name] = gateway
            while len(self._kept) > _KEPT_GATEWAYS:
                self._kept.popitem(last=False)
        return gateway


def connect(
    ledger: Ledger,
    scope: Scope,
    box: SecretBox,
    factory: GatewayFactory,
    request: NewConnection,
    actor: str,
    now: datetime,
) -> ConnectionRecord:
    """Checks the key with the provider and stores the connection, its secrets sealed; who did it is audited.

    InvalidInput `secret_key_malformed`, `webhook_secret_malformed`, `key_mode_mismatch`, `secret_key_refused` and those
    of `check_sync_config`; Conflict `connection_active_exists`; ProviderUnavailable.
    """
    check_sync_config(request.sync_config)
    _check_webhook_secrets(request.webhook_secrets)
    account = _account_of(ledger, scope, factory, request.secret_key)
    sealed = box.seal(scope, Secrets(request.secret_key, request.webhook_secrets))
    with ledger.begin() as session:
        made = store.create_connection(
            session,
            scope,
            name=request.name,
            provider=PROVIDER,
            livemode=account.livemode,
            sync_config=request.sync_config,
            sealed=sealed,
            account_id=account.id,
            now=now,
        )
        detail = {"account": account.id, "livemode": account.livemode, "secret_key_last4": made.secret_key_last4}
        audit.write(session, scope, actor, "connection.created", ENTITY, made.id, detail, now)
        return made


def change(
    ledger: Ledger,
    scope: Scope,
    box: SecretBox,
    factory: GatewayFactory,
    connection_id: str,
    update: ConnectionUpdate,
    actor: str,
    now: datetime,
) -> ConnectionRecord:
    """Changes a connection; a new key must belong to the account that the mappings point into. Who changed what is
    audited.

    As `connect`, and NotFound `connection_not_found`, Conflict `account_differs`.
    """
    changes: store.ConnectionChanges = {}
    if update.name is not None:
        changes["name"] = update.name
    if update.status is not None:
        if update.status not in {"active", "disabled"}:
            raise InvalidInput("status_unknown", "is neither active nor disabled", field="status")
        changes["status"] = update.status
    if update.sync_config is not None:
        check_sync_config(update.sync_config)
    if update.webhook_secrets is not None:
        _check_webhook_secrets(update.webhook_secrets)
    account = None if update.secret_key is None else _account_of(ledger, scope, factory, update.secret_key)
    with ledger.begin() as session:
        found = store.get_connection(session, scope, connection_id, hold=True)
        if account is not None and found.account_id not in {None, account.id}:
            raise Conflict(
                "account_differs",
                "the key belongs to another Stripe account",
                hint="Disable this connection and create a new one for the other account.",
            )
        if account is not None:
            changes["account_id"] = account.id
        if update.sync_config is not None:
            changes["sync_config"] = merged(found.sync_config, update.sync_config)
        if update.secret_key is not None or update.webhook_secrets is not None:
            old = store.open_secrets(session, scope, connection_id, box)
            kept = old.webhook_secrets if update.webhook_secrets is None else update.webhook_secrets
            changes["sealed"] = box.seal(scope, Secrets(update.secret_key or old.secret_key, kept))
        changed = store.update_connection(session, scope, connection_id, changes)
        detail = {"changed": [name for name, value in vars(update).items() if value is not None]}
        action = "connection.changed" if update.secret_key is None else KEY_CHANGED
        audit.write(session, scope, actor, action, ENTITY, connection_id, detail, now)
        return changed


def disconnect(session: Session, scope: Scope, connection_id: str, actor: str, now: datetime) -> None:
    """Forgets a connection and its secrets; its mappings stay. NotFound `connection_not_found`."""
    store.delete_connection(session, scope, connection_id, now)
    audit.write(session, scope, actor, "connection.deleted", ENTITY, connection_id, {}, now)


def _account_of(ledger: Ledger, scope: Scope, factory: GatewayFactory, secret_key: str) -> ProviderAccount:
    if not _SECRET_KEY.fullmatch(secret_key):
        raise InvalidInput(
            "secret_key_malformed",
            "is not a Stripe secret or restricted key",
            field="secret_key",
            hint="Copy the key that starts with sk_test_, sk_live_, rk_test_ or rk_live_.",
        )
    with ledger.read() as session:
        kind = tenants.get_environment(session, scope).kind
    live = secret_key[3:8] == "live_"
    if live != (kind == "live"):
        raise InvalidInput(
            "key_mode_mismatch",
            f"a {'live' if live else 'test'} key cannot be used in a {kind} environment",
            field="secret_key",
            hint=f"Use a {kind} mode key, or an environment of the key's mode.",
        )
    try:
        return factory(secret_key).account()
    except ProviderKeyRefused as error:
        raise InvalidInput(
            "secret_key_refused", error.detail, field="secret_key", hint="Check the key in the Stripe Dashboard."
        ) from error


def _check_webhook_secrets(secrets: tuple[str, ...]) -> None:
    for position, secret in enumerate(secrets):
        if not _WEBHOOK_SECRET.fullmatch(secret):
            raise InvalidInput(
                "webhook_secret_malformed",
                "is not a webhook signing secret",
                field=f"webhook_secrets[{position}]",
                hint="Copy the endpoint's signing secret, which starts with whsec_.",
            )
