"""Makes an object at the provider exactly once, whatever fails in between.

The mapping row is the memory: before the call it holds the request word for word and the version that goes into the
idempotency key. After an unknown outcome the same request goes out again under the same key. Once the key may have
been forgotten, or the provider only repeats a stored failure, the provider's list is searched for our id, and only
when it is not there a new version of the key is used.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from billing.ports import IdempotencyMismatch, ProviderUnavailable
from billing.scope import Scope
from ledger.db import Ledger
from ledger.models import Invoice
from ledger.models import Mapping as MappingRow
from ledger.store import mappings
from ledger.store.connections import ConnectionRecord
from ledger.store.mappings import MappingRecord
from ledger.store.rows import affected, in_scope

# Stripe keeps a key for at least 24 hours; an hour less, so that clocks may differ.
KEY_LIFETIME = timedelta(hours=23)
_ROUNDS = 3


class HasId(Protocol):
    @property
    def id(self) -> str: ...


Made = TypeVar("Made", bound=HasId)
Result = TypeVar("Result")


def make_once(
    ledger: Ledger,
    scope: Scope,
    connection: ConnectionRecord,
    mapping: MappingRecord,
    *,
    create: Callable[[MappingRecord], Made],
    find: Callable[[MappingRecord], Made | None],
    state: str,
    now: datetime,
) -> MappingRecord:
    """The mapping with its `provider_id`. `mapping` comes from `intend`; `state` is what to record once it is made."""
    for _ in range(_ROUNDS):
        if mapping.provider_id is not None:
            return mapping
        made = _attempt(mapping, create, find, now)
        with ledger.begin() as session:
            if made is None:
                restart(session, scope, mapping, now)
            else:
                mappings.record(
                    session,
                    scope,
                    connection.id,
                    mapping.entity,
                    mapping.entity_id,
                    state=state,
                    provider_id=made.id,
                    now=now,
                )
            request = mapping.detail["request"]
            mapping = intend(session, scope, connection, mapping.entity, mapping.entity_id, request, now)
    if mapping.provider_id is None:
        raise ProviderUnavailable("provider_failed", "the provider failed repeatedly")
    return mapping


def intend(
    session: Session,
    scope: Scope,
    connection: ConnectionRecord,
    entity: str,
    entity_id: str,
    request: Mapping[str, Any],
    now: datetime,
) -> MappingRecord:
    """The mapping, its request written down before it is sent. The first request stays, whoever asks again.

    What an earlier connection to the same account has made is taken over, so that reconnecting duplicates nothing.
    """
    mapping = mappings.intend(session, scope, connection.id, entity, entity_id, now)
    mapping = held(session, scope, mapping)
    if "request" in mapping.detail:
        return mapping
    inherited = _from_earlier_connection(session, scope, connection, mapping)
    if inherited is not None:
        return mappings.record(
            session,
            scope,
            connection.id,
            entity,
            entity_id,
            state=inherited.state,
            provider_id=inherited.provider_id,
            detail=inherited.detail,
            last_error=inherited.last_error,
            now=now,
        )
    known = {"request": dict(request), "intended_at": now.isoformat(), "account": connection.account_id}
    return mappings.record(session, scope, connection.id, entity, entity_id, state="intended", detail=known, now=now)


def note(session: Session, scope: Scope, mapping: MappingRecord, detail: Mapping[str, Any], now: datetime) -> None:
    """Writes something down about an object of the provider; how far it has come and what went wrong stay."""
    mappings.record(
        session,
        scope,
        mapping.connection_id,
        mapping.entity,
        mapping.entity_id,
        state=mapping.state,
        detail=detail,
        last_error=mapping.last_error,
        now=now,
    )


def restart(
    session: Session, scope: Scope, mapping: MappingRecord, now: datetime, failed_because: str | None = None
) -> bool:
    """Forgets the provider's object and raises the key's version, unless another worker has done so: then False.

    With a reason the mapping is left "failed" for people to see; the next `intend` starts afresh either way.
    """
    this_version = (
        update(MappingRow)
        .where(in_scope(MappingRow, scope), MappingRow.id == mapping.id)
        .where(
            MappingRow.key_version == mapping.key_version,
            MappingRow.provider_id.is_not_distinct_from(mapping.provider_id),
        )
    )
    fresh = {
        "key_version": mapping.key_version + 1,
        "provider_id": None,
        "state": "intended" if failed_because is None else "failed",
        "last_error": failed_because,
        "detail": {"account": mapping.detail.get("account")},
        "updated_at": now,
    }
    return affected(session, this_version.values(fresh)) == 1


def held(session: Session, scope: Scope, mapping: MappingRecord) -> MappingRecord:
    """The mapping as it is now, its row locked until the transaction ends."""
    this_row = select(MappingRow.id).where(in_scope(MappingRow, scope), MappingRow.id == mapping.id)
    session.execute(this_row.with_for_update())
    found = mappings.get_mapping(session, scope, mapping.connection_id, mapping.entity, mapping.entity_id)
    return found or mapping


def hold_invoice(session: Session, scope: Scope, invoice_id: str) -> None:
    """Locks an invoice's row: sending it to the provider and making a payment link for it wait for each other."""
    session.execute(select(Invoice.id).where(in_scope(Invoice, scope), Invoice.id == invoice_id).with_for_update())


def guarded(call: Callable[[str], Result], key: str) -> Result:
    """A call that the object's own state keeps from having its effect twice, such as finalizing.

    When the provider only repeats a stored failure under this key, it is made once more under another.
    """
    try:
        return call(key)
    except ProviderUnavailable as error:
        if not error.replayed:
            raise
    return call(f"{key}:again")


def key_is_old(mapping: MappingRecord, now: datetime) -> bool:
    """Whether the provider may have forgotten the mapping's key."""
    return now - datetime.fromisoformat(mapping.detail["intended_at"]) > KEY_LIFETIME


def _attempt(
    mapping: MappingRecord,
    create: Callable[[MappingRecord], Made],
    find: Callable[[MappingRecord], Made | None],
    now: datetime,
) -> Made | None:
    if key_is_old(mapping, now):
        return find(mapping)
    try:
        return create(mapping)
    except IdempotencyMismatch:
        # The first request was another one and may still run, so nothing new is made until its key has expired.
        found = find(mapping)
        if found is None:
            raise ProviderUnavailable("provider_busy", "an earlier request under the same key is unsettled") from None
        return found
    except ProviderUnavailable as error:
        if not error.replayed:
            raise
        return find(mapping)


def _from_earlier_connection(
    session: Session, scope: Scope, connection: ConnectionRecord, mapping: MappingRecord
) -> MappingRecord | None:
    known = mappings.list_mappings(session, scope, entity=mapping.entity, entity_id=mapping.entity_id, limit=100).items
    return next(
        (
            other
            for other in known
            if other.connection_id != connection.id
            and other.provider_id is not None
            and connection.account_id is not None
            and other.detail.get("account") == connection.account_id
        ),
        None,
    )
