"""Parts of a period: where the usage of one goes on, where it begins anew, and what is counted for each part alone."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.meter import Meter, parse_definition
from billing.period import Period
from billing.price import parse_price
from billing.price_version import ApplyTo, PriceStatus
from ledger.store.prices import PriceRecord
from pipelines.steps.plan_prices import DuePrice, Part
from pipelines.steps.rate_parts import rate_parts

TIERS: dict[str, Any] = {
    "pricing_model": "tiered",
    "tiers": [{"up_to": 100, "unit_price": "1", "flat_fee": "10"}, {"up_to": None, "unit_price": "0.5"}],
}
START = datetime(2026, 1, 1, tzinfo=UTC)
JANUARY = Period(START, datetime(2026, 2, 1, tzinfo=UTC))


def a_part(
    first: int, last: int, price: str = "a", aggregation: str = "count", continues: bool = False, **terms: Any
) -> Part:
    """Days `first` to `last` of January, by a price of the plan of the same name for the feature `calls`."""
    what = {"type": "count"} if aggregation == "count" else {"type": aggregation, "property": "n"}
    definition = parse_definition({"name": "Calls", "event_name": "call", "aggregation": what})
    record = PriceRecord(
        id=price,
        version=1,
        plan_id=price,
        feature_id="calls",
        display_name="Calls",
        price=parse_price({**TIERS, **terms}),
        position=0,
        status=PriceStatus.ACTIVE,
        effective_from=START,
        apply_to=ApplyTo.EVERY_PERIOD,
        created_at=START,
    )
    period = Period(START.replace(day=first), START.replace(day=last))
    return Part(price, period, DuePrice(record, Meter.of("meter_calls", 1, definition), continues), Decimal(1))


def totals(parts: list[Part], *quantities: int) -> list[str]:
    return [str(each.total) for each in rate_parts(parts, [Decimal(q) for q in quantities], "USD", JANUARY)]


def test_another_price_begins_in_its_first_tier_unless_its_plan_goes_on() -> None:
    assert totals([a_part(1, 11), a_part(11, 31, "b")], 90, 20) == ["100.00", "30.00"]
    assert totals([a_part(1, 11), a_part(11, 31, "b", continues=True)], 90, 20) == ["100.00", "15.00"]


def test_the_new_plans_setting_decides_and_not_that_of_the_old_one() -> None:
    assert totals([a_part(1, 11, continues=True), a_part(11, 31, "b")], 90, 20) == ["100.00", "30.00"]


def test_the_same_price_goes_on_after_a_pause_with_one_minimum() -> None:
    pieces = [a_part(1, 11, minimum_amount="150"), a_part(21, 31, minimum_amount="150")]
    # 90 come to 100.00, of at least 150.00; 130 to 125.00.
    assert totals(pieces, 90, 40) == ["150.00", "0.00"]
    assert totals(pieces, 90, 140) == ["150.00", "25.00"]


def test_a_price_that_goes_on_after_a_change_and_then_after_a_pause_adds_up() -> None:
    pieces = [a_part(1, 5), a_part(5, 11, "b", continues=True), a_part(21, 31, "b", continues=True)]
    assert totals(pieces, 50, 60, 40) == ["60.00", "55.00", "20.00"]
    # As much as 150 in one part.
    assert totals([a_part(1, 31)], 150) == ["135.00"]


def test_back_on_the_first_plan_after_another_it_begins_again_or_goes_on() -> None:
    pieces = [a_part(1, 5), a_part(5, 11, "b"), a_part(11, 31)]
    assert totals(pieces, 90, 20, 20) == ["100.00", "30.00", "30.00"]
    pieces[2] = a_part(11, 31, continues=True)
    assert totals(pieces, 90, 20, 20) == ["100.00", "30.00", "10.00"]


def test_two_prices_of_one_feature_count_its_usage_once_for_what_goes_on() -> None:
    pieces = [a_part(1, 11), a_part(1, 11, "a2"), a_part(11, 31, "b", continues=True)]
    assert totals(pieces, 90, 90, 20) == ["100.00", "100.00", "15.00"]


@pytest.mark.parametrize(
    ("aggregation", "second"),
    [
        pytest.param("max", "10.00", id="a maximum goes on: only what is above the one before"),
        pytest.param("latest", "90.00", id="a latest value is counted for each part alone"),
        pytest.param("avg", "90.00", id="an average too"),
    ],
)
def test_after_a_pause_only_what_can_be_put_together_goes_on(aggregation: str, second: str) -> None:
    pieces = [a_part(1, 11, aggregation=aggregation), a_part(21, 31, aggregation=aggregation)]
    assert totals(pieces, 70, 80) == ["80.00", second]
    assert totals(pieces, 70, 60)[1] == ("0.00" if aggregation == "max" else "70.00")


def test_a_volume_price_that_goes_on_gives_back_what_the_lower_tier_had_cost() -> None:
    pieces = [a_part(1, 11, tier_mode="volume"), a_part(21, 31, tier_mode="volume")]
    first, second = rate_parts(pieces, [Decimal(90), Decimal(30)], "USD", JANUARY)
    # 120 at 0.5 are 60.00, and 100.00 were charged.
    assert (first.total, second.total) == (Decimal("100.00"), Decimal("-40.00"))
    assert [(use.up_to, use.quantity, use.flat_fee, use.amount) for use in second.breakdown] == [
        (None, Decimal(120), Decimal(0), Decimal("60.0")),
        (Decimal(100), Decimal(-90), Decimal(-10), Decimal(-100)),
    ]
