"""Makes every identity count once (E3) and says which events were left out because they conflict."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import tenants
from pipelines.steps.apply_corrections import AppliedCorrections, apply_corrections
from pipelines.steps.chosen import EVERYTHING, Chosen
from warehouse_sql.client import Warehouse
from warehouse_sql.reconcile import Reconciled, supersede_duplicates

__all__ = ["EventsReconciled", "reconcile_events"]

_MOST_LISTED = 100
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class EventsReconciled:
    """`run` is about all that arrived since the last one; `conflicts` about the days asked for, at most 100 a scope.

    `corrections` had been decided and cut off before they were carried out.
    """

    run: Reconciled
    corrections: AppliedCorrections
    conflicts: tuple[tuple[Scope, dict[str, Any]], ...]


def reconcile_events(
    ledger: Ledger, warehouse: Warehouse, start: datetime, end: datetime, now: datetime, chosen: Chosen = EVERYTHING
) -> EventsReconciled:
    """Finish corrections, reconcile everything received by now, and list the chosen conflicts of [start, end).

    Raises Unavailable when warehouse or ledger is.
    """
    corrections = apply_corrections(ledger, warehouse, now)
    run = supersede_duplicates(warehouse)
    with ledger.read() as session:
        scopes = [scope for scope in tenants.list_scopes(session) if chosen.takes(scope)]
    days = {"first_day": start.date(), "last_day": (end - _TICK).date(), "row_limit": _MOST_LISTED}
    conflicts = [
        (scope, row)
        for scope in scopes
        for row in warehouse.rows(
            "checks/events_conflict",
            {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id, **days},
        )
    ]
    return EventsReconciled(run, corrections, tuple(conflicts))
