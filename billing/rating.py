"""Quantity and price in, one line's amount out. The order of the steps is `rate`, readable in one screen.

metered quantity -> transform_quantity -> free_units -> price -> line rounding -> discount_percent
  -> maximum_amount -> minimum_amount
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal, DecimalException, getcontext, setcontext
from fractions import Fraction
from typing import Any, Final, NamedTuple

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
# All decimals or all fractions.
_Uses = Sequence[Use[Any]]


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
    carried: Decimal | None = None  # metered units of the same period that were priced before and are taken off again


class _Exact(NamedTuple):
    """The price of a quantity before anything is rounded: `uses` are rows of TierUse, in the number that fits."""

    amount: Decimal | Fraction
    uses: _Uses
    billable: Decimal | Fraction


class Increment(NamedTuple):
    """What more usage adds to what was already rated."""

    amount: Decimal
    before: Rated | None
    after: Rated


def rate(
    price: Price, quantity: Decimal, currency: str, share: Fraction | None = None, seats: Decimal | None = None
) -> Rated:
    """The line that `quantity` metered units make.

    `share` (0 to 1) prorates a flat price and `seats` multiply it; they leave every other alone. A quantity below zero
    is priced as zero: usage never earns money, a credit is a credit note. Errors: InvalidInput `unknown_currency`,
    `number_too_long`.

    >>> from billing.price import parse_price
    >>> guide = {"pricing_model": "tiered", "unit_price": "0.01", "tiers": [
    ...     {"up_to": 1000, "unit_price": "0.01", "flat_fee": "10.00"},
    ...     {"up_to": 10000, "unit_price": "0.008"},
    ...     {"up_to": None, "unit_price": "0.005"}]}
    >>> rate(parse_price(guide), Decimal(15420), "USD").total
    Decimal('119.10')
    >>> rate(parse_price(guide | {"tier_mode": "volume"}), Decimal(15420), "USD").total
    Decimal('77.10')
    >>> rate(parse_price({"pricing_model": "flat", "amount": 10}), Decimal(1), "USD", Fraction(1, 2), Decimal(5)).total
    Decimal('25.00')
    """
    quantity = _checked(quantity)
    if share is not None and not 0 <= share <= 1:
        raise InvalidInput("out_of_range", "must be between 0 and 1", field="share")
    callers = getcontext()
    setcontext(EXACT)  # what localcontext does without its copy, a fifth of the whole call
    try:
        exact, uses, billable = _exactly(price, quantity)
        breakdown = _breakdown(uses)
        if not price.is_flat:
            share = None
        else:
            if seats is not None and seats != 1:
                unit, exact = breakdown[0].flat_fee, breakdown[0].flat_fee * seats
                breakdown = (TierUse(None, seats, unit, ZERO, exact),)
            if share is not None:
                exact = ending(Fraction(exact) * share)
                breakdown = (breakdown[0]._replace(amount=shown(exact)),)
        rounded = round_amount(exact, currency)
        total, discount = _adjusted(price, rounded, currency)
    except DecimalException as error:
        raise too_long("quantity") from error
    finally:
        setcontext(callers)
    return Rated(total, shown(exact), quantity, shown(billable), breakdown, rounded, discount, share)


def rate_part(
    price: Price,
    quantity: Decimal,
    currency: str,
    *,
    since: Decimal | None,
    before: Decimal | None,
    after: Decimal,
) -> Rated:
    """The line of one part of a period whose usage goes on where earlier parts of the period stopped.

    All three are metered units of the period: `since` were priced by another price before this one began (None where
    this one begins anew), `before` is where this part begins if the same price has had a part already, `after` is where
    it ends. Units that were priced before cost nothing again, nor do the fees of tiers that they had reached, and free
    units are given once. Parts of the same price sum to what one part would have come to, with one discount and one
    maximum and minimum. `quantity` is the part's own. Errors as in `rate`.

    >>> from billing.price import parse_price
    >>> price = parse_price({"pricing_model": "tiered", "tiers": [
    ...     {"up_to": 1000, "unit_price": "0.01", "flat_fee": 10}, {"up_to": None, "unit_price": "0.005"}]})
    >>> part = rate_part(price, Decimal(500), "USD", since=Decimal(800), before=None, after=Decimal(1300))
    >>> part.total, [str(use.quantity) for use in part.breakdown]
    (Decimal('3.50'), ['200', '300'])
    """
    begin = since if before is None else before
    if begin is None:
        return rate(price, quantity, currency)
    with _exact_context():
        last = _exactly(price, _checked(after))
        first = _exactly(price, _checked(begin))
        base = None if since is None else _exactly(price, _checked(since)).amount
        rounded, total, discount = _line(price, last.amount, base, currency)
        if before is not None:
            rounded_before, total_before, discount_before = _line(price, first.amount, base, currency)
            rounded, total, discount = rounded - rounded_before, total - total_before, discount - discount_before
        unrounded = shown(_less(last.amount, first.amount))
        billable = shown(_less(last.billable, first.billable))
        breakdown = _difference(last.uses, first.uses)
    return Rated(total, unrounded, quantity, billable, breakdown, rounded, discount, None, begin)


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


def _checked(quantity: Decimal) -> Decimal:
    if not isinstance(quantity, Decimal) or not quantity.is_finite():
        quantity = parse_decimal(quantity, "quantity")
    if quantity and not -_WIDEST < quantity.adjusted() < _WIDEST:
        raise too_long("quantity")
    return quantity


@contextmanager
def _exact_context() -> Iterator[None]:
    callers = getcontext()
    setcontext(EXACT)
    try:
        yield
    except DecimalException as error:
        raise too_long("quantity") from error
    finally:
        setcontext(callers)


def _exactly(price: Price, quantity: Decimal) -> _Exact:
    billable = _billable(price, quantity)
    priced = billable if price.package_size is None else packages(billable, price.package_size)
    if isinstance(priced, Decimal):
        uses = _uses(price, _steps(price), priced, ZERO)
        return _Exact(_amount(uses, ZERO), uses, billable)
    in_fractions = _uses(price, _as_fractions(_steps(price)), priced, _NOTHING)
    return _Exact(_amount(in_fractions, _NOTHING), in_fractions, billable)


def _breakdown(uses: _Uses) -> tuple[TierUse, ...]:
    if isinstance(uses[0][1], Decimal):
        return tuple(map(TierUse._make, uses))
    return tuple(map(_shown_use, uses))


def _line(
    price: Price, amount: Decimal | Fraction, base: Decimal | Fraction | None, currency: str
) -> tuple[Decimal, Decimal, Decimal]:
    """The line of what an amount adds to `base`: rounded, its total, its discount."""
    rounded = round_amount(amount if base is None else _less(amount, base), currency)
    return rounded, *_adjusted(price, rounded, currency)


def _less(amount: Decimal | Fraction, other: Decimal | Fraction) -> Decimal | Fraction:
    if isinstance(amount, Decimal) and isinstance(other, Decimal):
        return amount - other
    return ending(Fraction(amount) - Fraction(other))


def _difference(last: _Uses, first: _Uses) -> tuple[TierUse, ...]:
    """The rows of `last` less those of `first`, tier by tier; a tier that only `first` had is given back."""
    before = {use[0]: use for use in first}
    rows: list[TierUse] = []
    for up_to, quantity, unit_price, flat_fee, amount in [*last, *_zeros(last, first)]:
        _, had, _, had_fee, had_amount = before.get(up_to, (up_to, ZERO, unit_price, ZERO, ZERO))
        rows.append(
            TierUse(
                None if up_to is None else shown(up_to),
                shown(_less(quantity, had)),
                shown(unit_price),
                shown(_less(flat_fee, had_fee)),
                shown(_less(amount, had_amount)),
            )
        )
    return tuple(row for row in rows if row.quantity or row.amount or row.flat_fee) or (rows[len(last) - 1],)


def _zeros(last: _Uses, first: _Uses) -> Iterator[Use[Any]]:
    """The tiers of `first` that `last` has not, unused."""
    there = {use[0] for use in last}
    return ((use[0], ZERO, use[2], ZERO, ZERO) for use in first if use[0] not in there)


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
