"""One meter's aggregates per customer, window and group values: builds the parameters, runs the query, types its
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple, overload

from billing.errors import InvalidInput, TooLarge
from billing.meter import AggregationType, Filter, FilterOp, Meter
from billing.scope import Scope
from warehouse_sql.client import Warehouse
from warehouse_sql.days import Sources, choose_sources, hour_range
from warehouse_sql.instants import FAR_FUTURE, from_micros, hour_of, to_micros
from warehouse_sql.meters import customer_params, filter_params, meter_params
from warehouse_sql.values import value_of

MAX_ROWS: Final = 200_000
MAX_PERIOD: Final = timedelta(days=3660)
# As many customers as one statement names; more are asked for in turns.
_CUSTOMERS_AT_ONCE: Final = 500
_EARLIEST: Final = from_micros(0)
_COLUMNS: Final = ("customer_id", "window_us", "groups", "matched", "usable", "number", "fingerprint")


class Part(NamedTuple):
    """One customer's aggregate of one window and group."""

    customer_id: str
    window: datetime
    groups: tuple[str, ...]
    value: Decimal | None
    events: int
    unusable: int
    fingerprint: int


class Parts(Sequence[Part]):
    """Aggregates as the engine returns them, by column; each is made when it is looked at.

    Of all customers by day there are a hundred thousand, and making them takes longer than the engine does.
    """

    def __init__(self, meter: Meter, portions: Iterable[Mapping[str, Sequence[Any]]] = ()) -> None:
        self._value_of = value_of(meter)
        self._columns: tuple[list[Any], ...] = tuple([] for _ in _COLUMNS)
        for portion in portions:
            for column, name in zip(self._columns, _COLUMNS, strict=True):
                column.extend(portion.get(name, ()))

    def __len__(self) -> int:
        return len(self._columns[0])

    def __iter__(self) -> Iterator[Part]:
        windows = {micros: from_micros(micros) for micros in set(self._columns[1])}
        value = self._value_of
        for customer_id, micros, groups, matched, usable, number, fingerprint in zip(*self._columns, strict=True):
            yield Part(
                customer_id,
                windows[micros],
                tuple(groups),
                value(matched, usable, number),
                usable,
                matched - usable,
                int(fingerprint),
            )

    @overload
    def __getitem__(self, index: int) -> Part: ...
    @overload
    def __getitem__(self, index: slice) -> list[Part]: ...
    def __getitem__(self, index: int | slice) -> Part | list[Part]:
        return list(self)[index]


def check_period(start: datetime, end: datetime) -> None:
    """InvalidInput where [start, end) is empty, too long, or not in time zones."""
    if start.tzinfo is None or end.tzinfo is None:
        raise InvalidInput(
            "naive_time", "must have an offset from UTC", field="start" if start.tzinfo is None else "end"
        )
    if start >= end:
        raise InvalidInput("empty_period", "must be before end", field="start")
    if end - start > MAX_PERIOD:
        raise TooLarge("period_too_long", f"is more than {MAX_PERIOD.days} days after start", field="end")
    if start < _EARLIEST or end > FAR_FUTURE:
        raise InvalidInput(
            "out_of_range", "must lie between 1970 and 2100", field="start" if start < _EARLIEST else "end"
        )


def read_parts(
    warehouse: Warehouse,
    scope: Scope,
    meter: Meter,
    starts: Sequence[datetime],
    end: datetime,
    customer_ids: Sequence[str] | None,
    *,
    group_by: Sequence[str] = (),
    filters: Sequence[Filter] = (),
    rollups: bool = True,
    until: datetime = FAR_FUTURE,
    fingerprinted: bool = False,
    page: tuple[int, int] | None = None,
) -> tuple[Sources, Parts]:
    """The aggregates of windows that begin at `starts`, of events that fit `filters` too, received up to `until`.

    In the order of customer, window and group. `page` is the first row and how many: only without `customer_ids`.
    """
    start = starts[0]
    levels = meter.aggregation.type is AggregationType.WEIGHTED_SUM
    asked = meter_params(scope, replace(meter, filters=(*meter.filters, *filters)))
    rollups = rollups and set(group_by) <= set(meter.group_by) and all(_told_by_groups(one, meter) for one in filters)
    sources = choose_sources(warehouse, asked, start, end, starts, rollups=rollups and not levels, until=until)
    params: dict[str, Any] = {
        **asked,
        **sources.params(),
        **hour_range(start, end),
        "start_us": to_micros(start),
        "end_us": to_micros(end),
        "until_us": to_micros(until),
        "window_starts_us": [to_micros(at) for at in starts],
        "whole_hours": all(at == hour_of(at) for at in (*starts, end)),
        "group_by": list(group_by),
        "group_positions": [meter.group_by.index(name) + 1 for name in group_by if name in meter.group_by],
        "group_names": list(meter.group_by),
        "group_filters": filter_params(filters),
        "fingerprinted": fingerprinted,
        "row_offset": 0 if page is None else page[0],
        "row_limit": MAX_ROWS + 1 if page is None else page[1],
    }
    name = "queries/usage"
    if not sources.builds:
        name = "queries/usage_from_events"
    elif not sources.needs_events:
        name = "queries/usage_from_filtered_rollups" if filters else "queries/usage_from_rollups"
    if levels:
        name = "queries/usage_levels"
        params |= _level_params(starts, end, min(end, until, sources.as_of))
    parts = Parts(
        meter, (warehouse.columns(name, {**params, **customer_params(some)}) for some in _turns(customer_ids))
    )
    if len(parts) > MAX_ROWS:
        raise too_many_rows()
    return sources, parts


def _told_by_groups(one: Filter, meter: Meter) -> bool:
    """Whether a rollup's group texts decide the filter. They are empty for an absent property and for an empty text."""
    tells_apart = one.op in {FilterOp.EXISTS, FilterOp.NOT_EXISTS} or "" in filter_params([one])[0][2]
    return one.property in meter.group_by and not tells_apart


def _level_params(starts: Sequence[datetime], end: datetime, held_until: datetime) -> dict[str, Any]:
    """A level counts from the last event before the period, so the whole past is read, and nothing is taken as
    settled.
    """
    return {
        **hour_range(_EARLIEST, end),
        "window_ends_us": [to_micros(at) for at in (*starts[1:], end)],
        "held_until_us": to_micros(held_until),
        "unreconciled": True,
    }


def _turns(customer_ids: Sequence[str] | None) -> Iterator[Sequence[str] | None]:
    if customer_ids is None:
        yield None
        return
    for first in range(0, len(customer_ids), _CUSTOMERS_AT_ONCE):
        yield customer_ids[first : first + _CUSTOMERS_AT_ONCE]


def too_many_rows() -> TooLarge:
    return TooLarge(
        "too_many_rows",
        f"the answer has more than {MAX_ROWS} rows",
        hint="Ask for fewer customers, larger windows or a shorter period.",
    )
