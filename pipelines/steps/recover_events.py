"""Reads the provider's own list of events, so that one whose delivery never came is worked off all the same.

What was delivered is in the inbox already and is stored once only. The list reaches back 30 days; how far it has been
read is kept with the connection, and a little is read twice, as an event may appear after a later one.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import connections, inbox
from pipelines.steps.connections import Gateways
from pipelines.steps.process_webhook import HANDLERS

__all__ = ["EVENTS_API", "Recovered", "recover_events"]

EVENTS_API = "events_api"
"""The source of what was found here, where a delivery has the address that it came from."""

_KEPT = timedelta(days=30)
_TWICE = timedelta(hours=1)


@dataclass(frozen=True)
class Recovered:
    """How many events the provider listed that concern us, and how many of them nobody had delivered."""

    looked_at: int
    missed: int


def recover_events(ledger: Ledger, gateways: Gateways, scope: Scope, now: datetime) -> Recovered:
    """Stores what the inbox lacks; the sweep works it off. ProviderUnavailable, ProviderRejected: nothing is lost."""
    link = gateways.active(scope)
    if link is None:
        return Recovered(0, 0)
    connection = link.connection
    read_until = connection.events_read_until or connection.created_at
    listed = link.gateway.list_events(max(read_until, now - _KEPT) - _TWICE)
    wanted = [event for event in listed if event.type in HANDLERS]
    missed = 0
    # Oldest first: cut off, the next round begins where the inbox ends.
    for event in sorted(wanted, key=lambda event: (event.created, event.id)):
        with ledger.read() as session:
            if inbox.is_known(session, scope, connection.id, event.id):
                continue
        with ledger.begin() as session:
            _, fresh = inbox.receive(
                session, scope, connection.id, event.id, event.type, event.created, event.payload, now, EVENTS_API
            )
        missed += fresh
    with ledger.begin() as session:
        connections.update_connection(session, scope, connection.id, {"events_read_until": now})
    return Recovered(len(wanted), missed)
