"""An identity counts once, wherever it appears (promise E3): finds the rows that lost and has every read leave them
out.

Rows of equal content collapse in the engine, and a query leaves out what it can see itself. What is left is an
identity at two hours, customers, event names or months. This step compares what arrived since its last run with
everything received within LOOKBACK, and writes the losers to `superseded`. Running it again, or twice at once, changes
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from warehouse_sql.client import Warehouse
from warehouse_sql.instants import from_micros, to_micros
from warehouse_sql.usage import safe_watermark

# An identity that comes again later than this is a new one. The promise is 35 days.
LOOKBACK: Final = timedelta(days=100)
# Identities compared in one statement: about 100 MB of hashes in the engine.
_IDENTITIES_AT_ONCE: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Everything received up to `watermark` has been compared. Of the rows `received` since the last run, `duplicates`
    came again with the same content and `conflicts` with another; `days` are those that hold them.
    """

    watermark: datetime
    received: int
    duplicates: int
    conflicts: int
    days: tuple[date, ...]


def supersede_duplicates(warehouse: Warehouse, *, lookback: timedelta = LOOKBACK) -> Reconciled:
    """Reconciles everything received up to the safe watermark of this moment."""
    to_us = to_micros(safe_watermark(warehouse))
    scope = warehouse.rows("queries/reconcile_scope", {"to_us": to_us})[0]
    from_us, received = scope["reconciled_us"], scope["received"]
    if to_us <= from_us:
        return Reconciled(from_micros(from_us), 0, 0, 0, ())
    span = {"from_us": from_us, "to_us": to_us}
    lookback_us = to_us - to_micros(from_micros(0) + lookback)
    slices = -(-received // _IDENTITIES_AT_ONCE)
    for number in range(slices):
        warehouse.command(
            "queries/reconcile_events", {**span, "lookback_us": lookback_us, "slices": slices, "slice": number}
        )
    if received:
        warehouse.command("queries/reconcile_arrivals", span)
    found = {row["reason"]: row for row in warehouse.rows("queries/reconcile_found", span)} if received else {}
    warehouse.command("queries/reconcile_finish", span)
    return Reconciled(
        watermark=from_micros(to_us),
        received=received,
        duplicates=found["duplicate"]["events"] if "duplicate" in found else 0,
        conflicts=found["conflict"]["events"] if "conflict" in found else 0,
        days=tuple(sorted({day for row in found.values() for day in row["days"]})),
    )


def reconciled_watermark(warehouse: Warehouse) -> datetime:
    """How far the last finished run came; 1970 where there was none."""
    return from_micros(warehouse.rows("queries/reconciled_until")[0]["reconciled_us"])
