"""Prepaid credit: which grants pay how much of an invoice."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from billing.adjustments.split import added
from billing.exact import EXACT, ZERO
from billing.money import from_minor

__all__ = ["Drawn", "Funds", "draw", "in_order"]

_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Funds:
    """What one grant has left, and where it stands in the order of drawing."""

    grant_id: str
    remaining: Decimal
    priority: int
    effective_at: datetime
    expires_at: datetime | None

    def usable_at(self, moment: datetime) -> bool:
        """Whether it may pay an invoice that is finalized at `moment`."""
        return (
            self.remaining > 0 and self.effective_at <= moment and (self.expires_at is None or moment < self.expires_at)
        )


class Drawn(NamedTuple):
    """What a grant pays of an invoice; `available` is what it had before."""

    grant_id: str
    available: Decimal
    amount: Decimal


def in_order(funds: Sequence[Funds], moment: datetime) -> list[Funds]:
    """Those that are usable, the one that is drawn first in front: the smaller priority, then what expires first, then
    what has been usable for longer, then by id."""
    usable = [each for each in funds if each.usable_at(moment)]
    return sorted(usable, key=lambda it: (it.priority, it.expires_at or _NEVER, it.effective_at, it.grant_id))


def draw(total: Decimal, available: Sequence[tuple[str, Decimal]], currency: str) -> tuple[tuple[Drawn, ...], Decimal]:
    """What (grant id, amount left) in this order pay of `total`, and their sum; never more than the total.

    >>> drawn, together = draw(Decimal("30.00"), [("a", Decimal("20.00")), ("b", Decimal("50.00"))], "USD")
    >>> [(grant, str(amount)) for grant, _, amount in drawn], str(together)
    ([('a', '20.00'), ('b', '10.00')], '30.00')
    """
    left = max(total, from_minor(0, currency))
    drawn = []
    for grant_id, has in available:
        amount = min(has, left)
        if amount <= ZERO:
            continue
        drawn.append(Drawn(grant_id, has, amount))
        left = EXACT.subtract(left, amount)
    return tuple(drawn), added([each.amount for each in drawn], currency)
