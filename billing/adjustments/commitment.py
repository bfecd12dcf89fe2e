"""The bounds of a line: a cap first, then the least that is charged, so that a minimum always holds."""

from decimal import Decimal

from billing.money import round_amount


def at_most(amount: Decimal, maximum: Decimal, currency: str) -> Decimal:
    """
    >>> at_most(Decimal("150.00"), Decimal("125"), "USD")
    Decimal('125.00')
    """
    return min(amount, round_amount(maximum, currency))


def at_least(amount: Decimal, minimum: Decimal, currency: str) -> Decimal:
    """
    >>> at_least(Decimal("0.00"), Decimal("100"), "USD")
    Decimal('100.00')
    """
    return max(amount, round_amount(minimum, currency))
