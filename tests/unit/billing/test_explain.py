"""M4: the arithmetic of a line as text."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from billing.explain import explain, explain_line
from billing.invoice import LineDraft
from billing.period import Period
from billing.price import parse_price
from billing.rating import Rated, rate

FLAT = {"pricing_model": "flat", "amount": "31"}
HOURS = {
    "pricing_model": "per_unit",
    "unit_price": "10",
    "transform_quantity": {"divide_by": 3600, "round": "up"},
    "free_units": 1,
}
PACKAGE = {"pricing_model": "package", "package_size": "1000", "package_price": "5", "maximum_amount": "8"}
VOLUME = {
    "pricing_model": "tiered",
    "tier_mode": "volume",
    "minimum_amount": "20",
    "tiers": [{"up_to": 5, "flat_fee": 9}, {"up_to": None, "unit_price": 2}],
}


@pytest.mark.parametrize(
    ("spec", "quantity", "share", "text"),
    [
        (
            FLAT,
            "1",
            Fraction(15, 31),
            ["fee 31", "prorated, 15/31 of the period: 15", "rounded to 2 decimals: 15.00 USD", "total: 15.00 USD"],
        ),
        (
            HOURS,
            "7300",
            None,
            [
                "metered: 7300",
                "billable: 2 (divided by 3600, rounded up to 0 decimals, less 1 free)",
                "2 x 10 = 20",
                "rounded to 2 decimals: 20.00 USD",
                "total: 20.00 USD",
            ],
        ),
        (
            PACKAGE,
            "1001",
            None,
            [
                "metered: 1001",
                "packages of 1000, started ones count: 2",
                "2 x 5 = 10",
                "rounded to 2 decimals: 10.00 USD",
                "at most 8.00 USD",
                "total: 8.00 USD",
            ],
        ),
        (
            VOLUME,
            "5",
            None,
            [
                "metered: 5",
                "volume, up to 5: fee 9",
                "rounded to 2 decimals: 9.00 USD",
                "at least 20.00 USD",
                "total: 20.00 USD",
            ],
        ),
    ],
    ids=["flat", "hours", "package", "volume"],
)
def test_M4_a_rating_is_told_step_by_step(
    spec: dict[str, Any], quantity: str, share: Fraction | None, text: list[str]
) -> None:
    price = parse_price(spec)
    assert explain(price, rate(price, Decimal(quantity), "USD", share), "usd").splitlines() == text


def _stored(rated: Rated) -> LineDraft:
    return LineDraft(
        key="price_1",
        display_name="Calls",
        price_type="usage",
        quantity=rated.metered_quantity,
        amount=rated.total,
        unrounded=rated.unrounded,
        period=Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
        price_id="price_1",
        price_version=1,
        meter_id=None,
        meter_version=None,
        breakdown=rated.breakdown,
        watermark=None,
        quantity_hash=None,
    )


def test_M4_a_stored_line_explains_itself_without_its_price() -> None:
    spec = {
        "pricing_model": "tiered",
        "discount_percent": "10",
        "tiers": [{"up_to": 1000, "unit_price": "0.01", "flat_fee": "10"}, {"up_to": None, "unit_price": "0.005"}],
    }
    line = _stored(rate(parse_price(spec), Decimal(1500), "USD"))
    assert explain_line(line, "USD").splitlines() == [
        "quantity: 1500",
        "up to 1000: 1000 x 0.01 + 10 = 20",
        "above 1000: 500 x 0.005 = 2.5",
        "sum: 22.5",
        "rounded to 2 decimals: 22.50 USD",
        "after discount, maximum and minimum: 20.25 USD",
        "total: 20.25 USD",
    ]
