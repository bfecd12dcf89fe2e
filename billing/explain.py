"""The arithmetic of a line as text that a customer can follow with a pocket calculator (promise M4)."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from billing.exact import canonical
from billing.invoice import LineDraft
from billing.money import currency_code, exponent, format_decimal, round_amount
from billing.price import Price, PricingModel
from billing.quantity import Rounding, TransformQuantity
from billing.rating import Rated, TierUse
from billing.tiers import TierMode

_ROUNDED: Final = {Rounding.UP: "up", Rounding.DOWN: "down", Rounding.HALF_UP: "half up"}


def explain(price: Price, rated: Rated, currency: str) -> str:
    """One step a line, from the metered quantity to the total; `rated` is what `rate(price, …)` gave.

    >>> from billing.price import parse_price
    >>> from billing.rating import rate
    >>> price = parse_price({"pricing_model": "tiered", "discount_percent": 10, "tiers": [
    ...     {"up_to": 1000, "unit_price": "0.01", "flat_fee": "10.00"}, {"up_to": None, "unit_price": "0.005"}]})
    >>> print(explain(price, rate(price, Decimal(1500), "USD"), "USD"))
    metered: 1500
    graduated, up to 1000: 1000 x 0.01 + 10 = 20
    graduated, above 1000: 500 x 0.005 = 2.5
    sum: 22.5
    rounded to 2 decimals: 22.50 USD
    discount of 10 %: -2.25 USD
    total: 20.25 USD
    """
    return "\n".join(_steps(price, rated, currency_code(currency)))


def explain_line(line: LineDraft, currency: str) -> str:
    """The same from what a stored line holds: its breakdown, the rounding, and what changed it after that."""
    code = currency_code(currency)
    rounded = round_amount(line.unrounded, code)
    rows = _rows(line.breakdown) if line.price_type != "fixed" else map(_seat_sums, line.breakdown)
    steps = [f"quantity: {canonical(line.quantity)}", *rows, *_sum(line.breakdown, line.unrounded)]
    steps.append(_rounding(rounded, code))
    if line.amount != rounded:
        steps.append(f"after discount, maximum and minimum: {format_decimal(line.amount)} {code}")
    steps.append(f"total: {format_decimal(line.amount)} {code}")
    return "\n".join(steps)


def explain_true_up(line: LineDraft, currency: str) -> str:
    """How a line settles what was billed in advance.

    31.00 a month were billed; then the subscription was paused for half of it:
        due for the period: 15.50
        billed in advance: 31.00
        difference: -15.50 USD
    """
    code = currency_code(currency)
    steps = [f"{_settles(row)}: {format_decimal(row.unit_price + row.flat_fee)}" for row in line.breakdown]
    return "\n".join([*steps, f"difference: {format_decimal(line.amount)} {code}"])


def _settles(row: TierUse) -> str:
    if row.quantity < 0:
        return "billed in advance"
    if row.quantity == 0:
        return "taken off that by coupons, for what is given back"
    return "given back by credit notes already" if row.flat_fee else "due for the period"


def explain_adjustment(line: LineDraft, currency: str) -> str:
    """A line that adjusts one of an earlier invoice; both amounts are less the discounts of that invoice.

    due with everything that has come since: 13.00
    billed before: 10.00
    quantity: 30 more
    difference: 3.00 USD
    """
    due, billed = line.breakdown
    more = "less" if line.quantity < 0 else "more"
    return "\n".join(
        [
            f"due with everything that has come since: {format_decimal(due.unit_price)}",
            f"billed before: {format_decimal(billed.unit_price)}",
            f"quantity: {canonical(abs(line.quantity))} {more}",
            f"difference: {format_decimal(line.amount)} {currency_code(currency)}",
        ]
    )


def _steps(price: Price, rated: Rated, code: str) -> Iterator[str]:
    if price.model is not PricingModel.FLAT:
        yield f"metered: {canonical(rated.metered_quantity)}"
        if rated.carried is not None:
            yield f"after {canonical(rated.carried)} that the period had before: what these add"
        yield from _conversion(price, rated)
    if price.package_size is not None:
        started = canonical(rated.breakdown[0].quantity)
        yield f"packages of {canonical(price.package_size)}, started ones count: {started}"
    if price.rate is not None:
        yield f"rate: {canonical(price.rate)} %"
    yield from map(_seat_sums, rated.breakdown) if price.is_flat else _rows(rated.breakdown, price.tier_mode)
    if rated.share is not None:
        served, whole = rated.share.numerator, rated.share.denominator
        yield f"prorated, {served}/{whole} of the period: {canonical(rated.unrounded)}"
    yield from _sum(rated.breakdown, rated.unrounded)
    yield _rounding(rated.rounded, code)
    if price.discount_percent is not None:
        yield f"discount of {canonical(price.discount_percent)} %: -{format_decimal(rated.discount)} {code}"
    if price.maximum_amount is not None:
        yield f"at most {format_decimal(round_amount(price.maximum_amount, code))} {code}"
    if price.minimum_amount is not None:
        yield f"at least {format_decimal(round_amount(price.minimum_amount, code))} {code}"
    yield f"total: {format_decimal(rated.total)} {code}"


def _conversion(price: Price, rated: Rated) -> Iterator[str]:
    steps = [*_transform(price.transform_quantity)]
    if price.free_units is not None:
        steps.append(f"less {canonical(price.free_units)} free")
    if steps or rated.billable_quantity != rated.metered_quantity:
        yield f"billable: {canonical(rated.billable_quantity)} ({', '.join(steps) or 'never below zero'})"


def _transform(transform: TransformQuantity | None) -> Iterator[str]:
    if transform is None:
        return
    if transform.divide_by is not None:
        yield f"divided by {canonical(transform.divide_by)}"
    if transform.multiply_by is not None:
        yield f"multiplied by {canonical(transform.multiply_by)}"
    if transform.round is not Rounding.NONE:
        yield f"rounded {_ROUNDED[transform.round]} to {transform.precision} decimals"


def _rows(breakdown: Sequence[TierUse], mode: TierMode | None = None) -> Iterator[str]:
    lower: Decimal | None = None
    for use in breakdown:
        yield f"{_where(use, lower, mode)}{_sums(use)}"
        lower = use.up_to


def _where(use: TierUse, lower: Decimal | None, mode: TierMode | None) -> str:
    prefix = f"{mode}, " if mode else ""
    if use.up_to is not None:
        return f"{prefix}up to {canonical(use.up_to)}: "
    if lower is not None:
        return f"{prefix}above {canonical(lower)}: "
    return f"{prefix}last tier: " if mode else ""


def _sums(use: TierUse) -> str:
    if not use.unit_price and use.flat_fee:
        return f"fee {canonical(use.flat_fee)}"
    fee = f" + {canonical(use.flat_fee)}" if use.flat_fee else ""
    return f"{canonical(use.quantity)} x {canonical(use.unit_price)}{fee} = {canonical(use.amount)}"


def _seat_sums(use: TierUse) -> str:
    """A flat price's row, whose amount is the share that was due."""
    return _sums(use) if use.flat_fee else f"{canonical(use.quantity)} x {canonical(use.unit_price)}"


def _sum(breakdown: Sequence[TierUse], unrounded: Decimal) -> Iterator[str]:
    if len(breakdown) > 1:
        yield f"sum: {canonical(unrounded)}"


def _rounding(rounded: Decimal, code: str) -> str:
    return f"rounded to {exponent(code)} decimals: {format_decimal(rounded)} {code}"
