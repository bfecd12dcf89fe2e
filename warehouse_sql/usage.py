"""Usage of a meter: typed answers, exact values, the same from rollups as from the events (promises U1 to U3, E6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from billing.errors import InvalidInput, TooLarge
from billing.meter import MAX_GROUP_BY, Meter
from billing.scope import Scope
from warehouse_sql.aggregates import MAX_ROWS, Part, check_period, read_parts, too_many_rows
from warehouse_sql.client import Warehouse
from warehouse_sql.instants import from_micros
from warehouse_sql.values import value_of_nothing
from warehouse_sql.windows import WINDOWS, Window, window_starts, zone


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What is asked: [start, end), by customer, by calendar window of `timezone`, by texts of `group_by` properties.

    `customer_ids` are the callers' own (external) ids; None asks for every customer that has usage.
    """

    scope: Scope
    meter: Meter
    start: datetime
    end: datetime
    customer_ids: tuple[str, ...] | None = None
    window: Window | None = None
    timezone: str = "UTC"
    group_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageRow:
    """`events` were counted, `unusable` fit the meter but had no value that could be; a `group` text is empty where an
    event has no such property.
    """

    customer_id: str
    start: datetime
    end: datetime
    group: dict[str, str]
    value: Decimal | None
    events: int
    unusable: int = 0


@dataclass(frozen=True, slots=True)
class UsageAnswer:
    """Rows by customer, window and group. Everything acknowledged before `as_of` is in them.

    `rollup_days` were read from rollups, from the `builds` named (by ISO day); `raw_days` had events to read.
    """

    rows: tuple[UsageRow, ...]
    as_of: datetime
    rollup_days: int
    raw_days: int
    builds: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quantity:
    """`quantity_hash` stands for the identities and contents of the events counted, in no order; it is the same from
    rollups as from the events. Events received after `watermark` are not in it. `builds` are the rollups used, by ISO
    day. `unusable` events fit the meter and were left out (see `unusable_events`).
    """

    value: Decimal | None
    events: int
    quantity_hash: str
    watermark: datetime
    builds: dict[str, int] = field(default_factory=dict)
    unusable: int = 0


def read_usage(warehouse: Warehouse, query: UsageQuery, source: Literal["auto", "raw"] = "auto") -> UsageAnswer:
    """Answers `query`; with `raw` from the events alone, which gives the same rows.

    Customers that are named get a row for every window, 0 or None by rule U2 where there is nothing; grouped, a
    customer without usage in a window gets one row with empty texts. An average is the exact quotient, rounded to 24
    decimals, half away from zero. Errors: InvalidInput, TooLarge.
    """
    check_period(query.start, query.end)
    if query.window is not None and query.window not in WINDOWS:
        raise InvalidInput(
            "unknown_value", "is not a known window", field="window", hint=f"One of: {', '.join(WINDOWS)}."
        )
    if len(query.group_by) > MAX_GROUP_BY:
        raise TooLarge("too_many_items", f"has more than {MAX_GROUP_BY} properties", field="group_by")
    zone(query.timezone)
    starts = window_starts(query.start, query.end, query.window, query.timezone)
    named = None if query.customer_ids is None else tuple(dict.fromkeys(query.customer_ids))
    if named is not None and len(named) * len(starts) > MAX_ROWS:
        raise too_many_rows()
    rollups = source == "auto" and set(query.group_by) <= set(query.meter.group_by)
    sources, parts = read_parts(
        warehouse, query.scope, query.meter, starts, query.end, named, group_by=query.group_by, rollups=rollups
    )
    rows = _rows(parts, query, starts, named)
    return UsageAnswer(
        rows=tuple(rows),
        as_of=sources.as_of,
        rollup_days=len(sources.builds),
        raw_days=sources.busy_raw_days,
        builds={day.isoformat(): build for day, build in sources.builds.items()},
    )


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
    nothing = Quantity(value_of_nothing(meter.aggregation.type), 0, _hash(0, 0), seen_until, builds)
    quantities = dict.fromkeys(named or (), nothing)
    return quantities | {part.customer_id: _quantity(part, seen_until, builds) for part in parts}


def safe_watermark(warehouse: Warehouse) -> datetime:
    """The last instant up to which everything received can be seen: no insert that still runs can add to it."""
    return from_micros(warehouse.rows("queries/safe_watermark")[0]["watermark_us"])


def _rows(
    parts: Iterable[Part], query: UsageQuery, starts: Sequence[datetime], named: Sequence[str] | None
) -> Iterator[UsageRow]:
    ends = dict(zip(starts, (*starts[1:], query.end), strict=True))
    found: dict[tuple[str, datetime], list[UsageRow]] = {}
    for part in parts:
        group = dict(zip(query.group_by, part.groups, strict=True))
        row = UsageRow(part.customer_id, part.window, ends[part.window], group, part.value, part.events, part.unusable)
        found.setdefault((part.customer_id, part.window), []).append(row)
    if named is None:
        for rows in found.values():
            yield from rows
        return
    nothing = value_of_nothing(query.meter.aggregation.type)
    no_group = dict.fromkeys(query.group_by, "")
    for customer_id in named:
        for at in starts:
            empty = UsageRow(customer_id, at, ends[at], dict(no_group), nothing, 0)
            yield from found.get((customer_id, at), [empty])


def _quantity(part: Part, watermark: datetime, builds: dict[str, int]) -> Quantity:
    return Quantity(part.value, part.events, _hash(part.events, part.fingerprint), watermark, builds, part.unusable)


def _hash(events: int, fingerprint: int) -> str:
    """
    >>> _hash(2, 255)
    'v1-2-000000000000000000000000000000ff'
    """
    return f"v1-{events}-{fingerprint:032x}"
