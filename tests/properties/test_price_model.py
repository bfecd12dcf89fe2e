"""Rating against `tests.support.price_model`, which was written from the design without a look at `billing/`."""

import random
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import pytest

from billing.price import parse_price
from billing.rating import rate
from tests.support.price_model import EXPONENTS, total

CASES_A_SEED = 2500
WIDE = Context(prec=100)


def number(r: random.Random, places: int = 12, digits: int = 9) -> str:
    """A decimal that is often whole, often small, and sometimes as wide as there may be one."""
    kind = r.random()
    if kind < 0.1:
        return "0"
    if kind < 0.5:
        return str(r.randrange(10 ** r.randint(1, 6)))
    if kind < 0.97:
        return format(Decimal(r.randrange(10 ** (r.randint(1, digits) + places))).scaleb(-places, WIDE), "f")
    return format(Decimal(r.randrange(10**38)).scaleb(-places, WIDE), "f")


def positive(r: random.Random, places: int = 12) -> str:
    return next(text for text in iter(lambda: number(r, places), None) if Decimal(text))


def tiers(r: random.Random) -> list[dict[str, Any]]:
    bounds = sorted({Decimal(positive(r, r.choice([0, 0, 3]))) for _ in range(r.randint(0, 5))})
    found: list[dict[str, Any]] = []
    for bound in (*map(str, bounds), None):
        tier: dict[str, Any] = {"up_to": bound, "unit_price": number(r, r.choice([2, 12]))}
        if r.random() < 0.5:
            tier["flat_fee"] = number(r, 2)
        found.append(tier)
    return found


def transform(r: random.Random) -> dict[str, Any]:
    factor = r.choice(["1000", "3600", "7", positive(r, 3)])
    rounding = r.choice(["up", "down", "half_up", "none"])
    return {r.choice(["divide_by", "multiply_by"]): factor, "round": rounding, "precision": r.randint(0, 3)}


def price(r: random.Random, currency: str) -> dict[str, Any]:
    model = r.choice(["flat", "per_unit", "package", "tiered", "tiered", "tiered", "percentage"])
    body: dict[str, Any] = {"pricing_model": model}
    match model:
        case "flat":
            body["amount"] = number(r)
        case "per_unit":
            body["unit_price"] = number(r)
        case "package":
            body |= {"package_size": positive(r, 3), "package_price": number(r)}
        case "percentage":
            body["rate"] = number(r, 4)
        case "tiered":
            body["tiers"] = tiers(r)
            if r.random() < 0.7:
                body["tier_mode"] = r.choice(["graduated", "volume"])
    if r.random() < 0.3:
        body["transform_quantity"] = transform(r)
    if r.random() < 0.3:
        body["free_units"] = number(r, 3)
    if r.random() < 0.3:
        body["discount_percent"] = r.choice(["0", "100", "33.333", str(Decimal(r.randrange(10**6)).scaleb(-4))])
    bounds = sorted(Decimal(r.randrange(10**7)).scaleb(-EXPONENTS[currency]) for _ in range(2))
    for name, bound in zip(("minimum_amount", "maximum_amount"), bounds, strict=True):
        if r.random() < 0.2:
            body[name] = format(bound, "f")
    return body


def quantity(r: random.Random, body: dict[str, Any]) -> str:
    """Often right at a bound of a tier or package, or a hair past it."""
    bounds = [tier["up_to"] for tier in body.get("tiers", []) if tier["up_to"] is not None]
    bounds += [body["package_size"]] if "package_size" in body else []
    if bounds and r.random() < 0.5:
        step = r.choice([Decimal(0), Decimal("0.001"), Decimal("-0.001"), Decimal(1)])
        near = WIDE.add(Decimal(r.choice(bounds)), step)
        return format(max(near, Decimal(0)), "f")
    return number(r)


@pytest.mark.parametrize("seed", range(4))
def test_an_independent_model_of_the_rules_agrees(seed: int) -> None:
    r = random.Random(seed)  # noqa: S311 - the same cases on every machine
    for _ in range(CASES_A_SEED):
        currency = r.choice([*EXPONENTS])
        body = price(r, currency)
        metered = quantity(r, body)
        rated = rate(parse_price(body), Decimal(metered), currency)
        unrounded, line = total(metered, body, currency)
        case = (seed, currency, body, metered)
        assert Fraction(rated.total) == line, case
        # A value that never ends is shown to sixteen decimals, half of the last one off at most.
        assert abs(Fraction(rated.unrounded) - unrounded) <= (0 if _ends(unrounded) else Fraction(1, 2 * 10**16)), case
        assert rated.total.as_tuple().exponent == -EXPONENTS[currency], case


def _ends(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1
