"""From lines to what is due, a second time: coupons, taxes, credits; each in fractions of whole minor units.

subtotal (the sum of the lines) -> coupons -> taxes -> total -> credits -> amount due
"""

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction

from tests.support.invoice_model.lines import Line
from tests.support.invoice_model.periods import Body, instant
from tests.support.price_model import rounded


def shares(whole: Fraction, weights: Sequence[Fraction], places: int) -> list[Fraction]:
    """Largest remainder: everyone gets the whole units of the exact share, the units left over go to the largest
    fractions, the first of equals before the others. Sums to the whole, always."""
    if whole == 0:
        return [Fraction(0) for _ in weights]
    unit = Fraction(1, 10**places)
    exact = [abs(whole) * weight / sum(weights) / unit for weight in weights]
    units = [one.numerator // one.denominator for one in exact]
    left = abs(whole) / unit - sum(units)
    for number in sorted(range(len(exact)), key=lambda number: (units[number] - exact[number], number))[: int(left)]:
        units[number] += 1
    return [unit * one * (1 if whole > 0 else -1) for one in units]


def spread(whole: Fraction, amounts: Sequence[Fraction], places: int) -> list[Fraction]:
    """Over lines of both signs: weights are the amounts on the side of the whole's sign, the others get nothing."""
    sign = 1 if whole > 0 else -1
    return shares(whole, [max(Fraction(0), amount * sign) for amount in amounts], places)


def discountable(lines: list[Line]) -> list[Line]:
    """All lines but those that give back some of an advance or adjust an earlier invoice: what coupons did to these is
    in them already."""
    return [
        line
        for line in lines
        if not (line.key.endswith("~true_up") and line.amount < 0) and not line.key.startswith("adjustment ")
    ]


def apply_discounts(lines: list[Line], discounts: list[Body], currency: str, places: int) -> list[tuple[str, Fraction]]:
    """In the order in which they were attached, each on what the one before left, never below nothing; an amount in
    another currency does not apply, one that exceeds what is left is capped. A percentage is rounded once."""
    applied = []
    for line in lines:
        line.discounts = {discount["id"]: Fraction(0) for discount in discounts}
    lines = discountable(lines)
    for discount in discounts:
        left = max(Fraction(0), sum((line.amount - line.discount for line in lines), Fraction(0)))
        if "percent_off" in discount:
            amount = rounded(left * Fraction(discount["percent_off"]) / 100, places)
        elif discount["currency"] == currency:
            amount = min(left, Fraction(discount["amount_off"]))
        else:
            amount = Fraction(0)
        for line, part in zip(
            lines, spread(amount, [line.amount - line.discount for line in lines], places), strict=True
        ):
            line.discount += part
            line.discounts[discount["id"]] = part
        applied.append((discount["id"], amount))
    return applied


def apply_taxes(lines: list[Line], rates: list[Body], places: int) -> list[tuple[str, Fraction]]:
    """One total per rate on the invoice. With R as the sum of the inclusive rates, the inclusive tax is
    taxable - taxable / (1 + R), rounded once and split over them by their percentages; exclusive rates are taken of
    taxable - inclusive tax, each rounded once. Then each rate alone goes to the lines, by what each came to for it."""
    taxable = sum((line.amount - line.discount for line in lines), Fraction(0))
    inclusive = [rate for rate in rates if rate.get("inclusive")]
    percentages = [Fraction(rate["percentage"]) for rate in inclusive]
    contained = rounded(taxable - taxable / (1 + sum(percentages, Fraction(0)) / 100), places)
    of_rate = dict(zip((rate["id"] for rate in inclusive), shares(contained, percentages, places), strict=True))
    for rate in rates:
        if not rate.get("inclusive"):
            of_rate[rate["id"]] = rounded((taxable - contained) * Fraction(rate["percentage"]) / 100, places)
    lefts = [line.amount - line.discount for line in lines]
    for rate in sorted(rates, key=lambda rate: not rate.get("inclusive")):
        nets = [left - line.inclusive_tax for left, line in zip(lefts, lines, strict=True)]
        nets = lefts if rate.get("inclusive") else nets
        for line, part in zip(lines, spread(of_rate[rate["id"]], nets, places), strict=True):
            line.taxes[rate["id"]] = part
            if rate.get("inclusive"):
                line.inclusive_tax += part
            else:
                line.tax += part
    return [(rate["id"], of_rate[rate["id"]]) for rate in rates]


def apply_credits(total: Fraction, grants: list[Body], currency: str, at: datetime) -> list[tuple[str, Fraction]]:
    """Grants of the currency that are effective and not expired at `at`: smaller priority, then earlier expiry (none is
    last), then earlier start, then id; each until the total is covered."""

    def rank(grant: Body) -> tuple[int, bool, str, str, str]:
        expires = grant.get("expires_at")
        return (grant.get("priority", 100), expires is None, expires or "", grant["effective_at"], grant["id"])

    left, applied = max(Fraction(0), total), []
    for grant in sorted(grants, key=rank):
        begun = instant(grant["effective_at"]) <= at
        over = grant.get("expires_at") is not None and instant(grant["expires_at"]) <= at
        used = (
            min(left, Fraction(grant["remaining"]))
            if begun and not over and grant["currency"] == currency
            else Fraction(0)
        )
        if used:
            left -= used
            applied.append((grant["id"], used))
    return applied


def in_scope(discount: Body, before: list[Fraction], periods: int) -> bool:
    """Whether a discount applies to an invoice of a subscription with the discountable sums of those `before` it, and
    so many `periods` before its own: `once` is the first with something to pay (it stands with nothing on those before
    that), `repeating` all invoices of the first so many periods, `forever` all."""
    match discount.get("duration", "once"):
        case "once":
            return all(one <= 0 for one in before)
        case "repeating":
            return bool(periods < discount["periods"])
    return True
