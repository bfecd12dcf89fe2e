"""/v1/prices: one-time and recurring prices per unit. Tiers are rated by Tallyhouse, so the sandbox has none."""

from decimal import Decimal

from integrations.stripe.sandbox import events, pagination
from integrations.stripe.sandbox.context import Context, given_or_none, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, invalid, refused
from integrations.stripe.sandbox.money import currency_of, plain
from integrations.stripe.sandbox.resources import products
from integrations.stripe.sandbox.routing import operation, retrieves

retrieves("/v1/prices/{price}", "price")


def created(ctx: Context, params: Doc, *, active: bool = True) -> Doc:
    """A price from `price_data` or the parameters of creating one; exactly one kind of unit amount."""
    given = [name for name in ("unit_amount", "unit_amount_decimal") if params.get(name) not in (None, "")]
    if len(given) != 1:
        raise invalid("You must specify exactly one of unit_amount and unit_amount_decimal.", "unit_amount")
    amount = Decimal(str(params[given[0]]))
    if amount < 0:
        raise invalid("Invalid unit amount: must be at least 0.", given[0], "parameter_invalid_integer")
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
        "billing_scheme": "per_unit",
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
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if "recurring" in params else "one_time",
        "unit_amount": int(amount) if amount == int(amount) else None,
        "unit_amount_decimal": plain(amount),
    }
    if "recurring" in params:
        recurring = params["recurring"]
        price["recurring"] = {
            "interval": recurring["interval"],
            "interval_count": recurring.get("interval_count", 1),
            "meter": None,
            "trial_period_days": None,
            "usage_type": "licensed",
        }
    merge_metadata(price, params.get("metadata"))
    ctx.add(price)
    events.emit(ctx, "price.created", price)
    return price


@operation(
    "POST /v1/prices", "price",
    "active currency lookup_key metadata nickname product product_data.name product_data.metadata product_data.id"
    " unit_amount unit_amount_decimal recurring.interval recurring.interval_count",
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


def _check_lookup_key(ctx: Context, key: str | None) -> None:
    if key and ctx.find("price", ("lookup_key", "eq", key), limit=1):
        raise refused(f"A price already uses that lookup key: {key[:80]}", param="lookup_key")
