"""From the engine's aggregates to the meter's value: exact decimals, and what nothing amounts to (rule U2)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from billing.exact import EXACT, ZERO, canonical, round_fraction
from billing.meter import AggregationType, Meter

QUOTIENT_DECIMALS: Final = 24
_MICROSECONDS_PER_HOUR: Final = 3_600_000_000
_NOTHING_IS_ZERO: Final = frozenset(
    {AggregationType.COUNT, AggregationType.COUNT_UNIQUE, AggregationType.SUM, AggregationType.WEIGHTED_SUM}
)


def value_of_nothing(aggregation: AggregationType) -> Decimal | None:
    """Counts and sums of nothing are 0; there is no maximum, minimum, average or latest of nothing."""
    return ZERO if aggregation in _NOTHING_IS_ZERO else None


def value_of(meter: Meter, row: Mapping[str, Any]) -> Decimal | None:
    """The value of one aggregate, times the meter's multiplier, exactly.

    A quotient (average, unit hours) is multiplied first and then rounded, once, to 24 decimals, half away from zero.
    """
    aggregation = meter.aggregation.type
    if aggregation is AggregationType.COUNT:
        return Decimal(row["matched"])
    if aggregation is AggregationType.COUNT_UNIQUE:
        return Decimal(row["distinct_texts"])
    if aggregation is AggregationType.SUM:
        return multiplied(Decimal(row["total"]), meter.multiplier)
    if aggregation is AggregationType.WEIGHTED_SUM:
        return _quotient(row["total"], meter.multiplier, _MICROSECONDS_PER_HOUR)
    if not row["usable"]:
        return None
    if aggregation is AggregationType.AVG:
        return _quotient(row["total"], meter.multiplier, row["usable"])
    one = Decimal(row[{AggregationType.MAX: "highest", AggregationType.MIN: "lowest"}.get(aggregation, "latest")])
    return multiplied(one, meter.multiplier)


def multiplied(number: Decimal, multiplier: Decimal | None) -> Decimal:
    """The exact product, without spare zeros; the number as it is where there is no multiplier."""
    return number if multiplier is None else Decimal(canonical(EXACT.multiply(number, multiplier)))


def _quotient(total: str, multiplier: Decimal | None, divisor: int) -> Decimal:
    rounded = round_fraction(Fraction(multiplied(Decimal(total), multiplier)) / divisor, QUOTIENT_DECIMALS)
    text = format(rounded, "f").rstrip("0").rstrip(".")
    return Decimal(text or "0")
