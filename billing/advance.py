"""Flat prices that are billed before their period begins, and what is settled when it is over.

At a boundary one invoice carries the period that ends and the advance of the one that begins. When that one ends,
whatever its history has made of it is due, and what was billed in advance is taken off: the difference is one line.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from billing.money import from_minor, to_minor
from billing.rating import Rated, TierUse

__all__ = ["Settlement", "advance_key", "is_true_up", "settle", "true_up", "true_up_key"]

_TRUE_UP: Final = "~true_up"
_ZERO: Final = Decimal(0)
_ONE: Final = Decimal(1)


@dataclass(frozen=True)
class Settlement:
    """One price in one period, in amounts of lines: `due` as billing at the end would have it, `billed` in advance."""

    due: tuple[Decimal, ...]
    billed: tuple[Decimal, ...]

    @property
    def is_even(self) -> bool:
        """Whether nothing is left to be settled."""
        return sum(map(Fraction, self.due)) == sum(map(Fraction, self.billed))


def settle(due: Iterable[tuple[str, Decimal]], billed: Iterable[tuple[str, Decimal]]) -> dict[str, Settlement]:
    """Price id -> what of it is due for a period and was billed, each amount given with its price."""
    owed: defaultdict[str, list[Decimal]] = defaultdict(list)
    taken: defaultdict[str, list[Decimal]] = defaultdict(list)
    for amounts, lines in ((owed, due), (taken, billed)):
        for price_id, amount in lines:
            amounts[price_id].append(amount)
    prices = dict.fromkeys([*owed, *taken])
    return {each: Settlement(tuple(owed.get(each, ())), tuple(taken.get(each, ()))) for each in prices}


def true_up(settlement: Settlement, currency: str) -> Rated:
    """The line that settles: due less billed. Both are rounded already, so nothing is rounded here.

    >>> half = Settlement(due=(Decimal("15.50"),), billed=(Decimal("31.00"),))
    >>> line = true_up(half, "USD")
    >>> line.total, [str(row.amount) for row in line.breakdown]
    (Decimal('-15.50'), ['15.50', '-31.00'])
    """
    due, billed = _minor(settlement.due, currency), _minor(settlement.billed, currency)
    amount = from_minor(sum(due) - sum(billed), currency)
    rows = [_row(1, minor, currency) for minor in due] + [_row(-1, minor, currency) for minor in billed]
    return Rated(amount, amount, _ONE, _ONE, tuple(rows), amount, _ZERO, None)


def advance_key(part_key: str) -> str:
    """The key of a line that bills a part of a period in advance: the part itself may be due on the same invoice."""
    return f"{part_key}~advance"


def true_up_key(price_id: str) -> str:
    """The key of the line that settles a price."""
    return f"{price_id}{_TRUE_UP}"


def is_true_up(key: str) -> bool:
    """Whether a line with this key settles what was billed in advance."""
    return key.endswith(_TRUE_UP)


def _minor(amounts: Sequence[Decimal], currency: str) -> list[int]:
    return [to_minor(amount, currency) for amount in amounts]


def _row(sign: int, minor: int, currency: str) -> TierUse:
    return TierUse(None, Decimal(sign), from_minor(minor, currency), _ZERO, from_minor(sign * minor, currency))
