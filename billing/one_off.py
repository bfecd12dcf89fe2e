"""Lines of an invoice that is made by hand: a quantity at a unit price, or an amount of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.errors import InvalidInput, join
from billing.invoice import LineDraft, total
from billing.money import from_minor, to_minor
from billing.period import Period
from billing.price import parse_price
from billing.rating import TierUse, rate

__all__ = ["OneOffItem", "item_of", "one_off_lines"]

_ONE = Decimal(1)


@dataclass(frozen=True)
class OneOffItem:
    """Either `unit_price` or `amount` is given. An `amount` may be below zero: then it is taken off the others."""

    display_name: str
    quantity: Decimal = _ONE
    unit_price: Decimal | None = None
    amount: Decimal | None = None


def one_off_lines(items: Sequence[OneOffItem], currency: str, period: Period) -> tuple[LineDraft, ...]:
    """The lines of these items, each rounded once (M2); a given amount has to be whole in the smallest unit.

    Errors, with their field below `lines[…]`: InvalidInput `unit_price_or_amount`, `out_of_range`,
    `not_in_minor_units`, `negative_total`, and those of a decimal.

    >>> from datetime import UTC, datetime
    >>> day = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    >>> hours = OneOffItem("Consulting, hours", Decimal("7.5"), unit_price=Decimal("133.33"))
    >>> rebate = OneOffItem("Goodwill", amount=Decimal("-99.98"))
    >>> [str(line.amount) for line in one_off_lines([hours, rebate], "USD", day)]
    ['999.98', '-99.98']
    """
    lines = tuple(_line(item, number, currency, period) for number, item in enumerate(items))
    if total(lines, currency) < 0:
        raise InvalidInput(
            "negative_total",
            "sum to less than zero",
            field="lines",
            hint="An invoice asks for money; give it back with a refund or credit note.",
        )
    return lines


def item_of(line: LineDraft) -> OneOffItem:
    """What a stored one-off line was made from, to make it again."""
    (use,) = line.breakdown
    if use.flat_fee:
        return OneOffItem(line.display_name, line.quantity, amount=use.flat_fee)
    return OneOffItem(line.display_name, line.quantity, unit_price=use.unit_price)


def _line(item: OneOffItem, number: int, currency: str, period: Period) -> LineDraft:
    at = f"lines[{number}]"
    if (item.unit_price is None) == (item.amount is None):
        raise InvalidInput(
            "unit_price_or_amount", "takes either unit_price or amount", field=at, hint="Send exactly one of the two."
        )
    if item.quantity < 0:
        raise InvalidInput("out_of_range", "must not be below 0", field=join(at, "quantity"))
    try:
        amount, unrounded, use = _priced(item, currency)
    except InvalidInput as error:
        raise error.within(at) from None
    return LineDraft(
        key=f"one_off:{number + 1}",
        display_name=item.display_name,
        price_type="one_off",
        quantity=item.quantity,
        amount=amount,
        unrounded=unrounded,
        period=period,
        price_id=None,
        price_version=None,
        meter_id=None,
        meter_version=None,
        breakdown=(use,),
        watermark=None,
        quantity_hash=None,
    )


def _priced(item: OneOffItem, currency: str) -> tuple[Decimal, Decimal, TierUse]:
    if item.amount is not None:
        amount = from_minor(to_minor(item.amount, currency), currency)
        return amount, amount, TierUse(None, item.quantity, Decimal(0), amount, amount)
    price = parse_price({"pricing_model": "per_unit", "unit_price": item.unit_price})
    rated = rate(price, item.quantity, currency)
    return rated.total, rated.unrounded, rated.breakdown[0]
