"""A customer of ours as a customer at the provider: made once, kept up to date, followed when changed over there."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from billing.ports import OUR_CUSTOMER, NewCustomer, ProviderCustomer, ProviderNotFound
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, mappings
from ledger.store.customers import CustomerRecord, get_customer
from ledger.store.mappings import MappingRecord
from pipelines.steps import provider_mapping
from pipelines.steps.connections import Link

ENTITY = "customer"


def ensure_customer(ledger: Ledger, scope: Scope, link: Link, customer_id: str, now: datetime) -> str:
    """The provider's id of our customer (ours or external id), who is made there if need be; never twice.

    NotFound `customer_not_found`; ProviderUnavailable: run it again; ProviderRejected.
    """
    return _mapping_of(ledger, scope, link, customer_id, now)[1].provider_id or ""


def push_customer(ledger: Ledger, scope: Scope, link: Link, customer_id: str, now: datetime) -> str:
    """As `ensure_customer`, and the provider's copy gets our present name and email."""
    customer, mapping = _mapping_of(ledger, scope, link, customer_id, now)
    provider_id = mapping.provider_id or ""
    wanted = _request(scope, customer)
    if wanted == mapping.detail.get("pushed", mapping.detail["request"]):
        return provider_id
    # A number and not a hash of the content names the update: going back to an old name must not be an old key.
    with ledger.begin() as session:
        held = provider_mapping.held(session, scope, mapping)
        number = held.detail.get("updates", 0) + 1
        _record(session, scope, held, {"updates": number}, now)
    try:
        link.gateway.update_customer(provider_id, _new_customer(wanted), f"cus:{customer.id}:update:{number}")
    except ProviderNotFound:
        return replace_customer(ledger, scope, link, customer_id, provider_id, now)
    with ledger.begin() as session:
        _record(session, scope, mapping, {"pushed": wanted}, now)
    return provider_id


def follow_customer(ledger: Ledger, scope: Scope, link: Link, provider_id: str, now: datetime) -> bool:
    """Looks at the provider's customer again and notes its default card. False when it is none of ours."""
    with ledger.read() as session:
        mapping = mappings.by_provider_id(session, scope, link.connection.id, ENTITY, provider_id)
    if mapping is None:
        return False
    seen = _seen(link, provider_id)
    if seen is None:
        forget(ledger, scope, link, provider_id, now)
        return True
    card = None
    if seen.default_payment_method_id is not None:
        method = link.gateway.get_payment_method(seen.default_payment_method_id)
        card = {"id": method.id, "brand": method.card.brand, "last4": method.card.last4}
    with ledger.begin() as session:
        _record(session, scope, mapping, {"default_card": card}, now)
    return True


def replace_customer(
    ledger: Ledger, scope: Scope, link: Link, customer_id: str, provider_id: str, now: datetime
) -> str:
    """As `ensure_customer`, after the provider said that it knows no such customer: that is checked first."""
    if _seen(link, provider_id) is None:
        forget(ledger, scope, link, provider_id, now)
    return ensure_customer(ledger, scope, link, customer_id, now)


def forget(ledger: Ledger, scope: Scope, link: Link, provider_id: str, now: datetime) -> None:
    """The provider's customer was deleted: the mapping is broken and the next `ensure_customer` makes a new one."""
    with ledger.begin() as session:
        mapping = mappings.by_provider_id(session, scope, link.connection.id, ENTITY, provider_id)
        if mapping is not None and provider_mapping.restart(session, scope, mapping, now, "deleted_at_provider"):
            detail = {"stripe_customer_id": provider_id}
            audit.write(session, scope, "stripe", "customer.unlinked", ENTITY, mapping.entity_id, detail, now)


def _mapping_of(
    ledger: Ledger, scope: Scope, link: Link, customer_id: str, now: datetime
) -> tuple[CustomerRecord, MappingRecord]:
    connection = link.connection
    with ledger.read() as session:
        customer = get_customer(session, scope, customer_id)
        known = mappings.get_mapping(session, scope, connection.id, ENTITY, customer.id)
    if known is not None and known.provider_id is not None:
        return customer, known
    with ledger.begin() as session:
        wanted = _request(scope, customer)
        mapping = provider_mapping.intend(session, scope, connection, ENTITY, customer.id, wanted, now)

    def create(intended: MappingRecord) -> ProviderCustomer:
        key = f"cus:{customer.id}:create:{intended.key_version}"
        return link.gateway.create_customer(_new_customer(intended.detail["request"]), key)

    def find(intended: MappingRecord) -> ProviderCustomer | None:
        since = datetime.fromisoformat(intended.detail["intended_at"]) - provider_mapping.KEY_LIFETIME
        return link.gateway.find_customer(customer.id, intended.detail["request"]["email"], since)

    made = provider_mapping.make_once(
        ledger, scope, connection, mapping, create=create, find=find, state="done", now=now
    )
    return customer, made


def _request(scope: Scope, customer: CustomerRecord) -> dict[str, Any]:
    metadata = {
        OUR_CUSTOMER: customer.id,
        "customer_id": customer.external_id,
        "tenant": scope.tenant_id,
        "environment": scope.environment_id,
    }
    return {"name": customer.name, "email": customer.email, "metadata": metadata}


def _new_customer(request: Mapping[str, Any]) -> NewCustomer:
    return NewCustomer(request["name"], request["email"], request["metadata"])


def _seen(link: Link, provider_id: str) -> ProviderCustomer | None:
    try:
        seen = link.gateway.get_customer(provider_id)
    except ProviderNotFound:
        return None
    return None if seen.deleted else seen


def _record(session: Session, scope: Scope, mapping: MappingRecord, detail: Mapping[str, Any], now: datetime) -> None:
    mappings.record(
        session, scope, mapping.connection_id, mapping.entity, mapping.entity_id, state="done", detail=detail, now=now
    )
