"""Splitting an amount over lines of either sign, without a lost cent."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from billing.exact import EXACT, ZERO
from billing.money import allocate, nothing_in

__all__ = ["added", "split"]


def split(amount: Decimal, weights: Sequence[Decimal], currency: str) -> list[Decimal]:
    """`amount` over the weights of its own sign by largest remainder; the others get nothing.

    >>> split(Decimal("10.00"), [Decimal("75.00"), Decimal("-20.00"), Decimal("25.00")], "USD")
    [Decimal('7.50'), Decimal('0.00'), Decimal('2.50')]
    >>> split(Decimal("-2"), [Decimal("75"), Decimal("-20")], "JPY")
    [Decimal('0'), Decimal('-2')]
    """
    if amount < 0:
        return allocate(amount, [max(-weight, ZERO) for weight in weights], currency)
    return allocate(amount, [max(weight, ZERO) for weight in weights], currency)


def added(amounts: Iterable[Decimal], currency: str) -> Decimal:
    """Their sum, with the currency's decimals also where there are none."""
    summed = nothing_in(currency)
    for amount in amounts:
        summed = EXACT.add(summed, amount)
    return summed
