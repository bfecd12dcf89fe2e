"""A plan of ours as a product at the provider, and its prices as prices of it: to be seen there, never to be billed.

A price at the provider stands for one version of ours and never changes. When another version comes into force it is
made as a new one, and the old one is deactivated. What the provider cannot express is there at no cost, and says so.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from billing.catalog_port import OUR_PLAN, OUR_PRICE, NewCatalogPrice, NewProduct, ProviderPrice, ProviderProduct
from billing.period import parse_interval
from billing.ports import ProviderNotFound
from billing.price import parse_price, price_to_json
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import mappings, prices
from ledger.store.mappings import MappingRecord
from ledger.store.plans import PlanRecord, get_plan
from ledger.store.prices import PriceRecord
from pipelines.steps import provider_mapping
from pipelines.steps.connections import Link

__all__ = ["ensure_product", "is_current", "push_plan"]

PLAN, PRICE = "plan", "price"


def push_plan(ledger: Ledger, scope: Scope, link: Link, plan_id: str, now: datetime) -> str:
    """The product of a plan (id or key), made if need be and brought up to date with its prices.

    NotFound `plan_not_found`; ProviderUnavailable: run it again; ProviderRejected.
    """
    with ledger.read() as session:
        plan = get_plan(session, scope, plan_id, now)
        versions = prices.versions_of_plan(session, scope, plan.id)
    product_id = _push_product(ledger, scope, link, plan, now)
    in_force = {entity_id(price) for price in plan.prices}
    for price in plan.prices:
        _ensure_price(ledger, scope, link, plan, product_id, price, now)
    for price in versions:
        if entity_id(price) not in in_force:
            _set_active(ledger, scope, link, entity_id(price), False, now)
    return product_id


def ensure_product(ledger: Ledger, scope: Scope, link: Link, plan_id: str, now: datetime) -> str:
    """The product of a plan, made if need be; its prices and its present name are left to `push_plan`."""
    with ledger.read() as session:
        plan = get_plan(session, scope, plan_id, now)
    return _product_of(ledger, scope, link, plan, now).provider_id or ""


def is_current(session: Session, scope: Scope, connection_id: str, plan: PlanRecord) -> bool:
    """Whether the provider has the plan as it is, with the prices in force; `plan` as of now. Asks the ledger only."""
    product = mappings.get_mapping(session, scope, connection_id, PLAN, plan.id)
    if product is None or product.provider_id is None:
        return product is not None and product.state == "failed"
    if _request(scope, plan) != _pushed(product):
        return False
    in_force = {entity_id(price) for price in plan.prices}
    for price in prices.versions_of_plan(session, scope, plan.id):
        mapping = mappings.get_mapping(session, scope, connection_id, PRICE, entity_id(price))
        is_there = mapping is not None and mapping.provider_id is not None and _is_active(mapping)
        if is_there != (entity_id(price) in in_force):
            return False
    return True


def entity_id(price: PriceRecord) -> str:
    """What a version of a price is called in the mappings, such as `price_01…:2`."""
    return f"{price.id}:{price.version}"


def _push_product(ledger: Ledger, scope: Scope, link: Link, plan: PlanRecord, now: datetime) -> str:
    mapping = _product_of(ledger, scope, link, plan, now)
    product_id = mapping.provider_id or ""
    wanted = _request(scope, plan)
    if wanted == _pushed(mapping):
        return product_id
    number = _next_update(ledger, scope, mapping, now)
    try:
        link.gateway.update_product(product_id, _new_product(wanted), f"plan:{plan.id}:update:{number}")
    except ProviderNotFound:
        with ledger.begin() as session:
            provider_mapping.restart(session, scope, mapping, now, "deleted_at_provider")
        return _product_of(ledger, scope, link, plan, now).provider_id or ""
    with ledger.begin() as session:
        known = {"pushed": wanted, "status": _status(plan.status == "active")}
        provider_mapping.note(session, scope, mapping, known, now)
    return product_id


def _product_of(ledger: Ledger, scope: Scope, link: Link, plan: PlanRecord, now: datetime) -> MappingRecord:
    def create(intended: MappingRecord) -> ProviderProduct:
        key = f"plan:{plan.id}:create:{intended.key_version}"
        return link.gateway.create_product(_new_product(intended.detail["request"]), key)

    def find(intended: MappingRecord) -> ProviderProduct | None:
        since = datetime.fromisoformat(intended.detail["intended_at"]) - provider_mapping.KEY_LIFETIME
        return link.gateway.find_product(plan.id, since)

    with ledger.read() as session:
        known = mappings.get_mapping(session, scope, link.connection.id, PLAN, plan.id)
    if known is not None and known.provider_id is not None:
        return known
    with ledger.begin() as session:
        wanted = _request(scope, plan)
        mapping = provider_mapping.intend(session, scope, link.connection, PLAN, plan.id, wanted, now)
    return provider_mapping.make_once(
        ledger, scope, link.connection, mapping, create=create, find=find, state="done", now=now
    )


def _ensure_price(
    ledger: Ledger, scope: Scope, link: Link, plan: PlanRecord, product_id: str, price: PriceRecord, now: datetime
) -> None:
    name = entity_id(price)
    with ledger.read() as session:
        known = mappings.get_mapping(session, scope, link.connection.id, PRICE, name)
    if known is not None and known.provider_id is not None:
        _set_active(ledger, scope, link, name, True, now)
        return
    wanted = {
        "product_id": product_id,
        "name": price.display_name,
        "price": price_to_json(price.price),
        "currency": plan.currency,
        "interval": plan.interval,
        "metadata": {
            OUR_PRICE: name,
            OUR_PLAN: plan.id,
            "tenant": scope.tenant_id,
            "environment": scope.environment_id,
        },
    }

    def create(intended: MappingRecord) -> ProviderPrice:
        key = f"price:{name}:create:{intended.key_version}"
        return link.gateway.create_price(_new_price(intended.detail["request"]), key)

    def find(intended: MappingRecord) -> ProviderPrice | None:
        return link.gateway.find_price(intended.detail["request"]["product_id"], name)

    with ledger.begin() as session:
        mapping = provider_mapping.intend(session, scope, link.connection, PRICE, name, wanted, now)
    provider_mapping.make_once(ledger, scope, link.connection, mapping, create=create, find=find, state="done", now=now)


def _set_active(ledger: Ledger, scope: Scope, link: Link, name: str, active: bool, now: datetime) -> None:
    """A price that came back into force, as when the version after it was withdrawn, is activated again."""
    with ledger.read() as session:
        mapping = mappings.get_mapping(session, scope, link.connection.id, PRICE, name)
    if mapping is None or mapping.provider_id is None or _is_active(mapping) == active:
        return
    number = _next_update(ledger, scope, mapping, now)
    link.gateway.set_price_active(mapping.provider_id, active, f"price:{name}:update:{number}")
    with ledger.begin() as session:
        provider_mapping.note(session, scope, mapping, {"status": _status(active)}, now)


def _next_update(ledger: Ledger, scope: Scope, mapping: MappingRecord, now: datetime) -> int:
    """A number and not a hash of the content names an update: going back to an old state must not be an old key."""
    with ledger.begin() as session:
        held = provider_mapping.held(session, scope, mapping)
        number = int(held.detail.get("updates", 0)) + 1
        provider_mapping.note(session, scope, held, {"updates": number}, now)
    return number


def _pushed(mapping: MappingRecord) -> Mapping[str, Any]:
    pushed: Mapping[str, Any] = mapping.detail.get("pushed") or mapping.detail["request"]
    return pushed


def _is_active(mapping: MappingRecord) -> bool:
    return bool(mapping.detail.get("status", "active") == "active")


def _status(active: bool) -> str:
    return "active" if active else "archived"


def _request(scope: Scope, plan: PlanRecord) -> dict[str, Any]:
    metadata = {
        OUR_PLAN: plan.id,
        "plan_key": plan.key,
        "tenant": scope.tenant_id,
        "environment": scope.environment_id,
    }
    return {
        "name": plan.name,
        "description": plan.description or None,
        "active": plan.status == "active",
        "metadata": metadata,
    }


def _new_product(request: Mapping[str, Any]) -> NewProduct:
    return NewProduct(request["name"], request["description"], request["active"], request["metadata"])


def _new_price(request: Mapping[str, Any]) -> NewCatalogPrice:
    return NewCatalogPrice(
        product_id=request["product_id"],
        name=request["name"],
        price=parse_price(request["price"]),
        currency=request["currency"],
        interval=parse_interval(request["interval"]),
        metadata=request["metadata"],
    )
