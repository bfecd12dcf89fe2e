"""Stepped prices. A tier is "up to and including"; bounds are continuous, so 5.001 is past a tier of up to 5."""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple, TypeVar

from billing.errors import InvalidInput
from billing.exact import ZERO

N = TypeVar("N", Decimal, Fraction)
# up_to, unit_price, flat_fee: what a Tier is, in whichever exact number the quantity needs.
Step = tuple[N | None, N, N]
# up_to, quantity, unit_price, flat_fee, amount: the columns of rating.TierUse.
Use = tuple[N | None, N, N, N, N]


class TierMode(StrEnum):
    GRADUATED = "graduated"  # each unit at the price of the tier that it falls in
    VOLUME = "volume"  # all units at the price of the tier that the last one falls in


class Tier(NamedTuple):
    """`up_to` is inclusive, None in the last tier only; `flat_fee` is due when the tier is reached."""

    up_to: Decimal | None
    unit_price: Decimal = ZERO
    flat_fee: Decimal = ZERO


def check_tiers(tiers: Sequence[Tier]) -> None:
    """Ordered, gapless, and the last one open; fields are named from the price, such as `tiers[1].up_to`."""
    if not tiers:
        raise InvalidInput("missing_field", "needs at least one tier", field="tiers")
    before: Decimal | None = None
    for i, tier in enumerate(tiers):
        field = f"tiers[{i}].up_to"
        last = i == len(tiers) - 1
        if tier.up_to is None and not last:
            raise InvalidInput(
                "tiers_after_open_tier", "only the last tier may be open", field=field, hint="Give it an upper bound."
            )
        if tier.up_to is not None and last:
            raise InvalidInput(
                "tiers_not_open", "the last tier must be open", field=field, hint="Send up_to null in the last tier."
            )
        if tier.up_to is not None and before is not None and tier.up_to <= before:
            raise InvalidInput("tiers_not_ordered", f"must be above the tier before it ({before})", field=field)
        before = tier.up_to


def graduated(steps: Sequence[Step[N]], quantity: N, zero: N) -> list[Use[N]]:
    """What each tier that was reached comes to. The first is reached at zero, the others past the bound before.

    >>> tiers = [Tier(Decimal(5), flat_fee=Decimal(100)), Tier(None, Decimal(2))]
    >>> [str(use[-1]) for use in graduated(tiers, Decimal(0), ZERO)]
    ['100']
    >>> [str(use[-1]) for use in graduated(tiers, Decimal("5.5"), ZERO)]
    ['100', '1.0']
    """
    uses: list[Use[N]] = []
    lower = zero
    for up_to, unit_price, flat_fee in steps:
        if up_to is None or quantity <= up_to:
            used = quantity - lower
            uses.append((up_to, used, unit_price, flat_fee, used * unit_price + flat_fee))
            break
        used = up_to - lower
        uses.append((up_to, used, unit_price, flat_fee, used * unit_price + flat_fee))
        lower = up_to
    return uses


def volume(steps: Sequence[Step[N]], quantity: N) -> list[Use[N]]:
    """All units at the one tier that the whole quantity reaches.

    >>> tiers = [Tier(Decimal(5), flat_fee=Decimal(100)), Tier(None, Decimal(2))]
    >>> [str(use[-1]) for use in volume(tiers, Decimal(6))]
    ['12']
    """
    for up_to, unit_price, flat_fee in steps:
        if up_to is None or quantity <= up_to:
            return [(up_to, quantity, unit_price, flat_fee, quantity * unit_price + flat_fee)]
    raise AssertionError("the last tier is open")
