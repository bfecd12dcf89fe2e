"""The rating rules a second time: DESIGN.md section 4 in plain fractions, written without a look at `billing/`.

It is slow and has no errors of its own: it takes a valid price as it stands in a request body and a non-negative
quantity. Where the two disagree, one of them misread the rules.

    metered quantity -> transform_quantity -> free_units -> price -> line rounding -> discount_percent
      -> maximum_amount -> minimum_amount
"""

from fractions import Fraction
from typing import Any

Body = dict[str, Any]

# (up_to, quantity, unit price, flat fee, amount)
Row = tuple[str | None, Fraction, Fraction, Fraction, Fraction]

EXPONENTS = {"USD": 2, "JPY": 0, "KWD": 3, "CLF": 4, "EUR": 2}


def rounded(value: Fraction, places: int) -> Fraction:
    """To `places` decimals; a tie goes away from zero."""
    scaled = abs(value) * 10**places
    whole = scaled.numerator // scaled.denominator
    if scaled - whole >= Fraction(1, 2):
        whole += 1
    return Fraction(whole if value >= 0 else -whole, 10**places)


def billable_quantity(quantity: Fraction, price: Body) -> Fraction:
    """What a price is applied to: converted first, then the free units taken off; never less than nothing."""
    transform = price.get("transform_quantity")
    if transform is not None:
        if "divide_by" in transform:
            quantity /= Fraction(transform["divide_by"])
        if "multiply_by" in transform:
            quantity *= Fraction(transform["multiply_by"])
        quantity = _converted(quantity, transform.get("round", "none"), transform.get("precision", 0))
    return max(Fraction(0), quantity - Fraction(price.get("free_units") or "0"))


def _converted(quantity: Fraction, rule: str, precision: int) -> Fraction:
    scaled = quantity * 10**precision
    floor = scaled.numerator // scaled.denominator
    match rule:
        case "up":
            return Fraction(floor if scaled == floor else floor + 1, 10**precision)
        case "down":
            return Fraction(floor, 10**precision)
        case "half_up":
            return rounded(quantity, precision)
    return quantity


def charge(quantity: Fraction, price: Body) -> Fraction:
    """The unrounded amount of a billable quantity."""
    match price["pricing_model"]:
        case "flat":
            return Fraction(price["amount"])
        case "per_unit":
            return quantity * Fraction(price["unit_price"])
        case "package":
            return _packages(quantity, price) * Fraction(price["package_price"])
        case "percentage":
            return quantity * Fraction(price["rate"]) / 100
    if price.get("tier_mode", "graduated") == "volume":
        return _volume(quantity, price["tiers"])
    return _graduated(quantity, price["tiers"])


def _graduated(quantity: Fraction, tiers: list[Body]) -> Fraction:
    return sum((row[-1] for row in tier_rows(quantity, {"tiers": tiers})), Fraction(0))


def _volume(quantity: Fraction, tiers: list[Body]) -> Fraction:
    return tier_rows(quantity, {"tiers": tiers, "tier_mode": "volume"})[0][-1]


def tier_rows(quantity: Fraction, price: Body) -> list[Row]:
    """The tiers that a billable quantity reaches, each with its part of it and what that costs with its flat fee. In a
    volume price the one that is reached has it all; the first tier is reached with nothing."""
    volume, bottom, rows = price.get("tier_mode", "graduated") == "volume", Fraction(0), []
    for position, tier in enumerate(price["tiers"]):
        top = quantity if tier["up_to"] is None else min(quantity, Fraction(tier["up_to"]))
        reached = top == quantity if volume else position == 0 or quantity > bottom
        if reached:
            part = quantity if volume else top - bottom
            unit_price, fee = Fraction(tier.get("unit_price") or "0"), Fraction(tier.get("flat_fee") or "0")
            rows.append((tier["up_to"], part, unit_price, fee, part * unit_price + fee))
        if (volume and reached) or top == quantity:
            break
        bottom = top
    return rows


def rows(quantity: Fraction, price: Body) -> list[Row]:
    """The arithmetic of a usage price: its tiers, or one row of units, packages or the rate as a factor."""
    match price["pricing_model"]:
        case "tiered":
            return tier_rows(quantity, price)
        case "package":
            quantity, each = _packages(quantity, price), Fraction(price["package_price"])
        case "percentage":
            each = Fraction(price["rate"]) / 100
        case _:
            each = Fraction(price["unit_price"])
    return [(None, quantity, each, Fraction(0), quantity * each)]


def _packages(quantity: Fraction, price: Body) -> Fraction:
    packages = quantity / Fraction(price["package_size"])
    return Fraction(-(-packages.numerator // packages.denominator))


def total(quantity: str, price: Body, currency: str) -> tuple[Fraction, Fraction]:
    """(the unrounded amount, the line's amount after discount, maximum and minimum)."""
    unrounded = charge(billable_quantity(Fraction(quantity), price), price)
    return unrounded, line_amount(unrounded, price, EXPONENTS[currency])


def line_amount(unrounded: Fraction, price: Body, places: int) -> Fraction:
    """Rounded once to the currency's decimals, then the price's own discount, maximum and minimum."""
    line = rounded(unrounded, places)
    # A discount lowers what is charged, not what is given back.
    line -= rounded(max(Fraction(0), line) * Fraction(price.get("discount_percent") or "0") / 100, places)
    if price.get("maximum_amount") is not None:
        line = min(line, Fraction(price["maximum_amount"]))
    if price.get("minimum_amount") is not None:
        line = max(line, Fraction(price["minimum_amount"]))
    return line
