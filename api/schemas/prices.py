"""Prices: flat, per unit, package, tiered, percentage, with what is done before and after."""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, SerializerFunctionWrapHandler, model_serializer

from api.schemas.common import CurrencyIn, DecimalIn, DecimalOut, Model, any_case
from billing.exact import parse_decimal
from billing.price import Price, parse_price
from billing.rating import Rated

__all__ = ["TIERED_EXAMPLE", "BreakdownOut", "PreviewIn", "PreviewOut", "PriceBody", "PriceTerms", "TierBody"]

TIERED_EXAMPLE: dict[str, JsonValue] = {
    "pricing_model": "tiered",
    "unit_price": "0.01",
    "tiers": [
        {"up_to": 1000, "unit_price": "0.01", "flat_fee": "10.00"},
        {"up_to": 10000, "unit_price": "0.008"},
        {"up_to": None, "unit_price": "0.005"},
    ],
}


PricingModelName = Annotated[Literal["flat", "per_unit", "package", "tiered", "percentage"], any_case()]


class Terms(Model):
    """Written without the fields that do not apply."""

    # Without a return type: pydantic would publish that one in place of the fields.
    @model_serializer(mode="wrap")
    def _only_what_applies(self, write: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        return {key: value for key, value in write(self).items() if value is not None or key == "up_to"}


class TierBody(Terms):
    """One step of a tiered price: up to and including `up_to`; the last one is open (`up_to` null)."""

    up_to: DecimalIn | None = None
    unit_price: DecimalIn | None = None
    flat_fee: DecimalIn | None = None


class TransformBody(Terms):
    """What the metered quantity is turned into before it is priced, such as requests into thousands of them."""

    divide_by: DecimalIn | None = None
    multiply_by: DecimalIn | None = None
    round: Annotated[Literal["up", "down", "half_up", "none"], any_case()] | None = None
    precision: Annotated[int, Field(ge=0, le=12)] | None = None


class PriceTerms(Terms):
    """The fields of a price, none of them required."""

    pricing_model: PricingModelName | None = None
    amount: DecimalIn | None = Field(default=None, description="flat: what is charged per period.")
    unit_price: DecimalIn | None = Field(default=None, description="per_unit; a tiered price's tiers come before it.")
    package_size: DecimalIn | None = Field(
        default=None, description="package: units in one; a started one counts whole."
    )
    package_price: DecimalIn | None = Field(default=None, description="package: what one costs.")
    tier_mode: Annotated[Literal["graduated", "volume"], any_case()] | None = Field(
        default=None, description="tiered; graduated when left out."
    )
    tiers: list[TierBody] | None = Field(
        default=None, max_length=100, description="tiered: in order, the last one open."
    )
    rate: DecimalIn | None = Field(default=None, description="percentage: per cent of the metered amount.")
    transform_quantity: TransformBody | None = None
    free_units: DecimalIn | None = Field(default=None, description="Taken off the quantity before it is priced.")
    discount_percent: DecimalIn | None = Field(default=None, description="0 to 100, taken off the rounded line.")
    minimum_amount: DecimalIn | None = Field(default=None, description="The line is at least this, also without usage.")
    maximum_amount: DecimalIn | None = Field(default=None, description="The line is at most this.")
    billing_timing: Annotated[Literal["in_arrears", "in_advance"], any_case()] | None = Field(
        default=None,
        description="flat: whether a period is billed at its end or at its start; in_arrears when left out.",
    )


class PriceBody(PriceTerms):
    """How a quantity becomes an amount. Which fields belong together depends on `pricing_model`."""

    model_config = ConfigDict(json_schema_extra={"examples": [TIERED_EXAMPLE]})

    pricing_model: PricingModelName

    def price(self, field: str) -> Price:
        """The checked price. Errors: InvalidInput, its field below `field`."""
        spec: dict[str, Any] = self.model_dump(include=set(PriceBody.model_fields), exclude_unset=True)
        return parse_price(spec, field)


class PreviewIn(Model):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"currency": "USD", "price": TIERED_EXAMPLE, "quantity": "15420"}]}
    )

    currency: CurrencyIn
    price: PriceBody
    quantity: DecimalIn = Field(description="Metered, before transform_quantity and free_units.")

    def exact_quantity(self) -> Decimal:
        """InvalidInput beyond the bounds of a quantity."""
        return parse_decimal(self.quantity, "quantity")


class BreakdownOut(Model):
    up_to: DecimalOut | None
    quantity: DecimalOut
    unit_price: DecimalOut
    flat_fee: DecimalOut
    amount: DecimalOut


class PreviewOut(Model):
    total: DecimalOut = Field(description="Rounded once, half away from zero, to the currency's exponent.")
    unrounded: DecimalOut
    breakdown: list[BreakdownOut]

    @classmethod
    def of(cls, rated: Rated) -> Self:
        return cls.model_validate(
            {
                "total": rated.total,
                "unrounded": rated.unrounded,
                "breakdown": [BreakdownOut.model_validate(use, from_attributes=True) for use in rated.breakdown],
            }
        )
