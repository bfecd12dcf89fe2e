"""Webhooks: verified and stored before they are answered, worked off from the inbox afterwards (promise S3).

An event says only "look at this object again". What is written is what the provider's object is now, so repeated,
late and shuffled deliveries end in the same state; of many events about one object in a batch, one look serves all.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from billing.errors import NotFound, TallyError
from billing.ports import ProviderNotFound, WebhookEvent, WebhookRefused, WebhookVerifier
from billing.scope import Scope
from ledger.db import Ledger
from ledger.secretbox import SecretBox
from ledger.store import connections as connection_store
from ledger.store import inbox
from ledger.store.connections import ConnectionRecord
from ledger.store.inbox import InboxRecord
from pipelines.steps import (
    link_payment,
    payment_history,
    save_card,
    sync_credit_notes,
    sync_customer,
    sync_subscription,
)
from pipelines.steps.backoff import next_attempt
from pipelines.steps.connections import Gateways, Link

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 12
LEASE = timedelta(minutes=5)

# Looks at one object of the provider again; False when it is none of ours.
LookAgain = Callable[[Ledger, Scope, Link, str, datetime], bool]
# Finds the id of that object in an event's `data`.
IdIn = Callable[[Mapping[str, Any]], str | None]
About = tuple[Scope, str, LookAgain, str]


@dataclass(frozen=True)
class Received:
    """`fresh` is False when the event was stored by an earlier delivery."""

    event_id: str
    type: str
    connection_id: str
    fresh: bool


@dataclass(frozen=True)
class Processed:
    """How many events ended how; `retried` are due again later, `dead` were given up."""

    processed: int = 0
    ignored: int = 0
    retried: int = 0
    dead: int = 0


def receive(
    ledger: Ledger,
    scope: Scope,
    box: SecretBox,
    verify: WebhookVerifier,
    raw: bytes,
    header: str | None,
    now: datetime,
    source: str,
) -> Received:
    """Stores an event once, after checking its signature against the environment's connections; notes each delivery.

    `source` is where it came from.
    WebhookRefused (nothing is stored), InvalidInput `webhook_not_an_event`.
    """
    connection, event = _verified(ledger, scope, box, verify, raw, header, now, source)
    with ledger.begin() as session:
        record, fresh = inbox.receive(
            session, scope, connection.id, event.id, event.type, event.created, raw.decode(), now, source
        )
        if fresh and event.livemode != connection.livemode:
            inbox.mark_ignored(session, scope, record.id, "other_mode", now)
    return Received(event.id, event.type, connection.id, fresh)


def process_due(ledger: Ledger, gateways: Gateways, now: datetime, limit: int = 100) -> Processed:
    """Works off what is due in the inboxes of all environments. One bad event never stops the others."""
    with ledger.begin() as session:
        claimed = inbox.claim_due(session, now, limit, LEASE)
    looked: dict[About, str | None] = {}
    outcomes = [_process(ledger, gateways, scope, event, looked, now) for scope, event in claimed]
    return Processed(*(outcomes.count(name) for name in ("processed", "ignored", "retried", "dead")))


def _verified(
    ledger: Ledger,
    scope: Scope,
    box: SecretBox,
    verify: WebhookVerifier,
    raw: bytes,
    header: str | None,
    now: datetime,
    source: str,
) -> tuple[ConnectionRecord, WebhookEvent]:
    refused: WebhookRefused | None = None
    with ledger.read() as session:
        known = [
            (connection, connection_store.open_secrets(session, scope, connection.id, box).webhook_secrets)
            for connection in connection_store.list_connections(session, scope)
        ]
    for connection, secrets in known:
        try:
            return connection, verify(raw, header, secrets, now)
        except WebhookRefused as error:
            # Of several connections the newest one's answer is the one to show.
            refused = refused or error
    refused = refused or WebhookRefused("webhook_no_connection", "there is no connection that could have sent this")
    place = (scope.tenant_id, scope.environment_id, source)
    log.warning("webhook refused: %s (tenant %r, environment %r, from %r)", refused.code, *place)
    raise refused


def _process(
    ledger: Ledger,
    gateways: Gateways,
    scope: Scope,
    event: InboxRecord,
    looked: dict[About, str | None],
    now: datetime,
) -> str:
    try:
        ignored = _act(ledger, gateways, scope, event, looked, now)
    except Exception as error:
        if not isinstance(error, TallyError):
            log.exception("webhook %s (%s) failed", event.provider_event_id, event.type)
        at = next_attempt(event.attempts, MOST_ATTEMPTS, now)
        with ledger.begin() as session:
            inbox.mark_failed(session, scope, event.id, at, _reason(error), now)
        return "dead" if at is None else "retried"
    with ledger.begin() as session:
        if ignored is None:
            inbox.mark_processed(session, scope, event.id, now)
        else:
            inbox.mark_ignored(session, scope, event.id, ignored, now)
    return "processed" if ignored is None else "ignored"


def _act(
    ledger: Ledger,
    gateways: Gateways,
    scope: Scope,
    event: InboxRecord,
    looked: dict[About, str | None],
    now: datetime,
) -> str | None:
    """None when it was acted on, else why there was nothing to do."""
    handler = HANDLERS.get(event.type)
    if handler is None:
        return "type_not_handled"
    look_again, id_in = handler
    object_id = id_in(json.loads(event.payload)["data"])
    if object_id is None:
        return "not_ours"
    about = (scope, event.connection_id, look_again, object_id)
    if about not in looked:
        try:
            with ledger.read() as session:
                connection = connection_store.get_connection(session, scope, event.connection_id)
            link = gateways.open(scope, connection)
        except NotFound:
            return "connection_deleted"
        try:
            looked[about] = None if look_again(ledger, scope, link, object_id, now) else "not_ours"
        except ProviderNotFound:
            looked[about] = "object_missing"
    return looked[about]


def follow_session(ledger: Ledger, scope: Scope, link: Link, session_id: str, now: datetime) -> bool:
    """Looks at a page of the provider again and carries out what it has come to. False when it is none of ours."""
    seen = link.gateway.get_session(session_id)
    follow = save_card.follow_session if seen.mode == "setup" else link_payment.follow_session
    return follow(ledger, scope, link, seen, now)


def _itself(data: Mapping[str, Any]) -> str | None:
    return _id(data["object"])


def _its(name: str) -> IdIn:
    return lambda data: _id(data["object"].get(name))


def _its_customer(data: Mapping[str, Any]) -> str | None:
    """A detached card names its customer only in what it was before."""
    before = data.get("previous_attributes") or {}
    return _id(data["object"].get("customer")) or _id(before.get("customer"))


def _id(value: Any) -> str | None:
    found = value.get("id") if isinstance(value, Mapping) else value
    return found if isinstance(found, str) else None


def _reason(error: Exception) -> str:
    return f"{error.code}: {error.detail}"[:500] if isinstance(error, TallyError) else type(error).__name__


def _all(look_again: LookAgain, id_in: IdIn, prefix: str, names: str) -> dict[str, tuple[LookAgain, IdIn]]:
    return {f"{prefix}.{name}": (look_again, id_in) for name in names.split()}


HANDLERS: Mapping[str, tuple[LookAgain, IdIn]] = {
    **_all(
        link_payment.follow_invoice_of,
        _itself,
        "invoice",
        "deleted finalized finalization_failed marked_uncollectible overdue overpaid paid payment_action_required"
        " payment_failed payment_succeeded sent updated voided",
    ),
    **_all(link_payment.follow_invoice_of, _its("invoice"), "invoice_payment", "paid"),
    **_all(sync_credit_notes.follow_note, _itself, "credit_note", "created updated voided"),
    **_all(
        payment_history.follow_attempts,
        _itself,
        "payment_intent",
        "canceled payment_failed processing requires_action succeeded",
    ),
    **_all(payment_history.follow_attempts, _its("payment_intent"), "charge", "succeeded failed"),
    **_all(payment_history.follow_refunds, _its("payment_intent"), "charge", "refunded refund.updated"),
    **_all(payment_history.follow_refunds, _its("payment_intent"), "refund", "created updated failed"),
    **_all(
        payment_history.follow_disputes,
        _its("payment_intent"),
        "charge.dispute",
        "created updated funds_withdrawn funds_reinstated closed",
    ),
    **_all(
        follow_session, _itself, "checkout.session", "completed expired async_payment_succeeded async_payment_failed"
    ),
    **_all(save_card.follow_setup, _itself, "setup_intent", "succeeded setup_failed"),
    **_all(sync_customer.follow_customer, _itself, "customer", "created updated deleted"),
    **_all(
        sync_subscription.follow_subscription,
        _itself,
        "customer.subscription",
        "created updated deleted paused resumed",
    ),
    **_all(
        sync_customer.follow_customer,
        _its_customer,
        "payment_method",
        "attached updated automatically_updated card_automatically_updated detached",
    ),
}
