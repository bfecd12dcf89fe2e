"""Saving a card: a page of the provider where the customer enters it, and making it the default once it is saved.

The provider attaches the card by itself but does not make it the default, so the wish is kept in our checkout session
and carried out when the provider reports the card, through whichever of its events arrives first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from billing.errors import InvalidInput, NotFound
from billing.ports import OUR_CUSTOMER, OUR_SESSION, NewCardSession, ProviderNotFound, ProviderSession, ProviderSetup
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import mappings, outbox, sessions
from ledger.store.customers import get_customer
from ledger.store.sessions import CheckoutRecord
from pipelines.steps import provider_mapping, sync_customer
from pipelines.steps.connections import PROVIDER, Link
from pipelines.steps.follow_invoice import is_of


@dataclass(frozen=True)
class CardSetup:
    """What is asked for; `customer_id` ours or external."""

    customer_id: str
    success_url: str
    cancel_url: str
    set_default: bool = False
    provider: str = PROVIDER


@dataclass(frozen=True)
class CardSetupStarted:
    """Where to send the customer. Times are Unix seconds; `setup_intent_id` is None if the provider names it later."""

    setup_intent_id: str | None
    checkout_session_id: str
    checkout_url: str
    status: str
    usage: str
    customer_id: str
    created_at: int
    expires_at: int


def start(ledger: Ledger, scope: Scope, link: Link, request: CardSetup, now: datetime) -> CardSetupStarted:
    """A page on which the customer saves a card for later charges.

    NotFound `customer_not_found`; InvalidInput `provider_unknown`; ProviderUnavailable; ProviderRejected.
    """
    if request.provider != PROVIDER:
        raise InvalidInput("provider_unknown", "is not a connected provider", field="provider", hint="Send stripe.")
    provider_customer_id = sync_customer.ensure_customer(ledger, scope, link, request.customer_id, now)
    with ledger.begin() as session:
        checkout = sessions.create_checkout(
            session,
            scope,
            customer_id=request.customer_id,
            purpose="setup",
            success_url=request.success_url,
            cancel_url=request.cancel_url,
            set_default=request.set_default,
            now=now,
        )
    asked = NewCardSession(
        customer_id=provider_customer_id,
        success_url=request.success_url,
        cancel_url=request.cancel_url,
        metadata={
            OUR_SESSION: checkout.id,
            OUR_CUSTOMER: checkout.customer_id,
            "tenant": scope.tenant_id,
            "environment": scope.environment_id,
        },
    )
    try:
        made = link.gateway.create_card_session(asked, f"ses:{checkout.id}:create")
    except ProviderNotFound:
        customer_id = checkout.customer_id
        replaced = sync_customer.replace_customer(ledger, scope, link, customer_id, provider_customer_id, now)
        made = link.gateway.create_card_session(replace(asked, customer_id=replaced), f"ses:{checkout.id}:create:2")
    with ledger.begin() as session:
        attach(session, scope, checkout.id, made)
    return CardSetupStarted(
        setup_intent_id=made.setup_intent_id,
        checkout_session_id=made.id,
        checkout_url=made.url or "",
        status="requires_payment_method",
        usage="off_session",
        customer_id=checkout.customer_id,
        created_at=int(made.created_at.timestamp()),
        expires_at=int(made.expires_at.timestamp()),
    )


def attach(session: Session, scope: Scope, checkout_id: str, made: ProviderSession) -> CheckoutRecord:
    """Writes the provider's session into ours."""
    return sessions.attach_gateway_session(
        session,
        scope,
        checkout_id,
        gateway_session_id=made.id,
        url=made.url,
        setup_intent_id=made.setup_intent_id,
        expires_at=made.expires_at,
    )


def follow_session(ledger: Ledger, scope: Scope, link: Link, seen: ProviderSession, now: datetime) -> bool:
    """Carries out what a session in setup mode has come to. False when it is none of ours."""
    checkout = our_checkout(ledger, scope, seen)
    if checkout is None:
        return False
    if seen.status == "expired":
        with ledger.begin() as session:
            sessions.close_checkout(session, scope, checkout.id, "expired")
    elif seen.status == "complete" and seen.setup_intent_id is not None:
        setup = link.gateway.get_setup(seen.setup_intent_id)
        _finish(ledger, scope, link, checkout, setup, now)
    return True


def follow_setup(ledger: Ledger, scope: Scope, link: Link, setup_intent_id: str, now: datetime) -> bool:
    """As `follow_session`, starting from the setup intent."""
    setup = link.gateway.get_setup(setup_intent_id)
    ours = setup.metadata.get(OUR_SESSION)
    if ours is None or not is_of(scope, setup.metadata):
        return False
    with ledger.read() as session:
        checkout = sessions.get_checkout(session, scope, ours)
    _finish(ledger, scope, link, checkout, setup, now)
    return True


def our_checkout(ledger: Ledger, scope: Scope, seen: ProviderSession) -> CheckoutRecord | None:
    """Our session behind the provider's, also while we have not noted its id yet."""
    with ledger.read() as session:
        known = sessions.by_gateway_session(session, scope, seen.id)
        ours = seen.metadata.get(OUR_SESSION)
        if known is not None or ours is None or not is_of(scope, seen.metadata):
            return known
        try:
            return sessions.get_checkout(session, scope, ours)
        except NotFound:
            return None


def make_default(
    ledger: Ledger,
    scope: Scope,
    link: Link,
    checkout: CheckoutRecord,
    payment_method_id: str,
    used_at: datetime | None,
    now: datetime,
) -> None:
    """Makes the card of a completed session the customer's default, unless a later session has set a later card.

    Events may come in any order; the session that was completed last wins, and of two in one second the younger one.
    It was completed when its card was used, or entered where `used_at` is None.
    """
    with ledger.read() as session:
        customer = get_customer(session, scope, checkout.customer_id)
        mapping = mappings.get_mapping(session, scope, link.connection.id, sync_customer.ENTITY, customer.id)
    if mapping is None or mapping.provider_id is None:
        return
    method = link.gateway.get_payment_method(payment_method_id)
    if method.customer_id != mapping.provider_id:
        return
    wanted = {
        "at": int((used_at or method.created_at).timestamp()),
        "session": checkout.id,
        "payment_method": method.id,
    }
    with ledger.begin() as session:
        last = provider_mapping.held(session, scope, mapping).detail.get("default_set")
        if last is not None and (_is_later(last, wanted) or (last["session"] == checkout.id and last["applied"])):
            return
        provider_mapping.note(session, scope, mapping, {"default_set": {**wanted, "applied": False}}, now)
    provider_id = mapping.provider_id
    provider_mapping.guarded(
        lambda key: link.gateway.set_default_payment_method(provider_id, method.id, key), f"ses:{checkout.id}:default"
    )
    with ledger.begin() as session:
        last = provider_mapping.held(session, scope, mapping).detail["default_set"]
        if last["session"] == checkout.id:
            card = sync_customer.card_detail(method)
            noted = {"default_set": {**wanted, "applied": True}, "default_card": card}
            provider_mapping.note(session, scope, mapping, noted, now)
            if link.we_collect:
                outbox.enqueue(session, scope, "customer.collect", checkout.customer_id, now)
            return
    # A later session was faster than this call, which may have undone it: its card is set once more.
    key = f"ses:{last['session']}:default:after:{checkout.id}"
    link.gateway.set_default_payment_method(provider_id, last["payment_method"], key)


def _is_later(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (one["at"], one["session"]) > (other["at"], other["session"])


def _finish(
    ledger: Ledger,
    scope: Scope,
    link: Link,
    checkout: CheckoutRecord,
    setup: ProviderSetup,
    now: datetime,
) -> None:
    if setup.status != "succeeded" or setup.payment_method_id is None:
        return
    if checkout.set_default:
        make_default(ledger, scope, link, checkout, setup.payment_method_id, None, now)
    with ledger.begin() as session:
        sessions.close_checkout(session, scope, checkout.id, "complete", setup.id)
