"""Flat prices that are billed before their period begins, and what is settled when it is over.

At a boundary one invoice carries the period that ends and the advance of the one that begins. When that one ends,
whatever its history has made of it is due, and what was billed in advance is taken off: the difference is one line.
Where some of an advance that was lowered by a coupon is given back, the same part of what the coupon took off stays;
and what credit notes have given back of it already is not given back again.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from billing.exact import EXACT
from billing.money import from_minor, round_amount, to_minor
from billing.rating import Rated, TierUse

__all__ = ["Billed", "Settlement", "advance_key", "gives_back", "is_true_up", "settle", "true_up", "true_up_key"]

_TRUE_UP: Final = "~true_up"
_ZERO: Final = Decimal(0)
_ONE: Final = Decimal(1)


class Billed(NamedTuple):
    """A line that billed a price in advance: its amount, what coupons took off it, and what credit notes gave back of
    the rest.
    """

    price_id: str
    amount: Decimal
    discount: Decimal = _ZERO
    credited: Decimal = _ZERO


@dataclass(frozen=True)
class Settlement:
    """One price in one period, in amounts of lines: `due` as billing at the end would have it, `billed` in advance.

    `discount` is what coupons took off the lines that were billed, `credited` what credit notes gave back of the rest.
    """

    due: tuple[Decimal, ...]
    billed: tuple[Decimal, ...]
    discount: Decimal = _ZERO
    credited: Decimal = _ZERO

    @property
    def is_even(self) -> bool:
        """Whether nothing is left to be settled."""
        return sum(map(Fraction, self.due)) == sum(map(Fraction, self.billed))


def settle(due: Iterable[tuple[str, Decimal]], billed: Iterable[Billed]) -> dict[str, Settlement]:
    """Price id -> what of it is due for a period (each amount with its price) and what was billed."""
    owed: defaultdict[str, list[Decimal]] = defaultdict(list)
    lines: defaultdict[str, list[Billed]] = defaultdict(list)
    for price_id, amount in due:
        owed[price_id].append(amount)
    for line in billed:
        lines[line.price_id].append(line)
    return {
        each: Settlement(
            due=tuple(owed[each]),
            billed=tuple(line.amount for line in lines[each]),
            discount=_sum(line.discount for line in lines[each]),
            credited=_sum(line.credited for line in lines[each]),
        )
        for each in dict.fromkeys([*owed, *lines])
    }


def true_up(settlement: Settlement, currency: str) -> Rated:
    """The line that settles: due less billed, both rounded already. Of what is given back the share is kept that
    coupons had taken off, rounded once, and then what credit notes have given back already. So nobody gets back more
    than they paid, and what a note gave back beyond that stays given.

    >>> from dataclasses import replace
    >>> half = Settlement(due=(Decimal("15.50"),), billed=(Decimal("31.00"),))
    >>> line = true_up(half, "USD")
    >>> line.total, [str(row.amount) for row in line.breakdown]
    (Decimal('-15.50'), ['15.50', '-31.00'])
    >>> line = true_up(replace(half, discount=Decimal("6.20")), "USD")
    >>> line.total, [str(row.amount) for row in line.breakdown]
    (Decimal('-12.40'), ['15.50', '-31.00', '3.10'])
    >>> line = true_up(replace(half, credited=Decimal("10.00")), "USD")
    >>> line.total, [str(row.amount) for row in line.breakdown]
    (Decimal('-5.50'), ['15.50', '-31.00', '10.00'])
    """
    due, billed = _minor(settlement.due, currency), _minor(settlement.billed, currency)
    difference = sum(due) - sum(billed)
    rows = [_row(1, minor, currency) for minor in due] + [_row(-1, minor, currency) for minor in billed]
    if difference < 0 and settlement.discount:
        kept = round_amount(Fraction(settlement.discount) * Fraction(-difference, sum(billed)), currency)
        # A fee and no quantity: it is neither due nor was it billed.
        rows.append(TierUse(None, _ZERO, _ZERO, kept, kept))
        difference += to_minor(kept, currency)
    if difference < 0 and settlement.credited:
        known = min(to_minor(settlement.credited, currency), -difference)
        # One of a fee: so it is told from what is due, which has a unit price, and from what coupons had taken off.
        rows.append(TierUse(None, _ONE, _ZERO, from_minor(known, currency), from_minor(known, currency)))
        difference += known
    amount = from_minor(difference, currency)
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


def gives_back(key: str, amount: Decimal) -> bool:
    """Whether a line gives back some of an advance. Coupons leave it alone: it holds what they did to the advance."""
    return is_true_up(key) and amount < 0


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = _ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def _minor(amounts: Sequence[Decimal], currency: str) -> list[int]:
    return [to_minor(amount, currency) for amount in amounts]


def _row(sign: int, minor: int, currency: str) -> TierUse:
    return TierUse(None, Decimal(sign), from_minor(minor, currency), _ZERO, from_minor(sign * minor, currency))
