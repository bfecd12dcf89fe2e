"""Taxes: each rate on its own, not compounded, each one amount on the whole invoice (promise M2)."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from billing.adjustments.split import added
from billing.errors import InvalidInput
from billing.exact import EXACT
from billing.money import allocate, round_amount

__all__ = ["Taxed", "check_percentage", "exclusive", "inclusive"]

_HUNDRED: Final = Decimal(100)


class Taxed(NamedTuple):
    parts: tuple[Decimal, ...]  # one for each rate, in order
    tax: Decimal  # their sum


def check_percentage(percentage: Decimal) -> Decimal:
    """0 to 100: a rate of zero still stands on the invoice. InvalidInput `out_of_range`."""
    if not 0 <= percentage <= _HUNDRED:
        raise InvalidInput("out_of_range", "must be from 0 to 100", field="percentage")
    return percentage


def exclusive(taxable: Decimal, rates: Sequence[Decimal], currency: str) -> Taxed:
    """The tax of each percentage in `rates` on top of an amount, and their sum.

    >>> exclusive(Decimal("1000"), [Decimal(8), Decimal(2)], "JPY")
    Taxed(parts=(Decimal('80'), Decimal('20')), tax=Decimal('100'))
    """
    parts = tuple(round_amount(EXACT.scaleb(EXACT.multiply(taxable, rate), -2), currency) for rate in rates)
    return Taxed(parts, added(parts, currency))


def inclusive(taxable: Decimal, rates: Sequence[Decimal], currency: str) -> Taxed:
    """The tax that an amount holds already: all of it rounded once, then split in proportion to the percentages.

    >>> inclusive(Decimal("119.00"), [Decimal(19)], "EUR")
    Taxed(parts=(Decimal('19.00'),), tax=Decimal('19.00'))
    >>> inclusive(Decimal("100.00"), [Decimal(5), Decimal("9.975")], "CAD")
    Taxed(parts=(Decimal('4.35'), Decimal('8.67')), tax=Decimal('13.02'))
    """
    together = sum(map(Fraction, rates), Fraction(0)) / 100
    tax = round_amount(Fraction(taxable) * together / (1 + together), currency)
    return Taxed(tuple(allocate(tax, rates, currency)), tax)
