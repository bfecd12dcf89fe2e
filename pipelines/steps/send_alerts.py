"""Sends the messages that alerts have left in the ledger, each until it is taken or was tried often enough.

A message is claimed under a lease before it is sent and closed afterwards: a crash in between sends it once more, under
the same id. Every message is also a line of the log, once.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.errors import Unavailable
from billing.instant import format_instant
from ledger.db import Ledger
from ledger.ids import new_id
from ledger.store import alerts
from ledger.store.alerts import MessageRecord
from pipelines.steps.backoff import next_attempt

__all__ = ["MOST_ATTEMPTS", "AlertsSent", "send_alerts", "send_trial"]

# About a day and a half: a receiver that is down for a night gets everything.
MOST_ATTEMPTS = 14
_LEASE = timedelta(minutes=2)
_AT_ONCE = 20

_log = logging.getLogger("tally.alerts")


@dataclass(frozen=True)
class AlertsSent:
    """`logged` had nowhere to be sent. A message in `later` is tried again, one in `given_up` is not."""

    sent: int = 0
    logged: int = 0
    later: int = 0
    given_up: int = 0


def send_alerts(ledger: Ledger, send: Callable[[str, str], None] | None, now: datetime) -> AlertsSent:
    """Send what is due, oldest first. `send` takes a message's id and body and raises Unavailable.

    After the first failure the rest of the round is put off without being tried: a receiver that is down costs one
    timeout a round. Without `send` the messages are only logged. Unavailable as the ledger is.
    """
    with ledger.begin() as session:
        claimed = alerts.claim_due(session, now, _AT_ONCE, _LEASE)
    counts = {"sent": 0, "logged": 0, "later": 0, "given_up": 0}
    down: str | None = None
    for message in claimed:
        if message.attempts == 1 and message.last_error is None:
            _log.warning("alert %s %s", message.event, message.body)
        if down is not None:
            with ledger.begin() as session:
                alerts.send_later(session, message.id, now, down, attempts=message.attempts - 1)
            counts["later"] += 1
            continue
        outcome, down = _send(ledger, send, message, now)
        counts[outcome] += 1
    return AlertsSent(**counts)


def send_trial(send: Callable[[str, str], None], now: datetime) -> str:
    """Send a message that is about no alert, once, and return its id. Unavailable when it is not taken."""
    message_id = new_id("msg", now)
    body = {"id": message_id, "event": "alert.test", "alert": None, "created_at": format_instant(now)}
    send(message_id, json.dumps(body, separators=(",", ":")))
    return message_id


def _send(
    ledger: Ledger, send: Callable[[str, str], None] | None, message: MessageRecord, now: datetime
) -> tuple[str, str | None]:
    """What became of it, and why the receiver seems to be down."""
    error: str | None = None
    try:
        if send is not None:
            send(message.id, message.body)
    except Unavailable as refused:
        error = refused.detail
    with ledger.begin() as session:
        if error is None:
            outcome = "sent" if send is not None else "logged"
            alerts.close_message(session, message.id, outcome, now)
            return outcome, None
        at = next_attempt(message.attempts, MOST_ATTEMPTS, now)
        if at is None:
            alerts.close_message(session, message.id, "failed", now, error)
            _log.error("alert message %s was given up after %d attempts: %s", message.id, message.attempts, error)
            return "given_up", error
        alerts.send_later(session, message.id, at, error)
        return "later", error
