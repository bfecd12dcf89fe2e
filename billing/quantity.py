"""Unit conversion before pricing: seconds to hours, bytes to gigabytes, single calls to thousands."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from enum import StrEnum
from fractions import Fraction
from math import ceil, floor
from typing import Final

from billing.errors import InvalidInput
from billing.exact import EXACT, MAX_DECIMALS, ROUNDING, ending, parse_decimal, round_fraction

_ONE: Final = Decimal(1)
_DECIMAL_MODES: Final = {"up": ROUND_CEILING, "down": ROUND_FLOOR, "half_up": ROUND_HALF_UP}


class Rounding(StrEnum):
    NONE = "none"
    UP = "up"  # towards plus infinity: 1.4 -> 2, -1.4 -> -1
    DOWN = "down"  # towards minus infinity: 1.6 -> 1, -1.4 -> -2
    HALF_UP = "half_up"  # ties away from zero: 2.5 -> 3, -2.5 -> -3


def packages(quantity: Decimal | Fraction, size: Decimal) -> Decimal:
    """How many packages hold the quantity; a started one counts whole.

    >>> packages(Decimal("10"), Decimal(10)), packages(Decimal("10.001"), Decimal(10))
    (Decimal('1'), Decimal('2'))
    """
    if isinstance(quantity, Fraction):
        return Decimal(ceil(quantity / Fraction(size)))
    whole, rest = EXACT.divmod(quantity, size)
    return EXACT.add(whole, _ONE) if rest > 0 else whole


@dataclass(frozen=True, slots=True)
class TransformQuantity:
    """Divide or multiply the metered quantity, then round it to `precision` decimals."""

    divide_by: Decimal | None = None
    multiply_by: Decimal | None = None
    round: Rounding = Rounding.NONE
    precision: int = 0

    def __post_init__(self) -> None:
        if (self.divide_by is None) == (self.multiply_by is None):
            raise InvalidInput(
                "bad_transform", "needs exactly one of divide_by and multiply_by", field="transform_quantity"
            )
        for name, factor in (("divide_by", self.divide_by), ("multiply_by", self.multiply_by)):
            if factor is not None and parse_decimal(factor, f"transform_quantity.{name}") <= 0:
                raise InvalidInput("out_of_range", "must be above zero", field=f"transform_quantity.{name}")
        if not 0 <= self.precision <= MAX_DECIMALS:
            raise InvalidInput(
                "out_of_range", f"must be between 0 and {MAX_DECIMALS}", field="transform_quantity.precision"
            )

    def apply(self, quantity: Decimal) -> Decimal | Fraction:
        """The converted quantity, exact: a Fraction only where an unrounded division never ends.

        >>> TransformQuantity(divide_by=Decimal(1000), round=Rounding.UP).apply(Decimal(1400))
        Decimal('2')
        >>> TransformQuantity(divide_by=Decimal(3600)).apply(Decimal(60))
        Fraction(1, 60)
        """
        if self.multiply_by is not None:
            product = EXACT.multiply(quantity, self.multiply_by)
            if self.round is Rounding.NONE:
                return product
            unit = Decimal((0, (1,), -self.precision))
            return product.quantize(unit, _DECIMAL_MODES[self.round], ROUNDING)
        quotient = Fraction(quantity) / Fraction(self.divide_by or 1)
        if self.round is Rounding.NONE:
            return ending(quotient)
        if self.round is Rounding.HALF_UP:
            return round_fraction(quotient, self.precision)
        units = (ceil if self.round is Rounding.UP else floor)(quotient * 10**self.precision)
        return EXACT.scaleb(Decimal(units), -self.precision)
