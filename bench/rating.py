"""How many lines a second one core rates, each with its breakdown: `python -m bench.rating`.

CPU time, so that other work on the machine does not count. Beside each model stands a plain loop over the guide's tiers
that does the least there is to do: Decimal products and sums in the caller's context, no breakdown, no rounding, no
check. It is what exactness and explanation are paid against.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Final

from billing.price import Price, parse_price
from billing.rating import rate

TIERS: Final[list[dict[str, Any]]] = [
    {"up_to": 1000, "unit_price": "0.01", "flat_fee": "10.00"},
    {"up_to": 10000, "unit_price": "0.008"},
    {"up_to": None, "unit_price": "0.005"},
]
PRICES: Final[dict[str, dict[str, Any]]] = {
    "graduated": {"pricing_model": "tiered", "tiers": TIERS},
    "volume": {"pricing_model": "tiered", "tier_mode": "volume", "tiers": TIERS},
    "per_unit": {"pricing_model": "per_unit", "unit_price": "0.01"},
    "package": {"pricing_model": "package", "package_size": 1000, "package_price": "5"},
    "percentage": {"pricing_model": "percentage", "rate": "1.5"},
    "graduated_adjusted": {
        "pricing_model": "tiered",
        "tiers": TIERS,
        "free_units": 100,
        "discount_percent": 10,
        "minimum_amount": "5.00",
        "maximum_amount": "500.00",
    },
}
DEFAULT_LINES: Final = 50_000


@dataclass(frozen=True)
class Speed:
    """`checksum` is the sum of all totals: two runs that rate the same lines have the same."""

    price: str
    lines: int
    cpu_seconds: float
    lines_per_second: int
    checksum: str


def measure(lines: int = DEFAULT_LINES) -> list[Speed]:
    """Every model and the plain loop over the same quantities."""
    quantities = quantities_of(lines)
    found = [_timed(name, quantities, _rater(parse_price(spec))) for name, spec in PRICES.items()]
    return [*found, _timed("plain_loop", quantities, _plain_loop())]


def quantities_of(lines: int) -> list[Decimal]:
    """0 to 20,000 with three decimals, in no order."""
    return [Decimal(number * 7_919_999 % 20_000_001).scaleb(-3) for number in range(lines)]


def _rater(price: Price) -> Callable[[Decimal], Decimal]:
    return lambda quantity: rate(price, quantity, "USD").total


def _plain_loop() -> Callable[[Decimal], Decimal]:
    tiers = parse_price(PRICES["graduated"]).tiers

    def graduated(quantity: Decimal) -> Decimal:
        amount = lower = Decimal(0)
        for up_to, unit_price, flat_fee in tiers:
            if up_to is None or quantity <= up_to:
                return amount + (quantity - lower) * unit_price + flat_fee
            amount += (up_to - lower) * unit_price + flat_fee
            lower = up_to
        raise AssertionError("the last tier is open")

    return graduated


def _timed(name: str, quantities: Sequence[Decimal], price: Callable[[Decimal], Decimal]) -> Speed:
    checksum = Decimal(0)
    for quantity in quantities[:1000]:
        price(quantity)
    started = time.process_time()
    for quantity in quantities:
        checksum += price(quantity)
    seconds = time.process_time() - started
    return Speed(name, len(quantities), round(seconds, 3), int(len(quantities) / seconds), format(checksum, "f"))


if __name__ == "__main__":
    sys.stdout.write(json.dumps([asdict(speed) for speed in measure()], indent=1) + "\n")
