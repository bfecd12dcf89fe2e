"""Reads a day's events whole, a page at a time, as Arrow tables: every text as it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from billing.scope import Scope
from warehouse_sql.client import Warehouse
from warehouse_sql.meters import customer_params, scope_params

__all__ = ["EXPORTED", "arrived_by_name", "exported_events"]

_TEXTS: Final = pa.map_(pa.string(), pa.string())

EXPORTED: Final = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_name", pa.string()),
        ("customer_id", pa.string()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("timed", pa.bool_()),
        ("properties", _TEXTS),
        ("idempotency_key", pa.string()),
        ("identity", pa.string()),
        ("source", pa.string()),
        ("ingested_at", pa.timestamp("us", "UTC")),
        ("superseded_because", pa.string()),
    ]
)
"""The columns of an export. `properties` has the dotted paths to the leaves of nested objects as well; `timed` is false
where the sender gave no timestamp; `superseded_because` is empty for an event that counts."""

# The place of a row in the table's key, within a day and a name.
_PLACE: Final = ["customer_id", "after_hour", "identity", "after_hash"]
_AT_ONCE: Final = 20_000


def arrived_by_name(warehouse: Warehouse, scope: Scope, day: date, event_name: str | None) -> dict[str, int]:
    """The event names of a UTC day, and how many events of each arrived, repeated ones included."""
    asked = {**scope_params(scope), "all_names": event_name is None, "event_name": event_name or "", "day": day}
    return {row["event_name"]: row["events"] for row in warehouse.rows("queries/export_names", asked)}


def exported_events(
    warehouse: Warehouse,
    scope: Scope,
    day: date,
    event_name: str,
    customer_id: str | None,
    *,
    superseded: bool,
    at_once: int = _AT_ONCE,
) -> Iterator[pa.Table]:
    """The events of a UTC day and name, in tables of EXPORTED.

    With `superseded` also those that count nowhere, because an earlier received one with their identity does. What was
    superseded is known up to the last reconcile run: run it first.
    """
    asked: dict[str, Any] = {
        **scope_params(scope),
        **customer_params(None if customer_id is None else [customer_id]),
        "event_name": event_name,
        "day": day,
        "after_customer": "",
        "after_hour": 0,
        "after_identity": "",
        "after_hash": 0,
        "row_limit": at_once,
    }
    while True:
        page = warehouse.table("queries/export_events", asked)
        if not page.num_rows:
            return
        [last] = page.select(_PLACE).slice(page.num_rows - 1).to_pylist()
        yield _kept(page, superseded=superseded)
        if page.num_rows < at_once:
            return
        asked |= {
            "after_customer": last["customer_id"],
            "after_identity": last["identity"],
            "after_hour": last["after_hour"],
            "after_hash": last["after_hash"],
        }


def _kept(page: pa.Table, *, superseded: bool) -> pa.Table:
    # A row without a partner in the join has an empty reason.
    kept = page if superseded else page.filter(pc.equal(pc.fill_null(page["superseded_because"], ""), ""))
    return kept.select(EXPORTED.names).cast(EXPORTED)
