"""A price is right by construction: what is wrong is refused by its field, what is right survives its own JSON."""

from decimal import Decimal
from typing import Any

import pytest

from billing.errors import InvalidInput
from billing.price import Price, PricingModel, parse_price, price_to_json
from billing.tiers import Tier, TierMode

GUIDE: dict[str, Any] = {
    "pricing_model": "tiered",
    "unit_price": "0.01",
    "tiers": [
        {"up_to": 1000, "unit_price": "0.01", "flat_fee": "10.00"},
        {"up_to": 10000, "unit_price": "0.008"},
        {"up_to": None, "unit_price": "0.005"},
    ],
}
PER_UNIT: dict[str, Any] = {"pricing_model": "per_unit", "unit_price": "1"}


def _tiered(*tiers: object, **more: object) -> dict[str, Any]:
    return {"pricing_model": "tiered", "tiers": list(tiers), **more}


def test_the_price_of_the_guide_is_read_word_for_word() -> None:
    price = parse_price(GUIDE)
    assert price.tier_mode is TierMode.GRADUATED
    assert price.tiers == (
        Tier(Decimal(1000), Decimal("0.01"), Decimal("10.00")),
        Tier(Decimal(10000), Decimal("0.008"), Decimal(0)),
        Tier(None, Decimal("0.005"), Decimal(0)),
    )


def test_the_unit_price_beside_the_tiers_stands_in_where_a_tier_names_none() -> None:
    price = parse_price(_tiered({"up_to": 5, "flat_fee": 1}, {"up_to": None, "unit_price": "0.5"}, unit_price="2"))
    assert [tier.unit_price for tier in price.tiers] == [Decimal(2), Decimal("0.5")]


@pytest.mark.parametrize(
    "spec",
    [
        {"pricing_model": "flat", "amount": "10.00", "minimum_amount": "1"},
        {**PER_UNIT, "transform_quantity": {"divide_by": "1000", "round": "up", "precision": 2}, "free_units": "5"},
        {**PER_UNIT, "transform_quantity": {"multiply_by": "1.5", "round": "none"}, "discount_percent": "12.5"},
        {"pricing_model": "package", "package_size": "1000", "package_price": "5", "maximum_amount": "99.99"},
        {"pricing_model": "percentage", "rate": "1.5"},
        _tiered({"up_to": None, "unit_price": "1", "flat_fee": "0"}, tier_mode="volume"),
    ],
    ids=lambda spec: str(spec["pricing_model"]),
)
def test_the_json_of_a_price_is_canonical(spec: dict[str, Any]) -> None:
    assert price_to_json(parse_price(spec)) == spec


def test_the_json_of_the_guides_price_reads_back_as_the_same_price() -> None:
    price = parse_price(GUIDE)
    assert parse_price(price_to_json(price)) == price


def test_enums_are_read_in_any_case_and_null_is_absent() -> None:
    price = parse_price(
        {
            "pricing_model": "Tiered",
            "tier_mode": "VOLUME",
            "free_units": None,
            "tiers": [{"up_to": None, "flat_fee": 1}],
        }
    )
    assert (price.model, price.tier_mode, price.free_units) == (PricingModel.TIERED, TierMode.VOLUME, None)


@pytest.mark.parametrize(
    ("spec", "code", "field"),
    [
        ({}, "missing_field", "pricing_model"),
        ({"pricing_model": "free"}, "unknown_value", "pricing_model"),
        ({"pricing_model": 1}, "unknown_value", "pricing_model"),
        ({**PER_UNIT, "unit_prise": "1"}, "unknown_field", "unit_prise"),
        ({"pricing_model": "flat"}, "missing_field", "amount"),
        ({"pricing_model": "per_unit", "unit_price": None}, "missing_field", "unit_price"),
        ({"pricing_model": "package", "package_size": "1"}, "missing_field", "package_price"),
        ({"pricing_model": "package", "package_price": "1"}, "missing_field", "package_size"),
        ({"pricing_model": "percentage"}, "missing_field", "rate"),
        ({"pricing_model": "tiered"}, "missing_field", "tiers"),
        ({"pricing_model": "tiered", "unit_price": "1"}, "missing_field", "tiers"),
        ({"pricing_model": "tiered", "tiers": []}, "missing_field", "tiers"),
        ({"pricing_model": "tiered", "tiers": {}}, "not_a_list", "tiers"),
        ({**PER_UNIT, "amount": "1"}, "field_not_for_model", "amount"),
        ({**PER_UNIT, "tier_mode": "volume"}, "field_not_for_model", "tier_mode"),
        ({**PER_UNIT, "unit_price": 0.01}, "not_a_decimal", "unit_price"),
        ({**PER_UNIT, "unit_price": "-1"}, "out_of_range", "unit_price"),
        ({**PER_UNIT, "unit_price": "0.0000000000001"}, "too_many_decimals", "unit_price"),
        ({**PER_UNIT, "unit_price": "1" * 39}, "too_many_digits", "unit_price"),
        ({**PER_UNIT, "free_units": "-1"}, "out_of_range", "free_units"),
        ({**PER_UNIT, "discount_percent": "100.1"}, "out_of_range", "discount_percent"),
        ({**PER_UNIT, "minimum_amount": "2", "maximum_amount": "1"}, "minimum_above_maximum", "minimum_amount"),
        ({"pricing_model": "package", "package_size": "0", "package_price": "1"}, "out_of_range", "package_size"),
        ({**PER_UNIT, "transform_quantity": {}}, "bad_transform", "transform_quantity"),
        ({**PER_UNIT, "transform_quantity": "x"}, "not_an_object", "transform_quantity"),
        (
            {**PER_UNIT, "transform_quantity": {"divide_by": 1, "multiply_by": 1}},
            "bad_transform",
            "transform_quantity",
        ),
        ({**PER_UNIT, "transform_quantity": {"divide_by": 0}}, "out_of_range", "transform_quantity.divide_by"),
        ({**PER_UNIT, "transform_quantity": {"by": 0}}, "unknown_field", "transform_quantity.by"),
        (
            {**PER_UNIT, "transform_quantity": {"divide_by": 1, "round": "nearest"}},
            "unknown_value",
            "transform_quantity.round",
        ),
        (
            {**PER_UNIT, "transform_quantity": {"divide_by": 1, "precision": 13}},
            "out_of_range",
            "transform_quantity.precision",
        ),
        (_tiered({"unit_price": 1}), "missing_field", "tiers[0].up_to"),
        (_tiered({"up_to": None}), "missing_field", "tiers[0].unit_price"),
        (_tiered("x"), "not_an_object", "tiers[0]"),
        (_tiered({"up_to": 5, "unit_price": 1}), "tiers_not_open", "tiers[0].up_to"),
        (
            _tiered({"up_to": None, "unit_price": 1}, {"up_to": None, "unit_price": 1}),
            "tiers_after_open_tier",
            "tiers[0].up_to",
        ),
        (
            _tiered({"up_to": 5, "unit_price": 1}, {"up_to": 5, "unit_price": 1}, {"up_to": None, "unit_price": 1}),
            "tiers_not_ordered",
            "tiers[1].up_to",
        ),
        (_tiered({"up_to": -1, "unit_price": 1}, {"up_to": None, "unit_price": 1}), "out_of_range", "tiers[0].up_to"),
        (_tiered({"up_to": 1, "price": 1}, {"up_to": None, "unit_price": 1}), "unknown_field", "tiers[0].price"),
        (_tiered({"up_to": None, "unit_price": "a"}), "not_a_decimal", "tiers[0].unit_price"),
        (_tiered(*[{"up_to": i, "unit_price": 1} for i in range(101)]), "too_many_items", "tiers"),
    ],
)
def test_a_price_that_is_wrong_is_refused_by_its_field(spec: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_price(spec, "prices[2]")
    assert (caught.value.code, caught.value.field) == (code, f"prices[2].{field}")


def test_a_value_built_in_code_is_held_to_the_same_rules() -> None:
    with pytest.raises(InvalidInput) as caught:
        Price(PricingModel.TIERED, tier_mode=TierMode.GRADUATED, tiers=(Tier(Decimal(5), Decimal(-1)), Tier(None)))
    assert caught.value.field == "tiers[0].unit_price"
    with pytest.raises(InvalidInput, match="float"):
        Price(PricingModel.FLAT, amount=0.1)  # type: ignore[arg-type]
