"""Usage as series: the first so many customers or groups by value or name, page by page, each with its windows.

The series come first, by their totals of the whole time, and then their windows. All pages of a question are read as
of one instant, which the cursor carries, so that they fit together whatever arrives in between.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Final

from billing.errors import InvalidInput, Unavailable
from warehouse_sql.aggregates import MAX_ROWS, Parts, read_parts, too_many_rows
from warehouse_sql.client import Warehouse
from warehouse_sql.days import Sources
from warehouse_sql.instants import FAR_FUTURE, from_micros, to_micros
from warehouse_sql.usage_query import UsageAnswer, UsageQuery, UsageRow, UsageRows, answer_of, empty_row

# An insert is over within milliseconds; one that hangs is cut off by its own timeouts.
_WAIT_SECONDS: Final = 0.02
_MOST_WAITS: Final = 250


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins, and up to when events were received that are in it."""

    until: datetime
    first: int


def read_series(
    warehouse: Warehouse, query: UsageQuery, starts: Sequence[datetime], named: Sequence[str] | None, rollups: bool
) -> UsageAnswer:
    """Answers a question with a `limit` or ordered by value.

    A series of a named customer has a row for every window, any other for each window in which it has usage. Errors:
    InvalidInput `cursor_invalid`; TooLarge; Unavailable.
    """
    place = _Place(settled_instant(warehouse), 0) if query.cursor is None else _read_cursor(query.cursor, query)
    most = MAX_ROWS if query.limit is None else query.limit
    # In the order of customers a page is cut by the engine; any other order needs all totals.
    cut = named is None and query.order_by != "value" and (query.order_by == "time" or not query.descending)
    page = (place.first, most + 1) if cut else None
    sources, parts = _read(warehouse, query, starts[:1], named, rollups, place.until, page)
    totals = list(UsageRows(parts, query, starts[:1]))
    first = 0 if cut else place.first
    if not cut:
        totals = _ranked(totals, query, named)
    chosen = totals[first : first + most]
    rows = chosen
    if query.window is not None and chosen:
        if named is not None and len(chosen) * len(starts) > MAX_ROWS:
            raise too_many_rows()
        customers = tuple(dict.fromkeys(row.customer_id for row in chosen))
        sources, parts = _read(warehouse, query, starts, customers, rollups, place.until)
        rows = _windows_of(chosen, UsageRows(parts, query, starts), query, starts)
    if query.order_by == "time":
        rows = sorted(rows, key=lambda row: row.start, reverse=bool(query.descending))
    more = len(totals) > first + most
    cursor = _write_cursor(_Place(place.until, place.first + most), query) if more else None
    return replace(answer_of(rows, sources), as_of=place.until, next_cursor=cursor)


def settled_instant(warehouse: Warehouse, sleep: Callable[[float], None] = time.sleep) -> datetime:
    """This moment, once all that was received up to it can be seen: waits for the inserts that run now.

    Everything acknowledged before the call is in it (promise E2), and reading up to it gives the same again and again.
    Unavailable `warehouse_busy` where an insert takes too long.
    """
    found = warehouse.rows("queries/safe_watermark")[0]
    now_us = found["now_us"]
    for _ in range(_MOST_WAITS):
        if found["watermark_us"] >= now_us:
            return from_micros(now_us)
        sleep(_WAIT_SECONDS)
        found = warehouse.rows("queries/safe_watermark")[0]
    raise Unavailable("warehouse_busy", "an insert has not ended in time", retry_after_seconds=1)


def _read(
    warehouse: Warehouse,
    query: UsageQuery,
    starts: Sequence[datetime],
    customers: Sequence[str] | None,
    rollups: bool,
    until: datetime,
    page: tuple[int, int] | None = None,
) -> tuple[Sources, Parts]:
    return read_parts(
        warehouse,
        query.scope,
        query.meter,
        starts,
        query.end,
        customers,
        group_by=query.group_by,
        filters=query.filters,
        rollups=rollups,
        until=until,
        page=page,
    )


def _ranked(totals: list[UsageRow], query: UsageQuery, named: Sequence[str] | None) -> list[UsageRow]:
    """All series in the order asked for, those of named customers without usage included; equals by their names."""
    if named is not None:
        known = {row.customer_id for row in totals}
        totals = totals + [empty_row(query, each, query.start, query.end) for each in named if each not in known]
    totals = sorted(totals, key=lambda row: row.series)
    if query.order_by == "value":
        ascending = query.descending is False
        counted = [row for row in totals if row.value is not None]
        # A stable sort, so that equals stay in the order of their names either way.
        counted.sort(key=lambda row: _signed(row, ascending))
        return counted + [row for row in totals if row.value is None]
    if query.order_by is None and named is not None:
        place = {customer_id: number for number, customer_id in enumerate(named)}
        totals.sort(key=lambda row: place[row.customer_id])
        return totals
    if query.order_by != "time":
        totals.sort(key=lambda row: row.customer_id, reverse=bool(query.descending))
    return totals


def _signed(row: UsageRow, ascending: bool) -> Decimal:
    value = row.value or Decimal(0)
    return value if ascending else value.copy_negate()


def _windows_of(
    chosen: Sequence[UsageRow], found: Iterable[UsageRow], query: UsageQuery, starts: Sequence[datetime]
) -> list[UsageRow]:
    by_series: dict[tuple[str, tuple[str, ...]], dict[datetime, UsageRow]] = {}
    for row in found:
        by_series.setdefault(row.series, {})[row.start] = row
    ends = (*starts[1:], query.end)
    rows: list[UsageRow] = []
    for one in chosen:
        windows = by_series.get(one.series, {})
        if query.customer_ids is None:
            rows += windows.values()
        else:
            rows += [
                windows.get(at) or empty_row(query, one.customer_id, at, end, dict(one.group))
                for at, end in zip(starts, ends, strict=True)
            ]
    return rows


def _write_cursor(place: _Place, query: UsageQuery) -> str:
    parts = [_digest(query), to_micros(place.until), place.first]
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, query: UsageQuery) -> _Place:
    try:
        digest, until_us, first = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        until = from_micros(until_us)
        if digest == _digest(query) and type(first) is int and 0 <= first < 2**53 and until <= FAR_FUTURE:
            return _Place(until, first)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        pass
    raise InvalidInput(
        "cursor_invalid",
        "this cursor was not made by this question",
        field="cursor",
        hint="Repeat the question of the first page with its next_cursor, or leave the cursor out.",
    )


def _digest(query: UsageQuery) -> str:
    """Stands for the question, and for the meter's version: the pages of two questions do not fit together."""
    return sha256(repr(replace(query, cursor=None)).encode()).hexdigest()[:16]
