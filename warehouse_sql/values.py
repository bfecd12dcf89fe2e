"""From the engine's aggregates to the meter's value: exact decimals, and what nothing amounts to (rule U2)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from billing.exact import ZERO, round_fraction
from billing.meter import AggregationType

QUOTIENT_DECIMALS: Final = 24
_MICROSECONDS_PER_HOUR: Final = 3_600_000_000
_NOTHING_IS_ZERO: Final = frozenset(
    {AggregationType.COUNT, AggregationType.COUNT_UNIQUE, AggregationType.SUM, AggregationType.WEIGHTED_SUM}
)


def value_of_nothing(aggregation: AggregationType) -> Decimal | None:
    """Counts and sums of nothing are 0; there is no maximum, minimum, average or latest of nothing."""
    return ZERO if aggregation in _NOTHING_IS_ZERO else None


def value_of(aggregation: AggregationType, row: Mapping[str, Any]) -> Decimal | None:
    """The value of one aggregate. A quotient (average, unit hours) is rounded to 24 decimals, half away from zero."""
    if aggregation is AggregationType.COUNT:
        return Decimal(row["matched"])
    if aggregation is AggregationType.COUNT_UNIQUE:
        return Decimal(row["distinct_texts"])
    if aggregation is AggregationType.SUM:
        return Decimal(row["total"])
    if aggregation is AggregationType.WEIGHTED_SUM:
        return _quotient(row["total"], _MICROSECONDS_PER_HOUR)
    if not row["usable"]:
        return None
    if aggregation is AggregationType.AVG:
        return _quotient(row["total"], row["usable"])
    return Decimal(row[{AggregationType.MAX: "highest", AggregationType.MIN: "lowest"}.get(aggregation, "latest")])


def _quotient(total: str, divisor: int) -> Decimal:
    rounded = round_fraction(Fraction(Decimal(total)) / divisor, QUOTIENT_DECIMALS)
    text = format(rounded, "f").rstrip("0").rstrip(".")
    return Decimal(text or "0")
