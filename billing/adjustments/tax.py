"""Taxes on top of an amount: each rate on its own, not compounded, each rounded to the currency."""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from billing.exact import EXACT
from billing.money import from_minor, round_amount


class Taxed(NamedTuple):
    parts: tuple[Decimal, ...]  # one for each rate, in order
    tax: Decimal  # their sum


def exclusive(taxable: Decimal, rates: Sequence[Decimal], currency: str) -> Taxed:
    """The tax of each percentage in `rates`, and their sum.

    >>> exclusive(Decimal("1000"), [Decimal(8), Decimal(2)], "JPY")
    Taxed(parts=(Decimal('80'), Decimal('20')), tax=Decimal('100'))
    """
    parts = tuple(round_amount(EXACT.scaleb(EXACT.multiply(taxable, rate), -2), currency) for rate in rates)
    tax = from_minor(0, currency)
    for part in parts:
        tax = EXACT.add(tax, part)
    return Taxed(parts, tax)
