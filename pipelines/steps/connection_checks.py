"""The points of the production checklist that are about the connection: its keys, and where its webhooks come in."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import func, select

from billing.ports import ProviderKeyRefused, WebhookEndpoint
from ledger.models import InboxEvent
from ledger.store import audit, connections, keys
from ledger.store.rows import in_scope
from pipelines.steps.connections import KEY_CHANGED
from pipelines.steps.process_webhook import HANDLERS
from pipelines.steps.production_place import Finding, Level, Place

__all__ = ["connection", "endpoint", "key_age", "key_rights", "sealing", "webhook_secret"]

_KEY_LIFE = timedelta(days=90)


def connection(place: Place, name: str) -> Finding:
    link = place.gateways.require(place.scope)
    account = link.gateway.account()
    if account.livemode != link.connection.livemode:
        return Finding(name, Level.RED, "the key's mode is not the connection's", "Save the connection's key again.")
    if not account.livemode:
        way_out = "Connect a live environment with a live key before going live."
        return Finding(name, Level.AMBER, f"test key of {account.id}: nothing is charged for real", way_out)
    return Finding(name, Level.GREEN, f"live key …{link.connection.secret_key_last4} of {account.id}")


def key_rights(place: Place, name: str) -> Finding:
    link = place.gateways.require(place.scope)
    assert place.box is not None  # noqa: S101 - the connection was opened with it
    with place.ledger.read() as session:
        restricted = connections.open_secrets(session, place.scope, link.connection.id, place.box).is_restricted
    way_out = "Make a restricted key with the rights that docs/security.md lists, and PATCH the connection."
    if restricted:
        missing = link.gateway.unreadable()
        if missing:
            return Finding(name, Level.RED, f"the restricted key may not read {', '.join(missing)}", way_out)
        return Finding(name, Level.GREEN, "a restricted key, which reads all that is needed; refused writes are listed")
    return Finding(name, Level.AMBER, "a secret key: it can do everything in the account", way_out)


def sealing(place: Place, name: str) -> Finding:
    if place.box is None:
        way_out = "Set TALLY_ENCRYPTION_KEYS and restart."
        return Finding(name, Level.RED, "no encryption key is set, so no secret can be stored", way_out)
    with place.ledger.read() as session:
        others = [scope for scope, _ in connections.sealed_with_others(session, place.box) if scope == place.scope]
    if others:
        detail = "secrets are sealed with an older key than the first one"
        return Finding(name, Level.AMBER, detail, "Run tally keys rotate-encryption.")
    return Finding(name, Level.GREEN, f"all secrets are sealed with key {place.box.current}")


def key_age(place: Place, name: str) -> Finding:
    """Keys that are changed each quarter are known to be changeable, and a lost one ends by itself."""
    link = place.gateways.require(place.scope)
    old = place.now - _KEY_LIFE
    with place.ledger.read() as session:
        ours = [
            key
            for key in keys.list_keys(session, place.scope)
            if key.revoked_at is None and (key.expires_at is None or key.expires_at > place.now)
        ]
        changed = audit.list_entries(
            session, place.scope, entity_id=link.connection.id, action=KEY_CHANGED, limit=1
        ).items
    found = [f"key {key.name} (…{key.last4})" for key in ours if key.created_at < old]
    if (changed[0].at if changed else link.connection.created_at) < old:
        found.append(f"Stripe's key …{link.connection.secret_key_last4}")
    if found:
        way_out = (
            "tally keys rotate makes the next key beside the old one; PATCH the connection with a new key of Stripe."
        )
        return Finding(name, Level.AMBER, f"older than {_KEY_LIFE.days} days: {', '.join(found[:10])}", way_out)
    return Finding(name, Level.GREEN, f"none is older than {_KEY_LIFE.days} days")


def endpoint(place: Place, name: str) -> Finding:
    link = place.gateways.require(place.scope)
    url = place.webhook_url
    if not url.startswith("https://") and link.connection.livemode:
        way_out = "Set TALLY_PUBLIC_URL to the https address at which Stripe reaches the API."
        return Finding(name, Level.RED, f"{url} is not https", way_out)
    try:
        found = [each for each in link.gateway.webhook_endpoints() if each.url == url]
    except ProviderKeyRefused:
        way_out = "Look in the Stripe Dashboard, or let the key read Webhook Endpoints."
        return Finding(name, Level.AMBER, "the key may not read the account's endpoints", way_out)
    return _endpoint_finding(name, url, found)


def _endpoint_finding(name: str, url: str, found: Sequence[WebhookEndpoint]) -> Finding:
    enabled = [each for each in found if each.enabled]
    if not enabled:
        what = "is disabled" if found else "is not there"
        return Finding(name, Level.RED, f"the endpoint {url} {what} at Stripe", "Create or enable it there.")
    [there, *_] = enabled
    if there.other_version is not None:
        detail = f"its events are of version {there.other_version}"
        return Finding(
            name, Level.AMBER, detail, "Create the endpoint with the version of integrations/stripe/README.md."
        )
    unheard = sorted(HANDLERS.keys() - there.events)
    if "*" not in there.events and unheard:
        detail = f"it does not send {len(unheard)} types that are acted on, such as {unheard[0]}"
        return Finding(
            name, Level.AMBER, detail, "Let the endpoint send all events, or those that docs/stripe.md names."
        )
    return Finding(name, Level.GREEN, f"{url} is enabled at Stripe")


def webhook_secret(place: Place, name: str) -> Finding:
    link = place.gateways.require(place.scope)
    if link.connection.webhook_secret_last4 is None:
        way_out = "PATCH the connection with the endpoint's webhook_secret."
        return Finding(name, Level.RED, "the connection has no signing secret: every delivery is refused", way_out)
    with place.ledger.read() as session:
        last = session.scalar(
            select(func.max(InboxEvent.received_at)).where(
                in_scope(InboxEvent, place.scope), InboxEvent.connection_id == link.connection.id
            )
        )
    if last is None:
        way_out = "Send a test event from the Dashboard, or run stripe trigger."
        return Finding(name, Level.AMBER, "no delivery has been verified with it yet", way_out)
    return Finding(name, Level.GREEN, f"…{link.connection.webhook_secret_last4} verified the last delivery")
