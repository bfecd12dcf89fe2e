"""/v1/products: what is sold, by name."""

from integrations.stripe.sandbox import events, pagination, search
from integrations.stripe.sandbox.context import Context, given_or_none, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, refused
from integrations.stripe.sandbox.routing import operation, retrieves

FIELDS = "name active description metadata statement_descriptor unit_label url images shippable"
TEXTS = ("name", "description", "statement_descriptor", "unit_label", "url")

retrieves("/v1/products/{id}", "product")


def created(ctx: Context, params: Doc) -> Doc:
    ident = params.get("id") or new_id("prod", 14)
    if ctx.get(ident) is not None:
        raise refused(f"Product already exists: {ident}", "resource_already_exists", "id")
    product: Doc = {
        "id": ident,
        "object": "product",
        "active": True,
        "created": ctx.now,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": ctx.account.livemode,
        "marketing_features": [],
        "metadata": {},
        "name": "",
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "unit_label": None,
        "updated": ctx.now,
        "url": None,
    }
    _apply(product, params)
    ctx.add(product)
    events.emit(ctx, "product.created", product)
    return product


@operation("POST /v1/products", "product", f"id {FIELDS}")
def create(ctx: Context, params: Doc) -> Doc:
    return created(ctx, params)


@operation("POST /v1/products/{id}", "product", f"default_price {FIELDS}")
def update(ctx: Context, params: Doc, ident: str) -> Doc:
    product = ctx.load("product", ident)
    before = {**product, "metadata": dict(product["metadata"])}
    if "default_price" in params:
        product["default_price"] = ctx.load("price", params["default_price"], "default_price")["id"]
    _apply(product, params)
    product["updated"] = ctx.now
    ctx.save(product)
    events.emit(ctx, "product.updated", product, before)
    return product


@operation("DELETE /v1/products/{id}", "product")
def delete(ctx: Context, _params: Doc, ident: str) -> Doc:
    product = ctx.load("product", ident)
    if ctx.find("price", ("product", "eq", ident), limit=1):
        raise refused("This product cannot be deleted because it has one or more user-created prices.")
    events.emit(ctx, "product.deleted", product)
    return ctx.remove(product)


@operation("GET /v1/products", "product", "created active ids url")
def index(ctx: Context, params: Doc) -> Doc:
    filters = pagination.equals(params, "active", "url")
    if params.get("ids"):
        filters.append(("id", "in", params["ids"]))
    return pagination.page(ctx, params, "product", "/v1/products", filters)


@operation("GET /v1/products/search", "product", "query page")
def find(ctx: Context, params: Doc) -> Doc:
    found = search.search(ctx, "product", params.get("query", ""))
    return pagination.search_page(ctx, params, "/v1/products/search", found)


def _apply(product: Doc, params: Doc) -> None:
    for name in TEXTS:
        if name in params:
            product[name] = given_or_none(params, name)
    for name in ("active", "images", "shippable"):
        if name in params:
            product[name] = params[name] or ([] if name == "images" else params[name])
    merge_metadata(product, params.get("metadata"))
