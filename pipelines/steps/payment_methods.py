"""The cards that a customer has saved at the provider: list them, choose which one is charged, take one away.

They are read from the provider each time, where the customer, the bank and the Dashboard change them as well.
"""

from dataclasses import dataclass
from datetime import datetime

from billing.errors import NotFound
from billing.ports import ProviderPaymentMethod
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import mappings, outbox
from ledger.store.customers import get_customer
from ledger.store.mappings import MappingRecord
from pipelines.steps import provider_mapping, sync_customer
from pipelines.steps.connections import Link

__all__ = ["SavedMethod", "choose_default", "detach", "list_methods"]

# A card counts as expiring in its last month and in the one before: long enough to ask for another.
_MONTHS_AHEAD = 1


@dataclass(frozen=True)
class SavedMethod:
    """`state` is valid, expiring (this month or next) or expired; what is no card does not expire."""

    method: ProviderPaymentMethod
    is_default: bool
    state: str


def list_methods(ledger: Ledger, scope: Scope, link: Link, customer_id: str, now: datetime) -> list[SavedMethod]:
    """The customer's saved cards, newest first. NotFound `customer_not_found`; ProviderUnavailable."""
    mapping = _mapping(ledger, scope, link, customer_id)
    if mapping is None or mapping.provider_id is None:
        return []
    default = link.gateway.get_customer(mapping.provider_id).default_payment_method_id
    found = link.gateway.list_payment_methods(mapping.provider_id)
    return [SavedMethod(method, method.id == default, card_state(method, now)) for method in found]


def choose_default(
    ledger: Ledger, scope: Scope, link: Link, customer_id: str, method_id: str, now: datetime
) -> SavedMethod:
    """Charges this card from now on. NotFound `customer_not_found`, `payment_method_not_found`."""
    mapping, method = _owned(ledger, scope, link, customer_id, method_id)
    with ledger.begin() as session:
        held = provider_mapping.held(session, scope, mapping)
        number = held.detail.get("choices", 0) + 1
        # As if a page had been completed now: pages that were completed before do not undo the choice.
        chosen = {"at": int(now.timestamp()), "session": f"~{number}", "payment_method": method.id, "applied": True}
        provider_mapping.note(session, scope, held, {"choices": number, "default_set": chosen}, now)
    provider_id = mapping.provider_id or ""
    link.gateway.set_default_payment_method(provider_id, method.id, f"cus:{mapping.entity_id}:default:{number}")
    sync_customer.follow_customer(ledger, scope, link, provider_id, now)
    if link.we_collect:
        with ledger.begin() as session:
            outbox.enqueue(session, scope, "customer.collect", mapping.entity_id, now)
    return SavedMethod(method, True, card_state(method, now))


def detach(ledger: Ledger, scope: Scope, link: Link, customer_id: str, method_id: str, now: datetime) -> None:
    """Forgets a card for good. The default is gone with it: Stripe chooses no other. NotFound as `choose_default`."""
    mapping, method = _owned(ledger, scope, link, customer_id, method_id)
    link.gateway.detach_payment_method(method.id, f"pm:{method.id}:detach")
    sync_customer.follow_customer(ledger, scope, link, mapping.provider_id or "", now)


def card_state(method: ProviderPaymentMethod, now: datetime) -> str:
    """A card is good through the last day of its month."""
    if method.exp_year is None or method.exp_month is None:
        return "valid"
    months_left = (method.exp_year - now.year) * 12 + method.exp_month - now.month
    if months_left < 0:
        return "expired"
    return "expiring" if months_left <= _MONTHS_AHEAD else "valid"


def _owned(
    ledger: Ledger, scope: Scope, link: Link, customer_id: str, method_id: str
) -> tuple[MappingRecord, ProviderPaymentMethod]:
    mapping = _mapping(ledger, scope, link, customer_id)
    if mapping is not None and mapping.provider_id is not None:
        for method in link.gateway.list_payment_methods(mapping.provider_id):
            if method.id == method_id:
                return mapping, method
    raise NotFound("payment_method_not_found", "the customer has no such card", field="payment_method_id")


def _mapping(ledger: Ledger, scope: Scope, link: Link, customer_id: str) -> MappingRecord | None:
    with ledger.read() as session:
        customer = get_customer(session, scope, customer_id)
        return mappings.get_mapping(session, scope, link.connection.id, sync_customer.ENTITY, customer.id)
