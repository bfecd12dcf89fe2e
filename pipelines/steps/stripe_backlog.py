"""Whether something waits for the payment provider, and a look at everything that is open there."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from billing.scope import Scope
from ledger.db import Ledger
from ledger.models import InboxEvent, OutboxItem
from ledger.store import tenants
from pipelines.steps.connections import Gateways
from pipelines.steps.isolation import Failure, failure_of
from pipelines.steps.mirrors import ask_for_changed
from pipelines.steps.recover_events import recover_events
from pipelines.steps.stripe_sweep import follow_open

__all__ = ["Followed", "follow_all_open", "overdue_work"]


@dataclass(frozen=True)
class Followed:
    """How many invoices were looked at, events found that nobody had delivered, plans and subscriptions that wait
    to be shown anew, environments in which that failed."""

    invoices: int
    missed_events: int
    changed_mirrors: int
    failures: tuple[Failure, ...]


def overdue_work(ledger: Ledger, since: datetime) -> int:
    """How many open items of inbox and outbox have been due since before `since`."""
    with ledger.read() as session:
        return sum(
            session.scalar(select(func.count()).where(table.state == "open", table.due_at <= since)) or 0
            for table in (InboxEvent, OutboxItem)
        )


def follow_all_open(ledger: Ledger, gateways: Gateways, now: datetime) -> Followed:
    """`recover_events`, `follow_open` and `ask_for_changed` for every environment, each on its own."""
    with ledger.read() as session:
        scopes = tenants.list_scopes(session)
    looked, missed, mirrored, failures = 0, 0, 0, []
    for scope in scopes:
        try:
            missed += recover_events(ledger, gateways, scope, now).missed
            looked += follow_open(ledger, gateways, scope, now)
            mirrored += ask_for_changed(ledger, scope, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this environment's alone
            failures.append(_failure(scope, now, error))
    return Followed(looked, missed, mirrored, tuple(failures))


def _failure(scope: Scope, now: datetime, error: Exception) -> Failure:
    return failure_of(scope, scope.environment_id, now, error)
