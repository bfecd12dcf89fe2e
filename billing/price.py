"""What a quantity costs: the price as a value that is right by construction, and its JSON.

The rules of each field are in the design's rating section; how a quantity goes through them is in `billing.rating`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from billing.body import read_enum, read_list, read_object, refuse_unknown, required
from billing.errors import InvalidInput, join
from billing.exact import ZERO, format_decimal, parse_decimal
from billing.quantity import Rounding, TransformQuantity
from billing.tiers import Tier, TierMode, check_tiers

MAX_TIERS: Final = 100


class PricingModel(StrEnum):
    FLAT = "flat"
    PER_UNIT = "per_unit"
    PACKAGE = "package"
    TIERED = "tiered"
    PERCENTAGE = "percentage"


class BillingTiming(StrEnum):
    """When a flat price is billed: at the end of the period that it is for, or at its start."""

    IN_ARREARS = "in_arrears"
    IN_ADVANCE = "in_advance"


# Which fields make each model; any other of these is refused with it.
_FIELDS_OF: Final[dict[PricingModel, tuple[str, ...]]] = {
    PricingModel.FLAT: ("amount",),
    PricingModel.PER_UNIT: ("unit_price",),
    PricingModel.PACKAGE: ("package_size", "package_price"),
    PricingModel.TIERED: ("tiers", "tier_mode"),
    PricingModel.PERCENTAGE: ("rate",),
}
_MODEL_FIELDS: Final = tuple(name for names in _FIELDS_OF.values() for name in names)
_ADJUSTMENTS: Final = ("free_units", "discount_percent", "maximum_amount", "minimum_amount")
_NUMBERS: Final = ("amount", "unit_price", "package_size", "package_price", "rate", *_ADJUSTMENTS)
PRICE_FIELDS: Final = frozenset(
    {"pricing_model", "billing_timing", "transform_quantity", *_MODEL_FIELDS, *_ADJUSTMENTS}
)
_TIER_FIELDS: Final = frozenset(Tier._fields)
_TRANSFORM_FIELDS: Final = frozenset({"divide_by", "multiply_by", "round", "precision"})


@dataclass(frozen=True, slots=True)
class Price:
    """One price. Amounts are in the main unit of a currency that is given when it is rated."""

    model: PricingModel
    amount: Decimal | None = None  # flat
    unit_price: Decimal | None = None  # per_unit
    package_size: Decimal | None = None  # package
    package_price: Decimal | None = None  # package
    tier_mode: TierMode | None = None  # tiered
    tiers: tuple[Tier, ...] = ()  # tiered
    rate: Decimal | None = None  # percentage, "1.5" is 1.5 %
    transform_quantity: TransformQuantity | None = None
    free_units: Decimal | None = None
    discount_percent: Decimal | None = None
    maximum_amount: Decimal | None = None
    minimum_amount: Decimal | None = None
    billing_timing: BillingTiming = BillingTiming.IN_ARREARS  # in_advance for flat only

    def __post_init__(self) -> None:
        wanted = _FIELDS_OF[self.model]
        for name in _MODEL_FIELDS:
            value = getattr(self, name)
            if name in wanted and (value is None or value == ()):
                raise InvalidInput("missing_field", f"is required for a {self.model} price", field=name)
            if name not in wanted and value is not None and value != ():
                raise _not_for(self.model, name)
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, parse_decimal(value, name, minimum=ZERO))
        if self.package_size == 0:
            raise InvalidInput("out_of_range", "must be above zero", field="package_size")
        if self.discount_percent is not None and self.discount_percent > 100:
            raise InvalidInput("out_of_range", "must be between 0 and 100", field="discount_percent")
        if self.tiers:
            _check_tier_numbers(self.tiers)
            check_tiers(self.tiers)
        if self.in_advance and not self.is_flat:
            raise InvalidInput(
                "field_not_for_model",
                "usage is known at the end of its period only: a flat price can be billed in advance",
                field="billing_timing",
                hint="Leave it out, or send in_arrears.",
            )
        low, high = self.minimum_amount, self.maximum_amount
        if low is not None and high is not None and low > high:
            raise InvalidInput("minimum_above_maximum", "must not be above maximum_amount", field="minimum_amount")

    @property
    def is_flat(self) -> bool:
        """True where the amount does not depend on usage; only such a price is prorated."""
        return self.model is PricingModel.FLAT

    @property
    def in_advance(self) -> bool:
        """True where a period is billed at its start."""
        return self.billing_timing is BillingTiming.IN_ADVANCE


def parse_price(spec: Mapping[str, Any], field: str = "") -> Price:
    """A Price out of its JSON; null counts as absent, enums are read in any case, numbers as str, int or Decimal.

    A tiered price may carry a `unit_price` beside its tiers: it stands in for each tier that names none.
    Errors: InvalidInput with the path of the field below `field`.

    >>> parse_price({"pricing_model": "PER_UNIT", "unit_price": "0.01"}).unit_price
    Decimal('0.01')
    >>> parse_price({"pricing_model": "tiered", "tiers": [{"up_to": 10, "unit_price": 1}]}, "prices[0]")
    Traceback (most recent call last):
        ...
    billing.errors.InvalidInput: prices[0].tiers[0].up_to: the last tier must be open
    """
    try:
        return _parse(read_object(spec, ""))
    except InvalidInput as error:
        raise error.within(field) from None


def revise_price(price: Price, changes: Mapping[str, Any]) -> Price:
    """`price` with the fields of `changes` in place of its own; null takes one away, what is left out stays.

    Another `pricing_model` drops the fields that made the old one. What a unit is must stay: InvalidInput
    `pricing_unit_fixed` where a flat price would count usage or the other way round, where an amount would be taken
    for a count, or where `transform_quantity` would scale differently. Other errors as `parse_price`.

    >>> price = parse_price({"pricing_model": "per_unit", "unit_price": "0.01", "free_units": 100})
    >>> price_to_json(revise_price(price, {"unit_price": "0.02", "free_units": None}))
    {'pricing_model': 'per_unit', 'unit_price': '0.02'}
    """
    model = changes.get("pricing_model")
    body = price_to_json(price)
    if model is not None and read_enum(PricingModel, model, "pricing_model") is not price.model:
        body = {name: value for name, value in body.items() if name not in _MODEL_FIELDS}
    elif price.tiers and changes.get("unit_price") is not None and changes.get("tiers") is None:
        raise InvalidInput(
            "field_not_for_model",
            "stands in for tiers without a price of their own, and none are sent",
            field="unit_price",
            hint="Send the tiers as they shall be.",
        )
    revised = parse_price({**body, **changes})
    if pricing_unit(revised) != pricing_unit(price):
        raise InvalidInput(
            "pricing_unit_fixed",
            "a unit of this price would mean something else",
            field="transform_quantity" if revised.model is price.model else "pricing_model",
            hint="Archive this price and add another one.",
        )
    return revised


def pricing_unit(price: Price) -> tuple[str, Decimal | None, Decimal | None]:
    """What the price is a price of: a period, metered units or a metered amount, and the scale of a unit."""
    kind = {PricingModel.FLAT: "period", PricingModel.PERCENTAGE: "amount"}.get(price.model, "unit")
    transform = price.transform_quantity
    return (kind, None, None) if transform is None else (kind, transform.divide_by, transform.multiply_by)


def price_to_json(price: Price) -> dict[str, Any]:
    """The canonical JSON of a price: only what is set, decimals as strings, in a fixed order.

    >>> price_to_json(Price(PricingModel.FLAT, amount=Decimal("10.00")))
    {'pricing_model': 'flat', 'amount': '10.00'}
    """
    body: dict[str, Any] = {"pricing_model": price.model.value}
    for name in ("amount", "unit_price", "package_size", "package_price", "rate"):
        _put(body, name, getattr(price, name))
    if price.tier_mode is not None:
        body["tier_mode"] = price.tier_mode.value
        body["tiers"] = [_tier_to_json(tier) for tier in price.tiers]
    if price.transform_quantity is not None:
        body["transform_quantity"] = _transform_to_json(price.transform_quantity)
    for name in _ADJUSTMENTS:
        _put(body, name, getattr(price, name))
    if price.in_advance:
        body["billing_timing"] = price.billing_timing.value
    return body


def _parse(spec: Mapping[str, Any]) -> Price:
    refuse_unknown(spec, PRICE_FIELDS)
    model = read_enum(PricingModel, required(spec, "pricing_model", ""), "pricing_model")
    values: dict[str, Any] = {
        name: parse_decimal(spec[name], name, minimum=ZERO) for name in _NUMBERS if spec.get(name) is not None
    }
    if spec.get("tier_mode") is not None:
        values["tier_mode"] = read_enum(TierMode, spec["tier_mode"], "tier_mode")
    fallback = values.pop("unit_price", None) if model is PricingModel.TIERED else None
    if spec.get("tiers") is not None:
        values["tiers"] = tuple(
            _parse_tier(tier, f"tiers[{i}]", fallback)
            for i, tier in enumerate(read_list(spec["tiers"], "tiers", longest=MAX_TIERS))
        )
    if model is PricingModel.TIERED:
        values.setdefault("tier_mode", TierMode.GRADUATED)
    if spec.get("billing_timing") is not None:
        values["billing_timing"] = read_enum(BillingTiming, spec["billing_timing"], "billing_timing")
    if spec.get("transform_quantity") is not None:
        values["transform_quantity"] = _parse_transform(read_object(spec["transform_quantity"], "transform_quantity"))
    return Price(model, **values)


def _parse_tier(value: object, field: str, fallback: Decimal | None) -> Tier:
    spec = read_object(value, field)
    refuse_unknown(spec, _TIER_FIELDS, field)
    if "up_to" not in spec:
        raise InvalidInput(
            "missing_field", "is required", field=join(field, "up_to"), hint="Send null in the last tier."
        )
    numbers = {
        name: None if spec.get(name) is None else parse_decimal(spec[name], join(field, name), minimum=ZERO)
        for name in Tier._fields
    }
    unit_price = fallback if numbers["unit_price"] is None else numbers["unit_price"]
    if unit_price is None and numbers["flat_fee"] is None:
        raise InvalidInput("missing_field", "is required where there is no flat_fee", field=join(field, "unit_price"))
    return Tier(numbers["up_to"], unit_price or ZERO, numbers["flat_fee"] or ZERO)


def _parse_transform(spec: Mapping[str, Any]) -> TransformQuantity:
    field = "transform_quantity"
    refuse_unknown(spec, _TRANSFORM_FIELDS, field)
    factors = {
        name: parse_decimal(spec[name], join(field, name), minimum=ZERO)
        for name in ("divide_by", "multiply_by")
        if spec.get(name) is not None
    }
    rounding = spec.get("round")
    precision = spec.get("precision")
    return TransformQuantity(
        **factors,
        round=Rounding.NONE if rounding is None else read_enum(Rounding, rounding, join(field, "round")),
        precision=0 if precision is None else int(parse_decimal(precision, join(field, "precision"), max_decimals=0)),
    )


def _check_tier_numbers(tiers: tuple[Tier, ...]) -> None:
    for i, tier in enumerate(tiers):
        for name, value in tier._asdict().items():
            if value is not None or name != "up_to":
                parse_decimal(value, f"tiers[{i}].{name}", minimum=ZERO)


def _not_for(model: PricingModel, name: str) -> InvalidInput:
    owner = next(owner for owner, names in _FIELDS_OF.items() if name in names)
    return InvalidInput(
        "field_not_for_model",
        f"belongs to a {owner} price, not to a {model} one",
        field=name,
        hint=f"Leave it out, or send pricing_model {owner}.",
    )


def _put(body: dict[str, Any], name: str, value: Decimal | None) -> None:
    if value is not None:
        body[name] = format_decimal(value)


def _tier_to_json(tier: Tier) -> dict[str, str | None]:
    return {name: None if value is None else format_decimal(value) for name, value in tier._asdict().items()}


def _transform_to_json(transform: TransformQuantity) -> dict[str, Any]:
    body: dict[str, Any] = {}
    _put(body, "divide_by", transform.divide_by)
    _put(body, "multiply_by", transform.multiply_by)
    body["round"] = transform.round.value
    if transform.precision or transform.round is not Rounding.NONE:
        body["precision"] = transform.precision
    return body
