"""The guide's production checklist, looked at for real: each point green, amber (not tried yet, or not fit for
production) or red (does not work), and what to do about it.

Looking changes nothing, here or at the provider.
"""

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from billing.errors import TallyError
from ledger.models import Checkout, InboxEvent, Mapping, OutboxItem, Payment, Subscription, WebhookDelivery
from ledger.models.base import Scoped
from ledger.store import alerts, tenants
from ledger.store.rows import in_scope
from pipelines.steps import connection_checks
from pipelines.steps.connections import PROVIDER, Link
from pipelines.steps.production_place import Finding, Level, Place
from pipelines.steps.recover_events import EVENTS_API
from warehouse_sql.event_log import EventFilters, list_events

__all__ = ["check_production"]

# The worker takes seconds and the sweep a minute; what has waited for longer waits for nobody.
_TOO_LONG = timedelta(minutes=15)
_EVENTS_OF = timedelta(days=35)
_LATELY = timedelta(days=7)


def check_production(place: Place) -> list[Finding]:
    """Every point in the list's order. What cannot be looked at is red, and stops no other."""
    return [_looked(place, name, check) for name, check in _CHECKS]


def _looked(place: Place, name: str, check: Callable[[Place, str], Finding]) -> Finding:
    try:
        return check(place, name)
    except TallyError as error:
        return Finding(name, Level.RED, error.detail, error.hint or "See that it can be reached, and run this again.")


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
        in_scope(Mapping, place.scope),
        Mapping.connection_id == link.connection.id,
        Mapping.entity == "invoice",
        Mapping.state.in_(("done", "failed")),
    )
    return {state: int(count) for state, count in session.execute(rows.group_by(Mapping.state))}


def _count(session: Session, place: Place, model: type[Scoped], which: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(model).where(in_scope(model, place.scope), which)) or 0


_CHECKS: tuple[tuple[str, Callable[[Place, str], Finding]], ...] = (
    ("environment", _environment),
    ("encryption of secrets", connection_checks.sealing),
    ("Stripe connection", connection_checks.connection),
    ("rights of the key", connection_checks.key_rights),
    ("age of keys", connection_checks.key_age),
    ("webhook endpoint", connection_checks.endpoint),
    ("webhook secret", connection_checks.webhook_secret),
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
