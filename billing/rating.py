"""Quantity and price in, one line's amount out. The order of the steps is `rate`, readable in one screen.

metered quantity -> transform_quantity -> free_units -> price -> line rounding -> discount_percent
  -> maximum_amount -> minimum_amount
"""

from collections.abc import Sequence
from decimal import Decimal, DecimalException, getcontext, setcontext
from fractions import Fraction
from typing import Final, NamedTuple

from billing.adjustments.commitment import at_least, at_most
from billing.adjustments.discount import percent_off
from billing.errors import InvalidInput
from billing.exact import EXACT, ZERO, ending, parse_decimal, shown, too_long
from billing.money import round_amount
from billing.price import Price, PricingModel
from billing.quantity import packages
from billing.tiers import N, Step, TierMode, Use, graduated, volume

_NOTHING: Final = Fraction(0)
# No quantity comes near it; it keeps 1E+999999 from being written out as an integer.
_WIDEST: Final = 100


class TierUse(NamedTuple):
    """One row of the arithmetic: quantity * unit_price + flat_fee = amount (times the share, where there is one).

    A price without tiers has one row: packages and their price, the amount and its rate as a factor, or for a flat
    price the fee alone.
    """

    up_to: Decimal | None
    quantity: Decimal
    unit_price: Decimal
    flat_fee: Decimal
    amount: Decimal


class Rated(NamedTuple):
    """What a quantity costs, and how that came about. Amounts are in the currency's main unit."""

    total: Decimal  # the line: rounded, discounted, bounded
    unrounded: Decimal  # the price of the quantity in full precision; 16 decimals are shown where it never ends
    metered_quantity: Decimal
    billable_quantity: Decimal  # after transform_quantity and free_units, never below zero
    breakdown: tuple[TierUse, ...]  # its amounts sum to `unrounded`
    rounded: Decimal  # `unrounded`, rounded once
    discount: Decimal
    share: Fraction | None  # the part of the period that a flat price was due for


class Increment(NamedTuple):
    """What more usage adds to what was already rated."""

    amount: Decimal
    before: Rated | None
    after: Rated


def rate(price: Price, quantity: Decimal, currency: str, share: Fraction | None = None) -> Rated:
    """The line that `quantity` metered units make.

    `share` (0 to 1) prorates a flat price and leaves every other alone. A quantity below zero is priced as zero: usage
    never earns money, a credit is a credit note. Errors: InvalidInput `unknown_currency`, `number_too_long`.

    >>> from billing.price import parse_price
    >>> guide = {"pricing_model": "tiered", "unit_price": "0.01", "tiers": [
    ...     {"up_to": 1000, "unit_price": "0.01", "flat_fee": "10.00"},
    ...     {"up_to": 10000, "unit_price": "0.008"},
    ...     {"up_to": None, "unit_price": "0.005"}]}
    >>> rate(parse_price(guide), Decimal(15420), "USD").total
    Decimal('119.10')
    >>> rate(parse_price(guide | {"tier_mode": "volume"}), Decimal(15420), "USD").total
    Decimal('77.10')
    """
    if not isinstance(quantity, Decimal) or not quantity.is_finite():
        quantity = parse_decimal(quantity, "quantity")
    if quantity and not -_WIDEST < quantity.adjusted() < _WIDEST:
        raise too_long("quantity")
    if share is not None and not 0 <= share <= 1:
        raise InvalidInput("out_of_range", "must be between 0 and 1", field="share")
    callers = getcontext()
    setcontext(EXACT)  # what localcontext does without its copy, a fifth of the whole call
    try:
        billable = _billable(price, quantity)
        priced = billable if price.package_size is None else packages(billable, price.package_size)
        if isinstance(priced, Decimal):
            uses = _uses(price, _steps(price), priced, ZERO)
            breakdown = tuple(map(TierUse._make, uses))
            exact: Decimal | Fraction = _amount(uses, ZERO)
        else:
            in_fractions = _uses(price, _as_fractions(_steps(price)), priced, _NOTHING)
            breakdown = tuple(map(_shown_use, in_fractions))
            exact = _amount(in_fractions, _NOTHING)
        if share is None or not price.is_flat:
            share = None
        else:
            exact = ending(Fraction(exact) * share)
            breakdown = (breakdown[0]._replace(amount=shown(exact)),)
        rounded = round_amount(exact, currency)
        total, discount = _adjusted(price, rounded, currency)
    except DecimalException as error:
        raise too_long("quantity") from error
    finally:
        setcontext(callers)
    return Rated(total, shown(exact), quantity, shown(billable), breakdown, rounded, discount, share)


def rate_increment(price: Price, before: Decimal | None, after: Decimal, currency: str) -> Increment:
    """What the line grows by when the metered quantity goes from `before` (None: not rated yet) to `after`.

    It is the difference of two whole ratings, so increments always sum to the one rating of the last quantity: the way
    a late event is charged, and a period in parts. A volume price may give a negative amount.

    >>> from billing.price import parse_price
    >>> price = parse_price({"pricing_model": "package", "package_size": 10, "package_price": 15})
    >>> rate_increment(price, Decimal(9), Decimal(10), "USD").amount
    Decimal('0.00')
    >>> rate_increment(price, Decimal(10), Decimal(11), "USD").amount
    Decimal('15.00')
    """
    then = None if before is None else rate(price, before, currency)
    now = rate(price, after, currency)
    amount = now.total if then is None else EXACT.subtract(now.total, then.total)
    return Increment(amount, then, now)


def rate_parts(price: Price, parts: Sequence[Decimal], currency: str) -> list[Increment]:
    """The increments of a summable quantity that arrives in `parts`; they sum to rating all of it at once."""
    increments: list[Increment] = []
    so_far: Decimal | None = None
    for part in parts:
        after = part if so_far is None else EXACT.add(so_far, part)
        increments.append(rate_increment(price, so_far, after, currency))
        so_far = after
    return increments


def _billable(price: Price, quantity: Decimal) -> Decimal | Fraction:
    if price.transform_quantity is None:
        converted: Decimal | Fraction = quantity
    else:
        converted = price.transform_quantity.apply(quantity)
    if price.free_units is not None:
        if isinstance(converted, Decimal):
            converted -= price.free_units
        else:
            converted -= Fraction(price.free_units)
    return converted if converted > 0 else ZERO


def _steps(price: Price) -> Sequence[Step[Decimal]]:
    """Every model as steps: one open step for those without tiers, a flat price as its fee."""
    if price.tiers:
        return price.tiers
    if price.model is PricingModel.FLAT:
        return ((None, ZERO, price.amount or ZERO),)
    if price.model is PricingModel.PERCENTAGE:
        return ((None, EXACT.scaleb(price.rate or ZERO, -2), ZERO),)
    return ((None, price.unit_price or price.package_price or ZERO, ZERO),)


def _uses(price: Price, steps: Sequence[Step[N]], quantity: N, zero: N) -> list[Use[N]]:
    if price.tier_mode is TierMode.VOLUME:
        return volume(steps, quantity)
    return graduated(steps, quantity, zero)


def _amount(uses: list[Use[N]], zero: N) -> N:
    amount = zero
    for use in uses:
        amount += use[4]
    return amount


def _as_fractions(steps: Sequence[Step[Decimal]]) -> list[Step[Fraction]]:
    return [
        (None if up_to is None else Fraction(up_to), Fraction(unit_price), Fraction(flat_fee))
        for up_to, unit_price, flat_fee in steps
    ]


def _shown_use(use: Use[Fraction]) -> TierUse:
    up_to, *numbers = use
    return TierUse(None if up_to is None else shown(up_to), *map(shown, numbers))


def _adjusted(price: Price, rounded: Decimal, currency: str) -> tuple[Decimal, Decimal]:
    """The line's total and its discount."""
    total, discount = rounded, ZERO
    if price.discount_percent is not None:
        discount, total = percent_off(total, price.discount_percent, currency)
    if price.maximum_amount is not None:
        total = at_most(total, price.maximum_amount, currency)
    if price.minimum_amount is not None:
        total = at_least(total, price.minimum_amount, currency)
    return total, discount
