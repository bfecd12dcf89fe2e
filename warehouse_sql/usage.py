"""Usage of a meter: typed answers, exact values, the same from rollups as from the events (promises U1 to U3, E6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Literal

from billing.meter import Meter
from billing.scope import Scope
from warehouse_sql.aggregates import MAX_ROWS, Part, check_period, read_parts, too_many_rows
from warehouse_sql.client import Warehouse
from warehouse_sql.instants import from_micros
from warehouse_sql.usage_query import (
    MAX_LIMIT,
    OrderBy,
    UsageAnswer,
    UsageQuery,
    UsageRow,
    UsageRows,
    answer_of,
    check_query,
    empty_row,
)
from warehouse_sql.usage_series import read_series
from warehouse_sql.values import value_of_nothing
from warehouse_sql.windows import window_starts

__all__ = [
    "MAX_LIMIT",
    "OrderBy",
    "Quantity",
    "UsageAnswer",
    "UsageQuery",
    "UsageRow",
    "read_quantities",
    "read_usage",
    "safe_watermark",
]


@dataclass(frozen=True, slots=True)
class Quantity:
    """`quantity_hash` stands for the identities and contents of the events counted, in no order; it is the same from
    rollups as from the events. Events received after `watermark` are not in it. `builds` are the rollups used, by ISO
    day. `unusable` events fit the meter and were left out (see `unusable.list_unusable`).
    """

    value: Decimal | None
    events: int
    quantity_hash: str
    watermark: datetime
    builds: dict[str, int] = field(default_factory=dict)
    unusable: int = 0
    raw_days: int = field(default=0, compare=False)


def read_usage(warehouse: Warehouse, query: UsageQuery, source: Literal["auto", "raw"] = "auto") -> UsageAnswer:
    """Answers `query`; with `raw` from the events alone, which gives the same rows.

    Customers that are named get a row for every window, 0 or None by rule U2 where there is nothing; grouped, a
    customer without usage in a window gets one row with empty texts. With a `limit` or ordered by value these hold for
    each series (see `read_series`). An average is the exact quotient, rounded to 24 decimals, half away from zero.
    Errors: InvalidInput, TooLarge.
    """
    check_query(query)
    starts = window_starts(query.start, query.end, query.window, query.timezone)
    named = None if query.customer_ids is None else tuple(dict.fromkeys(query.customer_ids))
    if named is not None and len(named) * len(starts) > MAX_ROWS:
        raise too_many_rows()
    rollups = source == "auto"
    if query.limit is not None or query.order_by == "value":
        return read_series(warehouse, query, starts, named, rollups)
    sources, parts = read_parts(
        warehouse,
        query.scope,
        query.meter,
        starts,
        query.end,
        named,
        group_by=query.group_by,
        filters=query.filters,
        rollups=rollups,
    )
    rows: Sequence[UsageRow] = UsageRows(parts, query, starts)
    if named is not None:
        rows = _with_empty_windows(rows, query, starts, named)
    return answer_of(_in_order(rows, query), sources)


def read_quantities(
    warehouse: Warehouse,
    scope: Scope,
    meter: Meter,
    start: datetime,
    end: datetime,
    customer_ids: Sequence[str] | None,
    *,
    watermark: datetime | None = None,
    rollups: bool = True,
) -> dict[str, Quantity]:
    """Each customer's quantity in [start, end), by external id; of None, of every customer that has usage.

    `watermark` is that of a reconcile run (`supersede_duplicates(…).watermark`) where the quantity goes on an invoice:
    then the same call gives the same quantities for ever. Without one it is the safe watermark of this moment.
    `rollups=False` reads the events alone. Errors: InvalidInput, TooLarge.
    """
    check_period(start, end)
    seen_until = watermark if watermark is not None else safe_watermark(warehouse)
    named = None if customer_ids is None else tuple(dict.fromkeys(customer_ids))
    sources, parts = read_parts(
        warehouse, scope, meter, [start], end, named, until=seen_until, fingerprinted=True, rollups=rollups
    )
    builds = {day.isoformat(): build for day, build in sources.builds.items()}
    raw_days = sources.busy_raw_days
    nothing = Quantity(value_of_nothing(meter.aggregation.type), 0, _hash(0, 0), seen_until, builds, raw_days=raw_days)
    quantities = dict.fromkeys(named or (), nothing)
    return quantities | {part.customer_id: _quantity(part, nothing) for part in parts}


def safe_watermark(warehouse: Warehouse) -> datetime:
    """The last instant up to which everything received can be seen: no insert that still runs can add to it."""
    return from_micros(warehouse.rows("queries/safe_watermark")[0]["watermark_us"])


def _with_empty_windows(
    rows: Sequence[UsageRow], query: UsageQuery, starts: Sequence[datetime], named: Sequence[str]
) -> list[UsageRow]:
    found: dict[tuple[str, datetime], list[UsageRow]] = {}
    for row in rows:
        found.setdefault((row.customer_id, row.start), []).append(row)
    return [
        row
        for customer_id in named
        for at, end in zip(starts, (*starts[1:], query.end), strict=True)
        for row in found.get((customer_id, at)) or [empty_row(query, customer_id, at, end)]
    ]


def _in_order(rows: Sequence[UsageRow], query: UsageQuery) -> Sequence[UsageRow]:
    """Rows come by customer, window and group, and equals stay so."""
    if query.order_by == "time":
        return sorted(rows, key=lambda row: row.start, reverse=bool(query.descending))
    if query.order_by == "customer" or (query.descending and query.customer_ids is None):
        return sorted(rows, key=lambda row: row.customer_id, reverse=bool(query.descending))
    return rows


def _quantity(part: Part, nothing: Quantity) -> Quantity:
    counted = _hash(part.events, part.fingerprint)
    return replace(nothing, value=part.value, events=part.events, quantity_hash=counted, unusable=part.unusable)


def _hash(events: int, fingerprint: int) -> str:
    """
    >>> _hash(2, 255)
    'v1-2-000000000000000000000000000000ff'
    """
    return f"v1-{events}-{fingerprint:032x}"
