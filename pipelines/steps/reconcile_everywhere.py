"""Reconciles every environment that has an active connection, each on its own."""

from dataclasses import dataclass
from datetime import datetime

from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import connections, tenants
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.connections import PROVIDER, Gateways
from pipelines.steps.isolation import Failure, failure_of
from pipelines.steps.reconcile_stripe import Reconciled, reconcile_stripe

__all__ = ["Everywhere", "reconcile_everywhere"]


@dataclass(frozen=True)
class Everywhere:
    """What came of each environment; `failures` could not be compared."""

    results: tuple[tuple[Scope, Reconciled], ...]
    failures: tuple[Failure, ...]


def reconcile_everywhere(
    ledger: Ledger, gateways: Gateways, since: datetime, now: datetime, chosen: Chosen = EVERYTHING, *, repair: bool
) -> Everywhere:
    """`reconcile_stripe` for the chosen environments; one that does not answer stops no other."""
    with ledger.read() as session:
        scopes = [
            scope
            for scope in tenants.list_scopes(session)
            if chosen.takes(scope) and connections.active(session, scope, PROVIDER) is not None
        ]
    results, failures = [], []
    for scope in scopes:
        try:
            results.append((scope, reconcile_stripe(ledger, gateways, scope, since, now, repair=repair)))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this environment's alone
            failures.append(failure_of(scope, scope.environment_id, now, error))
    return Everywhere(tuple(results), tuple(failures))
