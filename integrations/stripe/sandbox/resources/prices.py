"""/v1/prices: one-time and recurring prices, per unit, per package and in tiers. Only prices per unit are ever billed
here; the other forms are kept as they were given, and checked as Stripe checks them."""

from decimal import Decimal
from typing import Any

from integrations.stripe.sandbox import events, intervals, pagination, render, search
from integrations.stripe.sandbox.context import Context, given_or_none, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, invalid, refused
from integrations.stripe.sandbox.money import currency_of, plain
from integrations.stripe.sandbox.resources import products
from integrations.stripe.sandbox.routing import operation, retrieves

retrieves("/v1/prices/{price}", "price")


def created(ctx: Context, params: Doc, *, active: bool = True) -> Doc:
    """A price from `price_data` or the parameters of creating one; exactly one kind of unit amount, or tiers."""
    amount = None if params.get("billing_scheme") == "tiered" else _unit_amount(params)
    tiers = _tiers(params) if amount is None else None
    if ("product" in params) == ("product_data" in params):
        raise invalid("You must specify either `product` or `product_data`.", "product")
    product = (
        ctx.load("product", params["product"], "product")
        if "product" in params
        else products.created(ctx, params["product_data"])
    )
    price: Doc = {
        "id": new_id("price"),
        "object": "price",
        "active": active,
        "billing_scheme": "per_unit" if tiers is None else "tiered",
        "created": ctx.now,
        "currency": currency_of(params["currency"]),
        "custom_unit_amount": None,
        "livemode": ctx.account.livemode,
        "lookup_key": params.get("lookup_key"),
        "metadata": {},
        "nickname": params.get("nickname"),
        "product": product["id"],
        "recurring": None,
        "tax_behavior": "unspecified",
        "tiers_mode": params.get("tiers_mode"),
        "transform_quantity": params.get("transform_quantity"),
        "type": "recurring" if "recurring" in params else "one_time",
        "unit_amount": int(amount) if amount is not None and amount == int(amount) else None,
        "unit_amount_decimal": None if amount is None else plain(amount),
        "_tiers": tiers,
    }
    if "recurring" in params:
        recurring = params["recurring"]
        longest = intervals.LONGEST[recurring["interval"]]
        if not 1 <= recurring.get("interval_count", 1) <= longest:
            raise invalid("The billing interval must be at most three years.", "recurring[interval_count]")
        price["recurring"] = {
            "interval": recurring["interval"],
            "interval_count": recurring.get("interval_count", 1),
            "meter": None,
            "usage_type": "licensed",
        }
    merge_metadata(price, params.get("metadata"))
    ctx.add(price)
    events.emit(ctx, "price.created", price)
    return price


@operation(
    "POST /v1/prices", "price",
    "active currency lookup_key metadata nickname product product_data.name product_data.metadata product_data.id"
    " unit_amount unit_amount_decimal recurring.interval recurring.interval_count recurring.usage_type billing_scheme"
    " tiers tiers_mode transform_quantity",
)  # fmt: skip
def create(ctx: Context, params: Doc) -> Doc:
    _check_lookup_key(ctx, params.get("lookup_key"))
    return created(ctx, params, active=params.get("active", True))


@operation("POST /v1/prices/{price}", "price", "active lookup_key metadata nickname")
def update(ctx: Context, params: Doc, ident: str) -> Doc:
    price = ctx.load("price", ident)
    before = {**price, "metadata": dict(price["metadata"])}
    for name in ("active", "lookup_key", "nickname"):
        if name in params:
            price[name] = given_or_none(params, name)
    if params.get("lookup_key") and before["lookup_key"] != params["lookup_key"]:
        _check_lookup_key(ctx, params["lookup_key"])
    merge_metadata(price, params.get("metadata"))
    ctx.save(price)
    events.emit(ctx, "price.updated", price, before)
    return price


@operation("GET /v1/prices", "price", "created active currency product type lookup_keys")
def index(ctx: Context, params: Doc) -> Doc:
    filters = pagination.equals(params, "active", "currency", "product", "type")
    if params.get("lookup_keys"):
        filters.append(("lookup_key", "in", params["lookup_keys"]))
    return pagination.page(ctx, params, "price", "/v1/prices", filters)


@operation("GET /v1/prices/search", "price", "query page")
def find(ctx: Context, params: Doc) -> Doc:
    found = search.search(ctx, "price", params.get("query", ""))
    return pagination.search_page(ctx, params, "/v1/prices/search", found)


def _unit_amount(params: Doc) -> Decimal:
    given = [name for name in ("unit_amount", "unit_amount_decimal") if params.get(name) not in (None, "")]
    if len(given) != 1:
        raise invalid("You must specify exactly one of unit_amount and unit_amount_decimal.", "unit_amount")
    if "tiers" in params or "tiers_mode" in params:
        raise invalid("tiers and tiers_mode require `billing_scheme` to be tiered.", "tiers")
    amount = Decimal(str(params[given[0]]))
    if amount < 0:
        raise invalid("Invalid unit amount: must be at least 0.", given[0], "parameter_invalid_integer")
    divide_by = (params.get("transform_quantity") or {}).get("divide_by", 1)
    if divide_by < 1:
        raise invalid("Invalid divide_by: must be at least 1.", "transform_quantity[divide_by]")
    return amount


def _tiers(params: Doc) -> list[Doc]:
    """Bounds that rise to infinity, each tier with an amount."""
    given = params.get("tiers") or []
    if not given or "tiers_mode" not in params:
        raise invalid("tiers and tiers_mode are required for a tiered price.", "tiers", "parameter_missing")
    for name in ("unit_amount", "unit_amount_decimal", "transform_quantity"):
        if name in params:
            raise invalid(f"{name} cannot be combined with tiers.", name)
    if "recurring" not in params:
        raise invalid("Tiered prices are recurring.", "recurring", "parameter_missing")
    bounds = [tier["up_to"] for tier in given]
    rising = all(isinstance(bound, int) for bound in bounds[:-1]) and bounds[:-1] == sorted(set(bounds[:-1]))
    if bounds[-1] != "inf" or not rising:
        raise invalid("Tiers must rise and end with `inf`.", "tiers")
    return [_tier(tier, f"tiers[{number}]") for number, tier in enumerate(given)]


def _tier(given: Doc, at: str) -> Doc:
    tier: Doc = {"up_to": None if given["up_to"] == "inf" else given["up_to"]}
    for name in ("flat_amount", "unit_amount"):
        ways = [way for way in (name, f"{name}_decimal") if way in given]
        if len(ways) > 1:
            raise invalid(f"You may only specify one of {name} and {name}_decimal.", f"{at}[{name}]")
        amount = Decimal(str(given[ways[0]])) if ways else None
        tier[name] = int(amount) if amount is not None and amount == int(amount) else None
        tier[f"{name}_decimal"] = None if amount is None else plain(amount)
    if tier["flat_amount_decimal"] is None and tier["unit_amount_decimal"] is None:
        raise invalid("A tier needs a unit amount or a flat amount.", at, "parameter_missing")
    return tier


@render.includes("price", "tiers")
def _shown_tiers(_ctx: Context, price: Doc) -> Any:
    return render.ABSENT if price["_tiers"] is None else price["_tiers"]


def _check_lookup_key(ctx: Context, key: str | None) -> None:
    if key and ctx.find("price", ("lookup_key", "eq", key), limit=1):
        raise refused(f"A price already uses that lookup key: {key[:80]}", param="lookup_key")
