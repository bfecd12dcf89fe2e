"""A customer of ours as a customer at the provider: found or made once, kept up to date, followed when changed there.

Before one is made, the provider's customers with the same email are looked through: the one that carries our id is
ours, and one that carries nobody's and is the only such one is taken over. Of name and email, what was changed on one
side since both were equal goes to the other; what was changed on both sides stays as it is here.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from billing.errors import Conflict
from billing.ports import OUR_CUSTOMER, NewCustomer, ProviderCustomer, ProviderNotFound, ProviderPaymentMethod
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, mappings, outbox
from ledger.store.customers import CustomerChanges, CustomerRecord, get_customer, update_customer
from ledger.store.mappings import MappingRecord
from pipelines.steps import provider_mapping
from pipelines.steps.connections import Link

ENTITY = "customer"


def ensure_customer(ledger: Ledger, scope: Scope, link: Link, customer_id: str, now: datetime) -> str:
    """The provider's id of our customer (ours or external id), who is found or made there if need be; never twice.

    NotFound `customer_not_found`; Conflict `customer_sync_disabled` where none is found and none may be made;
    ProviderUnavailable: run it again; ProviderRejected.
    """
    return _mapping_of(ledger, scope, link, customer_id, now)[1].provider_id or ""


def push_customer(ledger: Ledger, scope: Scope, link: Link, customer_id: str, now: datetime) -> str:
    """As `ensure_customer`, and the provider's copy gets our present name and email where customers are sent there."""
    customer, mapping = _mapping_of(ledger, scope, link, customer_id, now)
    provider_id = mapping.provider_id or ""
    wanted = _request(scope, customer)
    if not link.syncs("customer", "outbound"):
        return provider_id
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
    """Looks at the provider's customer again: its default card, and its name and email. False when it is none of ours.

    Where customers do not come in, card and deletion are noted all the same: they are about what can be charged.
    """
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
        card = card_detail(method)
    with ledger.begin() as session:
        _record(session, scope, mapping, {"default_card": card}, now)
        if link.syncs("customer", "inbound"):
            _take_over(session, scope, link, mapping, seen, now)
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


def card_detail(method: ProviderPaymentMethod) -> dict[str, Any]:
    """A card as the customer's mapping keeps it, to be shown."""
    return {
        "id": method.id,
        "brand": method.card.brand,
        "last4": method.card.last4,
        "exp_month": method.exp_month,
        "exp_year": method.exp_year,
    }


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
        there = _already_there(ledger, scope, link, customer, now)
        if there is not None:
            return there
        if not link.syncs("customer", "outbound"):
            raise Conflict(
                "customer_sync_disabled",
                "the customer is not at Stripe, and customers are not sent there",
                hint="Set sync_config.customer.outbound of the connection to true, or make the customer at Stripe.",
            )
        key = f"cus:{customer.id}:create:{intended.key_version}"
        return link.gateway.create_customer(_new_customer(intended.detail["request"]), key)

    def find(intended: MappingRecord) -> ProviderCustomer | None:
        since = datetime.fromisoformat(intended.detail["intended_at"]) - provider_mapping.KEY_LIFETIME
        return link.gateway.find_customer(customer.id, intended.detail["request"]["email"], since)

    made = provider_mapping.make_once(
        ledger, scope, connection, mapping, create=create, find=find, state="done", now=now
    )
    return customer, made


def _already_there(
    ledger: Ledger, scope: Scope, link: Link, customer: CustomerRecord, now: datetime
) -> ProviderCustomer | None:
    """The provider's customer that is, or may become, this one: with our id, or alone with that email and no id."""
    if customer.email is None:
        return None
    unclaimed = []
    for there in link.gateway.customers_with_email(customer.email):
        owner = there.metadata.get(OUR_CUSTOMER)
        if owner == customer.id:
            return there
        if owner is None:
            unclaimed.append(there)
    if len(unclaimed) != 1:
        return None
    there = unclaimed[0]
    with ledger.begin() as session:
        if mappings.by_provider_id(session, scope, link.connection.id, ENTITY, there.id) is not None:
            return None
        # The base for later changes is what is there; the push that is asked for writes our name and ids over it.
        known = {"pushed": {"name": there.name, "email": there.email}}
        mappings.record(
            session, scope, link.connection.id, ENTITY, customer.id, state="intended", detail=known, now=now
        )
        outbox.enqueue(session, scope, "customer.sync", customer.id, now)
    return there


def _take_over(
    session: Session, scope: Scope, link: Link, mapping: MappingRecord, seen: ProviderCustomer, now: datetime
) -> None:
    """Name and email that were changed at the provider since both sides were equal, unless they were changed here."""
    held = provider_mapping.held(session, scope, mapping)
    base = held.detail.get("pushed", held.detail.get("request", {}))
    ours = get_customer(session, scope, held.entity_id)
    changes: CustomerChanges = {}
    if seen.name and "name" in base and seen.name != base["name"] and ours.name == base["name"]:
        changes["name"] = seen.name
    if "email" in base and seen.email != base["email"] and ours.email == base["email"]:
        changes["email"] = seen.email
    if not changes:
        return
    update_customer(session, scope, ours.id, changes)
    _record(session, scope, held, {"pushed": {**base, **changes}}, now)
    detail = {"stripe_customer_id": seen.id, "fields": sorted(changes)}
    audit.write(session, scope, "stripe", "customer.updated", ENTITY, ours.id, detail, now)


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
