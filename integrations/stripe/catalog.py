"""Plans, prices and subscriptions as Stripe's parameters and back. Pure.

A price goes out in the form in which Stripe would come to the same amount. Where it has none, the price costs nothing
there and its metadata say why: showing another number than the one that is billed would be worse than showing none.
"""

from decimal import Decimal
from typing import Any

from billing.catalog_port import (
    NewCatalogPrice,
    NewProduct,
    NewProviderSubscription,
    ProviderPrice,
    ProviderProduct,
    ProviderSubscription,
    SubscriptionState,
)
from billing.exact import EXACT, canonical
from billing.interval import Interval
from billing.price import Price, PricingModel
from billing.quantity import Rounding
from integrations.stripe.mapping import Json, instant, is_settled, reference, stripe_exponent

__all__ = [
    "price",
    "price_params",
    "product",
    "product_params",
    "product_update_params",
    "recurring",
    "subscription",
    "subscription_params",
    "subscription_update_params",
]

# The longest that Stripe's recurring prices take is three years. https://docs.stripe.com/api/prices/create
_MOST_MONTHS, _MOST_DAYS = 36, 1095
_MOST_DECIMALS = 12
_LARGEST_MINOR = Decimal(99_999_999)


class _Inexpressible(Exception):
    """Why Stripe has no form for a price."""


def product_params(product: NewProduct) -> dict[str, Any]:
    params: dict[str, Any] = {"name": product.name, "active": product.active, "metadata": dict(product.metadata)}
    return params if product.description is None else {**params, "description": product.description}


def product_update_params(product: NewProduct) -> dict[str, Any]:
    """As for creating, but a description that is gone is unset, which Stripe does for an empty string."""
    return {"description": "", **product_params(product)}


def price_params(new: NewCatalogPrice) -> dict[str, Any]:
    metadata = dict(new.metadata)
    every = recurring(new.interval)
    try:
        form = _form(new.price, new.currency, recurs=every is not None)
    except _Inexpressible as why:
        form = {"unit_amount": 0}
        metadata["not_expressible"] = str(why)
    base = {
        "product": new.product_id,
        "currency": new.currency.lower(),
        "nickname": new.name,
        "metadata": metadata,
    }
    return {**base, **form} if every is None else {**base, **form, "recurring": every}


def recurring(interval: Interval) -> dict[str, Any] | None:
    """Stripe's `recurring`, None for what recurs more seldom than Stripe can.

    >>> from billing.interval import parse_interval
    >>> recurring(parse_interval("quarter")), recurring(parse_interval("P5Y"))
    ({'interval': 'month', 'interval_count': 3}, None)
    """
    if interval.months is not None:
        return _every("month", interval.months, _MOST_MONTHS)
    return _every("day", interval.days or 1, _MOST_DAYS)


def subscription_params(new: NewProviderSubscription) -> dict[str, Any]:
    params: dict[str, Any] = {
        "customer": new.customer_id,
        "items": [{"price_data": _free(new.product_id, new.currency, new.interval)}],
        "backdate_start_date": int(new.start.timestamp()),
        "proration_behavior": "none",
        "metadata": dict(new.metadata),
    }
    if new.trial_end is not None:
        params["trial_end"] = int(new.trial_end.timestamp())
    elif new.period_end is not None:
        params["billing_cycle_anchor"] = int(new.period_end.timestamp())
    if new.cancel_at is not None:
        params["cancel_at"] = int(new.cancel_at.timestamp())
    return params


def subscription_update_params(
    present: ProviderSubscription, wanted: SubscriptionState, currency: str, interval: Interval
) -> dict[str, Any]:
    """Everything that both sides share, so that repeating it changes nothing; "" unsets."""
    params: dict[str, Any] = {
        "pause_collection": {"behavior": "void"} if wanted.paused else "",
        "cancel_at": "" if wanted.cancel_at is None else int(wanted.cancel_at.timestamp()),
        "proration_behavior": "none",
    }
    if wanted.product_id != present.state.product_id:
        price_data = _free(wanted.product_id, currency, interval)
        params["items"] = [{"id": present.item_id, "price_data": price_data}]
    return params


def product(body: Json) -> ProviderProduct:
    return ProviderProduct(body["id"], body["active"], body.get("metadata") or {})


def price(body: Json) -> ProviderPrice:
    return ProviderPrice(body["id"], body["active"], body.get("metadata") or {})


def subscription(body: Json) -> ProviderSubscription:
    items = body["items"]["data"]
    [first, *_] = items
    is_over = body["status"] in {"canceled", "incomplete_expired"}
    state = SubscriptionState(
        product_id=reference(first["price"]["product"]) or "",
        paused=bool(body.get("pause_collection")),
        cancel_at=None if is_over else instant(body.get("cancel_at")),
    )
    return ProviderSubscription(
        id=body["id"],
        item_id=first["id"],
        ended_at=instant(body.get("ended_at") or body.get("canceled_at")) if is_over else None,
        state=state,
        bills=any(_costs(item["price"]) for item in items),
        metadata=body.get("metadata") or {},
    )


def _costs(body: Json) -> bool:
    return body["billing_scheme"] != "per_unit" or Decimal(str(body["unit_amount_decimal"] or 0)) != 0


def _free(product_id: str, currency: str, interval: Interval) -> dict[str, Any]:
    """The price of a mirror's item. Stripe must never come to an amount for what is billed here."""
    return {"currency": currency.lower(), "product": product_id, "unit_amount": 0, "recurring": recurring(interval)}


def _every(unit: str, count: int, most: int) -> dict[str, Any] | None:
    return {"interval": unit, "interval_count": count} if count <= most else None


def _form(given: Price, currency: str, *, recurs: bool) -> dict[str, Any]:
    """The amounts of a price, in the form in which Stripe multiplies to the same."""
    if given.minimum_amount or given.maximum_amount is not None or given.discount_percent:
        raise _Inexpressible("it has a minimum, a maximum or a discount")
    if not recurs and given.model is not PricingModel.FLAT:
        raise _Inexpressible("its period is longer than Stripe's longest")
    free, transform = given.free_units or Decimal(0), given.transform_quantity
    match given.model:
        case PricingModel.FLAT:
            return _per_unit(given.amount, currency)
        case PricingModel.PER_UNIT if free:
            if transform is not None:
                raise _Inexpressible("it has free units of a transformed quantity")
            beyond = {"up_to": "inf", **_amount("unit_amount_decimal", given.unit_price, currency)}
            tiers = [{"up_to": _whole(free), "unit_amount": 0}, beyond]
            return {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": tiers}
        case PricingModel.PER_UNIT if transform is None:
            return _per_unit(given.unit_price, currency)
        case PricingModel.PER_UNIT:
            return {**_per_unit(given.unit_price, currency), "transform_quantity": _transform(given)}
        case PricingModel.PACKAGE if not free and transform is None:
            size = {"divide_by": _whole(given.package_size), "round": "up"}
            return {**_per_unit(given.package_price, currency), "transform_quantity": size}
        case PricingModel.TIERED if not free and transform is None:
            return _tiered(given, currency)
    raise _Inexpressible(f"a {given.model} price with what comes before it")


def _tiered(given: Price, currency: str) -> dict[str, Any]:
    tiers = [
        {
            "up_to": "inf" if tier.up_to is None else _whole(tier.up_to),
            **_amount("unit_amount_decimal", tier.unit_price, currency),
            **(_amount("flat_amount_decimal", tier.flat_fee, currency) if tier.flat_fee else {}),
        }
        for tier in given.tiers
    ]
    return {"billing_scheme": "tiered", "tiers_mode": str(given.tier_mode), "tiers": tiers}


def _transform(given: Price) -> dict[str, Any]:
    transform = given.transform_quantity
    rounding = {Rounding.UP: "up", Rounding.DOWN: "down"}
    if transform is None or transform.divide_by is None or transform.precision or transform.round not in rounding:
        raise _Inexpressible("its quantity is transformed in a way that Stripe has not")
    return {"divide_by": _whole(transform.divide_by), "round": rounding[transform.round]}


def _per_unit(amount: Decimal | None, currency: str) -> dict[str, Any]:
    return _amount("unit_amount_decimal", amount, currency)


def _amount(name: str, amount: Decimal | None, currency: str) -> dict[str, Any]:
    """An amount in Stripe's minor units, with all of its decimals."""
    if not is_settled(currency):
        raise _Inexpressible(f"Stripe's unit of {currency.upper()} is not settled")
    minor = EXACT.scaleb(amount or Decimal(0), stripe_exponent(currency))
    text = canonical(minor)
    if len(text.partition(".")[2]) > _MOST_DECIMALS or minor > _LARGEST_MINOR:
        raise _Inexpressible("its amount has more digits than Stripe takes")
    return {name: text}


def _whole(number: Decimal | None) -> int:
    if number is None or number != int(number) or number < 1:
        raise _Inexpressible("a bound of it is no whole number")
    return int(number)
