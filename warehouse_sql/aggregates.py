"""One meter's aggregates per customer, window and group values: builds the parameters, runs the query, types its
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple, overload

import pyarrow as pa
import pyarrow.compute as pc

from billing.errors import InvalidInput, TooLarge
from billing.meter import AggregationType, Filter, FilterOp, Meter
from billing.scope import Scope
from warehouse_sql.client import Warehouse
from warehouse_sql.customer_days import add_days_up, can_add_days_up
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

    Of all customers by day there are a hundred thousand, and making them takes longer than the engine does. So they may
    stay a `table`, and `values` are the texts of their values where no arithmetic is needed for these.
    """

    def __init__(
        self, meter: Meter, portions: Iterable[Mapping[str, Sequence[Any]]] = (), table: pa.Table | None = None
    ) -> None:
        self._meter = meter
        self.table = table
        self._lists: tuple[list[Any], ...] | None = None
        if table is None:
            self._lists = tuple([] for _ in _COLUMNS)
            for portion in portions:
                for column, name in zip(self._lists, _COLUMNS, strict=True):
                    column.extend(portion.get(name, ()))

    @property
    def _columns(self) -> tuple[list[Any], ...]:
        if self._lists is None:
            self._lists = tuple(self.table[name].to_pylist() if self.table else [] for name in _COLUMNS)
        return self._lists

    def values(self) -> pa.ChunkedArray | None:
        """Each value of the table as plain digits, null where there is none; None where they have to be worked out."""
        kind = self._meter.aggregation.type
        if self.table is None or self._meter.multiplier is not None:
            return None
        match kind:
            case AggregationType.COUNT:
                return self.table["matched"].cast(pa.string())
            case AggregationType.SUM | AggregationType.COUNT_UNIQUE:
                return self.table["number"]
            case AggregationType.MIN | AggregationType.MAX | AggregationType.LATEST:
                return pc.if_else(pc.greater(self.table["usable"], 0), self.table["number"], None)
            case _:
                return None

    def __len__(self) -> int:
        return len(self._columns[0]) if self.table is None else self.table.num_rows

    def __iter__(self) -> Iterator[Part]:
        windows = {micros: from_micros(micros) for micros in set(self._columns[1])}
        value = value_of(self._meter)
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
    rollups = rollups and not levels
    by_day = rollups and not filters and can_add_days_up(meter, starts, end, customer_ids, group_by)
    few = customer_ids or () if by_day else ()
    sources = choose_sources(warehouse, asked, start, end, starts, rollups=rollups, until=until, customer_ids=few)
    if sources.counted is not None:
        return sources, Parts(meter, [add_days_up(sources.counted, meter, starts, group_by)])
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
    if levels:
        params |= _level_params(starts, end, min(end, until, sources.as_of))
    name = "queries/usage_levels" if levels else _statement(sources, starts, meter, group_by, filters)
    if customer_ids is None:
        parts = Parts(meter, table=warehouse.table(name, {**params, **customer_params(None)}))
    else:
        turns = (customer_params(some) for some in _turns(customer_ids))
        parts = Parts(meter, (warehouse.columns(name, {**params, **some}) for some in turns))
    if len(parts) > MAX_ROWS:
        raise too_many_rows()
    return sources, parts


def _statement(
    sources: Sources, starts: Sequence[datetime], meter: Meter, group_by: Sequence[str], filters: Sequence[Filter]
) -> str:
    """The statement that reads no more than it has to."""
    if not sources.builds:
        return "queries/usage_from_events"
    if sources.needs_events:
        return "queries/usage"
    if filters:
        return "queries/usage_from_filtered_rollups"
    by_day = sources.whole_days and len(starts) == len(sources.days) and tuple(group_by) == tuple(meter.group_by)
    return "queries/usage_of_whole_days" if by_day else "queries/usage_from_rollups"


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


def _turns(customer_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(customer_ids), _CUSTOMERS_AT_ONCE):
        yield customer_ids[first : first + _CUSTOMERS_AT_ONCE]


def too_many_rows() -> TooLarge:
    return TooLarge(
        "too_many_rows",
        f"the answer has more than {MAX_ROWS} rows",
        hint="Ask for fewer customers, larger windows or a shorter period.",
    )
