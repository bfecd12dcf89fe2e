"""Adds the days of a few customers up to windows: what the engine does for many of them, without asking it again.

An answer about one customer is made of some dozen rows. A statement that adds them up takes the engine longer to plan
than to run, so they come with the facts that say which of them hold (`known_days.read_days`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any, Final

from billing.exact import EXACT, canonical
from billing.meter import AggregationType, Meter
from warehouse_sql.instants import to_micros
from warehouse_sql.known_days import CountedDay

__all__ = ["MOST_CUSTOMERS", "add_days_up", "can_add_days_up"]

MOST_CUSTOMERS: Final = 20


def can_add_days_up(
    meter: Meter, starts: Sequence[datetime], end: datetime, customer_ids: Sequence[str] | None, group_by: Sequence[str]
) -> bool:
    """Whether the days of these customers are few, lie whole in the windows, and say all that the windows ask for.

    Distinct texts are not told by how many each day has, nor is the latest value of a day by those of its groups.
    """
    kind = meter.aggregation.type
    return (
        customer_ids is not None
        and 0 < len(customer_ids) <= MOST_CUSTOMERS
        and kind is not AggregationType.COUNT_UNIQUE
        and (kind is not AggregationType.LATEST or set(group_by) == set(meter.group_by))
        and all(at.astimezone(UTC).time() == time.min for at in (*starts, end))
    )


def add_days_up(
    days: Iterable[CountedDay], meter: Meter, starts: Sequence[datetime], group_by: Sequence[str]
) -> Mapping[str, Sequence[Any]]:
    """Columns as those of `queries/usage`, by customer, window and group; each day is in one window."""
    positions = [meter.group_by.index(name) for name in group_by]
    first_days, windows_us = [at.astimezone(UTC).date() for at in starts], [to_micros(at) for at in starts]
    add = _ADDING[meter.aggregation.type]
    sums: dict[tuple[str, int, tuple[str, ...]], CountedDay] = {}
    for one in sorted(days, key=lambda each: each.day):
        window_us = windows_us[bisect_right(first_days, one.day) - 1]
        key = one.customer_id, window_us, tuple(one.groups[position] for position in positions)
        sums[key] = _sum(sums[key], one, add) if key in sums else one
    keys = sorted(sums)
    return {
        "customer_id": [customer_id for customer_id, _, _ in keys],
        "window_us": [window_us for _, window_us, _ in keys],
        "groups": [groups for _, _, groups in keys],
        "matched": [sums[key].matched for key in keys],
        "usable": [sums[key].usable for key in keys],
        "number": [canonical(sums[key].number) for key in keys],
        "fingerprint": [sums[key].fingerprint for key in keys],
    }


def _sum(one: CountedDay, other: CountedDay, add: Callable[[Decimal, Decimal], Decimal]) -> CountedDay:
    number = one.number if not other.usable else other.number if not one.usable else add(one.number, other.number)
    return one._replace(
        matched=one.matched + other.matched,
        usable=one.usable + other.usable,
        number=number,
        # As the engine adds them, which has 128 bits.
        fingerprint=(one.fingerprint + other.fingerprint) % 2**128,
    )


_ADDING: Final[Mapping[AggregationType, Callable[[Decimal, Decimal], Decimal]]] = {
    AggregationType.COUNT: EXACT.add,
    AggregationType.SUM: EXACT.add,
    AggregationType.AVG: EXACT.add,
    AggregationType.MIN: min,
    AggregationType.MAX: max,
    AggregationType.LATEST: lambda _earlier, later: later,
}
