"""The guide's production checklist, looked at for real: each point green, amber (not tried yet, or not fit for
production) or red (does not work), and what to do about it.

Looking changes nothing, here or at the provider.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from billing.errors import TallyError
from billing.ports import ProviderKeyRefused, WebhookEndpoint
from billing.scope import Scope
from ledger.db import Ledger
from ledger.models import Checkout, InboxEvent, Mapping, OutboxItem, Payment, Subscription, WebhookDelivery
from ledger.models.base import Scoped
from ledger.secretbox import SecretBox
from ledger.store import alerts, audit, connections, keys, tenants
from ledger.store.rows import in_scope
from pipelines.steps.connections import KEY_CHANGED, PROVIDER, Gateways, Link
from pipelines.steps.process_webhook import HANDLERS
from pipelines.steps.recover_events import EVENTS_API
from warehouse_sql.client import Warehouse
from warehouse_sql.event_log import EventFilters, list_events

__all__ = ["Finding", "Level", "Place", "check_production"]

# The worker takes seconds and the sweep a minute; what has waited for longer waits for nobody.
_TOO_LONG = timedelta(minutes=15)
_EVENTS_OF = timedelta(days=35)
_KEY_LIFE = timedelta(days=90)
_LATELY = timedelta(days=7)


class Level(StrEnum):
    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True)
class Finding:
    """One point of the list; `way_out` says what to do where it is not green."""

    check: str
    level: Level
    detail: str
    way_out: str | None = None


@dataclass(frozen=True)
class Place:
    """What is looked at. `box` is None where no encryption key is set; `public_url` is where Stripe reaches the API.

    `sends_alerts` says that alerts have an address, `support_url` where the procedures for support are written down.
    """

    ledger: Ledger
    warehouse: Warehouse
    gateways: Gateways
    box: SecretBox | None
    scope: Scope
    public_url: str
    sends_alerts: bool
    support_url: str
    now: datetime

    @property
    def webhook_url(self) -> str:
        base = self.public_url.rstrip("/")
        return f"{base}/api/v1/webhooks/stripe/{self.scope.tenant_id}/{self.scope.environment_id}"


def check_production(place: Place) -> list[Finding]:
    """Every point in the list's order. What cannot be looked at is red, and stops no other."""
    return [_looked(place, name, check) for name, check in _CHECKS]


def _looked(place: Place, name: str, check: Callable[[Place, str], Finding]) -> Finding:
    try:
        return check(place, name)
    except TallyError as error:
        return Finding(name, Level.RED, error.detail, error.hint or "See that it can be reached, and run this again.")


def _connection(place: Place, name: str) -> Finding:
    link = place.gateways.require(place.scope)
    account = link.gateway.account()
    if account.livemode != link.connection.livemode:
        return Finding(name, Level.RED, "the key's mode is not the connection's", "Save the connection's key again.")
    if not account.livemode:
        way_out = "Connect a live environment with a live key before going live."
        return Finding(name, Level.AMBER, f"test key of {account.id}: nothing is charged for real", way_out)
    return Finding(name, Level.GREEN, f"live key …{link.connection.secret_key_last4} of {account.id}")


def _key_rights(place: Place, name: str) -> Finding:
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


def _sealing(place: Place, name: str) -> Finding:
    if place.box is None:
        way_out = "Set TALLY_ENCRYPTION_KEYS and restart."
        return Finding(name, Level.RED, "no encryption key is set, so no secret can be stored", way_out)
    with place.ledger.read() as session:
        others = [scope for scope, _ in connections.sealed_with_others(session, place.box) if scope == place.scope]
    if others:
        detail = "secrets are sealed with an older key than the first one"
        return Finding(name, Level.AMBER, detail, "Run tally keys rotate-encryption.")
    return Finding(name, Level.GREEN, f"all secrets are sealed with key {place.box.current}")


def _key_age(place: Place, name: str) -> Finding:
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


def _endpoint(place: Place, name: str) -> Finding:
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
    [endpoint, *_] = enabled
    if endpoint.other_version is not None:
        detail = f"its events are of version {endpoint.other_version}"
        return Finding(
            name, Level.AMBER, detail, "Create the endpoint with the version of integrations/stripe/README.md."
        )
    unheard = sorted(HANDLERS.keys() - endpoint.events)
    if "*" not in endpoint.events and unheard:
        detail = f"it does not send {len(unheard)} types that are acted on, such as {unheard[0]}"
        return Finding(
            name, Level.AMBER, detail, "Let the endpoint send all events, or those that docs/stripe.md names."
        )
    return Finding(name, Level.GREEN, f"{url} is enabled at Stripe")


def _webhook_secret(place: Place, name: str) -> Finding:
    link = place.gateways.require(place.scope)
    if link.connection.webhook_secret_last4 is None:
        way_out = "PATCH the connection with the endpoint's webhook_secret."
        return Finding(name, Level.RED, "the connection has no signing secret: every delivery is refused", way_out)
    with place.ledger.read() as session:
        last = session.scalar(select(func.max(InboxEvent.received_at)).where(_of(place, InboxEvent, link)))
    if last is None:
        way_out = "Send a test event from the Dashboard, or run stripe trigger."
        return Finding(name, Level.AMBER, "no delivery has been verified with it yet", way_out)
    return Finding(name, Level.GREEN, f"…{link.connection.webhook_secret_last4} verified the last delivery")


def _tried(model: type[Scoped], *conditions: str, what: str, way_out: str) -> Callable[[Place, str], Finding]:
    """Whether something has worked at least once; `conditions` are `column=value`."""
    wanted = [condition.split("=") for condition in conditions]

    def check(place: Place, name: str) -> Finding:
        rows = select(func.count()).select_from(model).where(in_scope(model, place.scope))
        rows = rows.where(*(getattr(model, column) == value for column, value in wanted))
        with place.ledger.read() as session:
            count = session.scalar(rows) or 0
        if count:
            return Finding(name, Level.GREEN, f"{count} {what}")
        return Finding(name, Level.AMBER, f"no {what} yet", way_out)

    return check


def _events(place: Place, name: str) -> Finding:
    filters = EventFilters(start=place.now - _EVENTS_OF, end=place.now + timedelta(hours=1))
    if list_events(place.warehouse, place.scope, filters, limit=1).items:
        return Finding(name, Level.GREEN, "usage events are stored and can be read")
    detail = f"no usage event of the last {_EVENTS_OF.days} days"
    return Finding(name, Level.AMBER, detail, "Send one with POST /api/v1/events.")


def _invoices(place: Place, name: str) -> Finding:
    link = place.gateways.require(place.scope)
    with place.ledger.read() as session:
        states = _states(session, place, link)
    failed, done = states.get("failed", 0), states.get("done", 0)
    if failed:
        way_out = (
            "GET /api/v1/connections/{id}/mappings?entity=invoice&state=failed says why; tally reconcile tries again."
        )
        return Finding(name, Level.RED, f"invoices that are not at Stripe: {failed}; that are: {done}", way_out)
    if done:
        return Finding(name, Level.GREEN, f"invoices at Stripe: {done}")
    way_out = "Bill a day with tally bill, or make an invoice by hand and finalize it."
    return Finding(name, Level.AMBER, "no invoice has been sent yet", way_out)


def _deliveries(place: Place, name: str) -> Finding:
    with place.ledger.read() as session:
        dead = _count(session, place, InboxEvent, InboxEvent.state == "failed")
        overdue = _count(
            session, place, InboxEvent, (InboxEvent.state == "open") & (InboxEvent.due_at < place.now - _TOO_LONG)
        )
        delivered = select(WebhookDelivery.inbox_id).where(
            in_scope(WebhookDelivery, place.scope), WebhookDelivery.source != EVENTS_API
        )
        lately = InboxEvent.received_at > place.now - _LATELY
        missed = _count(session, place, InboxEvent, lately & InboxEvent.id.not_in(delivered))
    if dead:
        way_out = "tally webhooks list --state failed says why; tally webhooks replay --failed tries again."
        return Finding(name, Level.RED, f"{dead} events were given up", way_out)
    if overdue:
        way_out = "See that the API and Dagster run: they work off the inbox."
        return Finding(name, Level.RED, f"{overdue} events have waited for more than 15 minutes", way_out)
    if missed:
        way_out = "See in the Dashboard why Stripe cannot deliver to the endpoint; nothing is lost, it only comes late."
        return Finding(name, Level.AMBER, f"{missed} events of a week were found at Stripe, not delivered", way_out)
    return Finding(name, Level.GREEN, "nothing waits and nothing was given up")


def _work(place: Place, name: str) -> Finding:
    with place.ledger.read() as session:
        dead = _count(session, place, OutboxItem, OutboxItem.state == "failed")
        overdue = _count(
            session, place, OutboxItem, (OutboxItem.state == "open") & (OutboxItem.created_at < place.now - _TOO_LONG)
        )
    if dead:
        way_out = "GET /api/v1/connections/{id}/mappings?state=failed says why; tally reconcile sends what is missing."
        return Finding(name, Level.RED, f"{dead} pieces of work for Stripe were given up", way_out)
    if overdue:
        way_out = "See that Dagster runs; what Stripe does not answer is tried again by itself."
        return Finding(name, Level.AMBER, f"{overdue} pieces of work have waited for more than 15 minutes", way_out)
    return Finding(name, Level.GREEN, "nothing waits for Stripe and nothing was given up")


def _alerting(place: Place, name: str) -> Finding:
    if not place.sends_alerts:
        way_out = "Set TALLY_ALERT_URL and TALLY_ALERT_SECRETS, and try them with tally alerts test."
        return Finding(name, Level.AMBER, "alerts are only logged", way_out)
    with place.ledger.read() as session:
        given_up = alerts.unsent(session).get("failed", (0, None))[0]
    if given_up:
        way_out = "See why the receiver does not take them; tally alerts resend sends them again."
        return Finding(name, Level.RED, f"{given_up} alerts were given up: nobody was told", way_out)
    return Finding(name, Level.GREEN, "alerts are sent, and all were taken")


def _support(place: Place, name: str) -> Finding:
    if place.support_url:
        return Finding(name, Level.GREEN, f"written down at {place.support_url}")
    way_out = (
        "Write down who answers customers and how (docs/stripe.md says where each answer is found), and set "
        "TALLY_SUPPORT_URL to where it is."
    )
    return Finding(name, Level.AMBER, "nothing says where the procedures are", way_out)


def _environment(place: Place, name: str) -> Finding:
    with place.ledger.read() as session:
        kind = tenants.get_environment(session, place.scope).kind
    if kind == "live":
        return Finding(name, Level.GREEN, "a live environment")
    way_out = "Run this with a key of the live environment: tally keys create --kind live."
    return Finding(name, Level.AMBER, "a test environment", way_out)


def _states(session: Session, place: Place, link: Link) -> dict[str, int]:
    rows = select(Mapping.state, func.count()).where(
        _of(place, Mapping, link), Mapping.entity == "invoice", Mapping.state.in_(("done", "failed"))
    )
    return {state: int(count) for state, count in session.execute(rows.group_by(Mapping.state))}


def _count(session: Session, place: Place, model: type[Scoped], which: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(model).where(in_scope(model, place.scope), which)) or 0


def _of(place: Place, model: type[InboxEvent] | type[Mapping], link: Link) -> ColumnElement[bool]:
    return in_scope(model, place.scope) & (model.connection_id == link.connection.id)


_CHECKS: tuple[tuple[str, Callable[[Place, str], Finding]], ...] = (
    ("environment", _environment),
    ("encryption of secrets", _sealing),
    ("Stripe connection", _connection),
    ("rights of the key", _key_rights),
    ("age of keys", _key_age),
    ("webhook endpoint", _endpoint),
    ("webhook secret", _webhook_secret),
    (
        "customer sync",
        _tried(
            Mapping, "entity=customer", "state=done", what="customers at Stripe", way_out="Create one: POST /customers."
        ),
    ),
    (
        "saving a card",
        _tried(
            Checkout,
            "purpose=setup",
            "status=complete",
            what="cards saved through a link",
            way_out="POST /payments/customers/{id}/setup/intent, and open the checkout_url.",
        ),
    ),
    ("subscriptions", _tried(Subscription, what="subscriptions", way_out="Create one: POST /subscriptions.")),
    ("usage events", _events),
    ("invoices and their sync", _invoices),
    (
        "automatic payment",
        _tried(
            Payment,
            f"gateway={PROVIDER}",
            "status=succeeded",
            what="payments through Stripe",
            way_out="Finalize an invoice of a customer with a saved card.",
        ),
    ),
    ("webhook delivery", _deliveries),
    ("work for Stripe", _work),
    ("alerting", _alerting),
    ("customer support", _support),
)
