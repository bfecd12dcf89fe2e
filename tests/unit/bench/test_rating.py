"""The benchmark of rating measures what it says it does: real lines, the same ones each time."""

from decimal import Decimal
from fractions import Fraction

import pytest

from bench.rating import PRICES, measure, quantities_of
from tests.support.price_model import total

LINES = 200


@pytest.mark.parametrize("name", PRICES)
def test_the_benchmarks_lines_sum_to_what_the_independent_model_says(name: str) -> None:
    (speed,) = [speed for speed in measure(LINES) if speed.price == name]
    expected = sum(total(str(quantity), PRICES[name], "USD")[1] for quantity in quantities_of(LINES))
    assert Fraction(Decimal(speed.checksum)) == expected
