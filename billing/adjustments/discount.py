"""Discounts on an amount of money: rounded at once, never more than the amount itself."""

from decimal import Decimal
from typing import NamedTuple

from billing.exact import EXACT, ZERO
from billing.money import round_amount


class Discounted(NamedTuple):
    discount: Decimal
    amount: Decimal  # what is left


def percent_off(amount: Decimal, percent: Decimal, currency: str) -> Discounted:
    """`percent` of the amount, half away from zero.

    >>> percent_off(Decimal("1000"), Decimal("33.333"), "JPY")
    Discounted(discount=Decimal('333'), amount=Decimal('667'))
    """
    return _take(amount, EXACT.scaleb(EXACT.multiply(amount, percent), -2), currency)


def amount_off(amount: Decimal, off: Decimal, currency: str) -> Discounted:
    """A fixed sum, at most what there is.

    >>> amount_off(Decimal("10.00"), Decimal("15.00"), "USD")
    Discounted(discount=Decimal('10.00'), amount=Decimal('0.00'))
    """
    return _take(amount, off, currency)


def _take(amount: Decimal, off: Decimal, currency: str) -> Discounted:
    rounded = round_amount(amount, currency)
    discount = round_amount(min(max(off, ZERO), max(rounded, ZERO)), currency)
    return Discounted(discount, EXACT.subtract(rounded, discount))
