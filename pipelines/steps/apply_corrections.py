"""Carries corrections of events out in the warehouse, however often it is cut off in between."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from billing.errors import Unavailable
from billing.scope import Scope
from ingestion.event import Event
from ingestion.writer import EventWriter
from ledger.db import Ledger
from ledger.store import event_corrections
from ledger.store.event_corrections import CorrectionRecord
from warehouse_sql.client import Warehouse
from warehouse_sql.corrections import take_out
from warehouse_sql.event_log import EventStatus, StoredEvent

__all__ = ["AMENDMENT", "AppliedCorrections", "apply_correction", "apply_corrections"]

AMENDMENT: Final = "amendment"
"""The source of an event that takes the place of an amended one."""

_AT_ONCE: Final = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AppliedCorrections:
    """`failed` ones stay to be applied, and hold the invoices that they touch."""

    applied: int
    failed: int


def apply_correction(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, correction: CorrectionRecord, now: datetime
) -> None:
    """Leave the event out, then store what takes its place. Doing it again ends in the same state.

    In this order a cut leaves neither of the two counted, never both. Raises Unavailable when warehouse or ledger is.
    """
    event = msgspec.json.decode(correction.event, type=StoredEvent)
    if correction.corrected is None:
        take_out(warehouse, scope, event, EventStatus.VOIDED, None)
    else:
        corrected = msgspec.json.decode(correction.corrected, type=Event)
        winner = (corrected.event_name, corrected.customer_id, corrected.timestamp)
        take_out(warehouse, scope, event, EventStatus.AMENDED, winner)
        EventWriter(warehouse, AMENDMENT).write(scope, [corrected])
    ledger.run(lambda session: event_corrections.mark_applied(session, scope, correction.id, now))


def apply_corrections(
    ledger: Ledger, warehouse: Warehouse, now: datetime, *, after: timedelta = timedelta(0)
) -> AppliedCorrections:
    """Finish what was decided `after` ago or longer and not carried out, of all environments, the oldest first.

    Raises Unavailable when warehouse or ledger is.
    """
    with ledger.read() as session:
        waiting = event_corrections.unapplied(session, now - after, _AT_ONCE)
    failed = 0
    for scope, correction in waiting:
        try:
            apply_correction(ledger, warehouse, scope, correction, now)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this correction's alone
            _log.error("correction %s failed with %s", correction.id, type(error).__name__)
            failed += 1
    return AppliedCorrections(len(waiting) - failed, failed)
