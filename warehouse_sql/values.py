"""From the engine's aggregates to the meter's value: exact decimals, and what nothing amounts to (rule U2)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Final

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


def value_of(meter: Meter) -> Callable[[int, int, str], Decimal | None]:
    """How the meter makes its value of one aggregate (events matched, events usable, number), times its multiplier.

    A quotient (average, unit hours) is multiplied first and then rounded, once, to 24 decimals, half away from zero.
    """
    multiplier = meter.multiplier
    match meter.aggregation.type:
        case AggregationType.COUNT:
            return lambda matched, usable, number: Decimal(matched)
        case AggregationType.COUNT_UNIQUE:
            return lambda matched, usable, number: Decimal(number)
        case AggregationType.SUM:
            return lambda matched, usable, number: multiplied(Decimal(number), multiplier)
        case AggregationType.WEIGHTED_SUM:
            return lambda matched, usable, number: _quotient(number, multiplier, _MICROSECONDS_PER_HOUR)
        case AggregationType.AVG:
            return lambda matched, usable, number: _quotient(number, multiplier, usable) if usable else None
        case _:
            return lambda matched, usable, number: multiplied(Decimal(number), multiplier) if usable else None


def multiplied(number: Decimal, multiplier: Decimal | None) -> Decimal:
    """The exact product, without spare zeros; the number as it is where there is no multiplier."""
    return number if multiplier is None else Decimal(canonical(EXACT.multiply(number, multiplier)))


def _quotient(total: str, multiplier: Decimal | None, divisor: int) -> Decimal:
    rounded = round_fraction(Fraction(multiplied(Decimal(total), multiplier)) / divisor, QUOTIENT_DECIMALS)
    text = format(rounded, "f").rstrip("0").rstrip(".")
    return Decimal(text or "0")
