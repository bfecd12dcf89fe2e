"""What is asked about a meter's usage, and how an answer looks; the checks that need no warehouse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple, overload

import pyarrow as pa
import pyarrow.compute as pc

from billing.errors import InvalidInput, TooLarge
from billing.meter import MAX_FILTERS, MAX_GROUP_BY, Filter, Meter
from billing.scope import Scope
from warehouse_sql.aggregates import Parts, check_period
from warehouse_sql.days import Sources
from warehouse_sql.instants import to_micros
from warehouse_sql.values import value_of_nothing
from warehouse_sql.windows import WINDOWS, Window, zone

OrderBy = Literal["customer", "time", "value"]

MAX_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What is asked: [start, end), by customer, by calendar window of `timezone`, by texts of `group_by` properties.

    `customer_ids` are the callers' own (external) ids; None asks for every customer that has usage. Events have to fit
    `filters` as well as the meter's own.

    A series is a customer, or a customer with a group where there are groups. `limit` takes the first so many of them:
    by value that of the whole time decides (the highest first unless `descending` is False, null last), else the order
    of customers. `cursor` is the `next_cursor` of the answer before to the same question.
    """

    scope: Scope
    meter: Meter
    start: datetime
    end: datetime
    customer_ids: tuple[str, ...] | None = None
    window: Window | None = None
    timezone: str = "UTC"
    group_by: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    order_by: OrderBy | None = None
    descending: bool | None = None
    limit: int | None = None
    cursor: str | None = None


class UsageRow(NamedTuple):
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

    @property
    def series(self) -> tuple[str, tuple[str, ...]]:
        """The customer and group that the row belongs to."""
        return self.customer_id, tuple(self.group.values())


@dataclass(frozen=True, slots=True)
class UsageAnswer:
    """Rows by customer, window and group, or as was asked. Everything acknowledged before `as_of` is in them.

    `rollup_days` were read from rollups, from the `builds` named (by ISO day); `raw_days` had events to read. The pages
    of one question share their `as_of`: nothing that was received after it is in any of them.
    """

    rows: Sequence[UsageRow]
    as_of: datetime
    rollup_days: int
    raw_days: int
    builds: dict[str, int] = field(default_factory=dict)
    next_cursor: str | None = None


def check_query(query: UsageQuery) -> None:
    """InvalidInput or TooLarge, with the field, for a question that has no answer."""
    check_period(query.start, query.end)
    if query.window is not None and query.window not in WINDOWS:
        raise InvalidInput(
            "unknown_value", "is not a known window", field="window", hint=f"One of: {', '.join(WINDOWS)}."
        )
    if len(query.group_by) > MAX_GROUP_BY:
        raise TooLarge("too_many_items", f"has more than {MAX_GROUP_BY} properties", field="group_by")
    if len(set(query.group_by)) < len(query.group_by):
        raise InvalidInput("duplicate_value", "names a property twice", field="group_by")
    if len(query.filters) > MAX_FILTERS:
        raise TooLarge("too_many_items", f"has more than {MAX_FILTERS} filters", field="filters")
    if query.limit is not None and not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidInput("out_of_range", f"must be between 1 and {MAX_LIMIT}", field="limit")
    if query.cursor is not None and query.limit is None:
        raise InvalidInput(
            "missing_field", "is needed with a cursor", field="limit", hint="Repeat the question of the first page."
        )
    zone(query.timezone)


@dataclass(frozen=True, slots=True)
class UsageColumns:
    """Rows of usage side by side, as in `UsageRow`; each window by its start in microseconds, which tells its end.

    `values` are plain digits, null where a row has none.
    """

    customer_ids: pa.ChunkedArray
    starts_us: pa.ChunkedArray
    ends: Mapping[int, datetime]
    groups: Mapping[str, pa.ChunkedArray]
    values: pa.ChunkedArray
    events: pa.ChunkedArray
    unusable: pa.ChunkedArray


class UsageRows(Sequence[UsageRow]):
    """The engine's aggregates as rows, in their order; each is made when it is looked at."""

    def __init__(self, parts: Parts, query: UsageQuery, starts: Sequence[datetime]) -> None:
        self._parts = parts
        self._group_by = query.group_by
        self._ends = dict(zip(starts, (*starts[1:], query.end), strict=True))

    def columns(self) -> UsageColumns | None:
        """The rows as columns; None where their values have yet to be worked out."""
        table, values = self._parts.table, self._parts.values()
        if table is None or values is None:
            return None
        groups = {name: pc.list_element(table["groups"], place) for place, name in enumerate(self._group_by)}
        return UsageColumns(
            customer_ids=table["customer_id"],
            starts_us=table["window_us"],
            ends={to_micros(start): end for start, end in self._ends.items()},
            groups=groups,
            values=values,
            events=table["usable"],
            unusable=pc.subtract(table["matched"], table["usable"]),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[UsageRow]:
        names, ends = self._group_by, self._ends
        for customer_id, start, groups, value, events, unusable, _ in self._parts:
            yield UsageRow(
                customer_id, start, ends[start], dict(zip(names, groups, strict=True)), value, events, unusable
            )

    @overload
    def __getitem__(self, index: int) -> UsageRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[UsageRow]: ...
    def __getitem__(self, index: int | slice) -> UsageRow | list[UsageRow]:
        return list(self)[index]


def empty_row(
    query: UsageQuery, customer_id: str, start: datetime, end: datetime, group: dict[str, str] | None = None
) -> UsageRow:
    """The row of a window without usage, by rule U2."""
    nothing = value_of_nothing(query.meter.aggregation.type)
    return UsageRow(customer_id, start, end, group or dict.fromkeys(query.group_by, ""), nothing, 0)


def answer_of(rows: Sequence[UsageRow], sources: Sources) -> UsageAnswer:
    """The rows with what they were read from."""
    return UsageAnswer(
        rows=rows if isinstance(rows, UsageRows) else tuple(rows),
        as_of=sources.as_of,
        rollup_days=len(sources.builds),
        raw_days=sources.busy_raw_days,
        builds={day.isoformat(): build for day, build in sources.builds.items()},
    )
