"""/v1/checkout/sessions: a page that saves a card (setup) or takes one payment (payment)."""

from typing import Any

from integrations.stripe.sandbox import events, pagination, render
from integrations.stripe.sandbox.context import Context, listing, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, invalid, refused
from integrations.stripe.sandbox.loopback import is_web_address
from integrations.stripe.sandbox.money import check_charge, currency_of
from integrations.stripe.sandbox.resources import intents, prices, setup_intents
from integrations.stripe.sandbox.routing import operation, retrieves
from integrations.stripe.sandbox.worker import job

KIND = "checkout.session"
PATH = "/v1/checkout/sessions"
# 30 minutes, with a minute's grace for a caller whose clock is a little behind.
SHORTEST, LONGEST = 29 * 60, 24 * 3600
SERVED = (
    "mode customer customer_email customer_creation currency success_url cancel_url metadata client_reference_id"
    " expires_at setup_intent_data.metadata setup_intent_data.description payment_intent_data.metadata"
    " payment_intent_data.description payment_intent_data.setup_future_usage payment_intent_data.receipt_email"
    " line_items.price line_items.quantity line_items.metadata line_items.price_data.currency"
    " line_items.price_data.product line_items.price_data.product_data.name"
    " line_items.price_data.product_data.description line_items.price_data.product_data.metadata"
    " line_items.price_data.unit_amount line_items.price_data.unit_amount_decimal"
    " allowed_payment_method_types ui_mode locale submit_type billing_address_collection"
)

retrieves(f"{PATH}/{{session}}", KIND)


@operation(f"POST {PATH}", KIND, SERVED)
def create(ctx: Context, params: Doc) -> Doc:
    mode = params.get("mode")
    if mode is None:
        raise invalid("Missing required param: mode.", "mode", "parameter_missing")
    if mode == "subscription":
        raise invalid("The sandbox serves the modes setup and payment.", "mode")
    _check(ctx, params, mode)
    customer = ctx.load("customer", params["customer"], "customer") if "customer" in params else None
    items = [_item(ctx, given, f"line_items[{n}]") for n, given in enumerate(params.get("line_items", []))]
    currency = items[0]["currency"] if items else _currency(params)
    if any(item["currency"] != currency for item in items):
        raise invalid("All line items must have the same currency.", "line_items")
    total = sum(item["amount_total"] for item in items)
    if mode == "payment":
        check_charge(total, str(currency))
    ident = new_id(f"cs_{ctx.mode}", 58)
    session: Doc = {
        "id": ident,
        "object": KIND,
        "adaptive_pricing": None,
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": total if items else None,
        "amount_total": total if items else None,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": params.get("billing_address_collection"),
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "client_secret": None,
        "collected_information": None,
        "consent": None,
        "consent_collection": None,
        "created": ctx.now,
        "currency": currency,
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": {
            "after_submit": None, "shipping_address": None, "submit": None, "terms_of_service_acceptance": None,
        },
        "customer": customer["id"] if customer else None,
        "customer_account": None,
        "customer_creation": None if customer else params.get("customer_creation", "if_required"),
        "customer_details": _details(customer, params.get("customer_email")),
        "customer_email": params.get("customer_email"),
        "discounts": None,
        "expires_at": params.get("expires_at", ctx.now + LONGEST),
        "invoice": None,
        "invoice_creation": None,
        "livemode": ctx.account.livemode,
        "locale": params.get("locale"),
        "metadata": {},
        "mode": mode,
        "origin_context": None,
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": "always" if mode == "setup" else "if_required",
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "payment_status": "no_payment_required" if mode == "setup" else "unpaid",
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": params.get("submit_type"),
        "subscription": None,
        "success_url": params["success_url"],
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0} if items else None,
        "ui_mode": "hosted_page",
        "url": None,
        "wallet_options": None,
        "_items": items,
        "_intent": None,
        "_payment": params.get("payment_intent_data", {}),
    }  # fmt: skip
    merge_metadata(session, params.get("metadata"))
    if mode == "setup":
        data = params.get("setup_intent_data", {})
        intent = setup_intents.created(
            ctx, ident, session["customer"], data.get("description"), data.get("metadata", {})
        )
        session["setup_intent"] = intent["id"]
    ctx.add(session)
    ctx.schedule("checkout.session.expire", session["id"], session["expires_at"])
    return session


@operation(f"POST {PATH}/{{session}}/expire", KIND)
def expire(ctx: Context, _params: Doc, ident: str) -> Doc:
    session = ctx.load(KIND, ident)
    if session["status"] != "open":
        message = (
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of '
            f"`{session['status']}`."
        )
        raise refused(message)
    _expire(ctx, session)
    return session


@operation(f"POST {PATH}/{{session}}", KIND, "metadata")
def update(ctx: Context, params: Doc, ident: str) -> Doc:
    session = ctx.load(KIND, ident)
    merge_metadata(session, params.get("metadata"))
    ctx.save(session)
    return session


@operation(f"GET {PATH}", KIND, "created customer payment_intent status")
def index(ctx: Context, params: Doc) -> Doc:
    filters = pagination.equals(params, "customer", "payment_intent", "status")
    return pagination.page(ctx, params, KIND, PATH, filters)


@operation(f"GET {PATH}/{{session}}/line_items", "item")
def line_items(ctx: Context, params: Doc, ident: str) -> Doc:
    session = ctx.load(KIND, ident)
    limit = pagination.limit_of(params)
    return listing(session["_items"][:limit], f"{PATH}/{ident}/line_items", len(session["_items"]) > limit)


@job("checkout.session.expire")
def _expire_later(ctx: Context, ident: str) -> None:
    session = ctx.load(KIND, ident)
    if session["status"] == "open":
        _expire(ctx, session)


def _expire(ctx: Context, session: Doc) -> None:
    session["status"] = "expired"
    ctx.save(session)
    events.emit(ctx, "checkout.session.expired", session)
    if (setup := ctx.get(session["setup_intent"])) is not None:
        setup_intents.canceled(ctx, setup)
    if (payment := ctx.get(session["_intent"])) is not None:
        intents.cancel(ctx, payment, "expired")


def _check(ctx: Context, params: Doc, mode: str) -> None:
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise invalid("The sandbox serves hosted pages only.", "ui_mode")
    if "success_url" not in params:
        raise invalid("Missing required param: success_url.", "success_url", "parameter_missing")
    for name in ("success_url", "cancel_url"):
        if name in params and not is_web_address(params[name]):
            message = "Not a valid URL: an explicit scheme (such as https) must be provided."
            raise invalid(message, name, "url_invalid")
    if "customer" in params and ("customer_email" in params or "customer_creation" in params):
        name = "customer_email" if "customer_email" in params else "customer_creation"
        raise invalid(f"You may only specify one of these parameters: customer, {name}.", name)
    if (mode == "payment") != bool(params.get("line_items")):
        message = "`line_items` is required in payment mode and not allowed in setup mode."
        raise invalid(message, "line_items", "parameter_missing" if mode == "payment" else None)
    other = "setup_intent_data" if mode == "payment" else "payment_intent_data"
    if other in params:
        raise invalid(f"You can not pass `{other}` in `{mode}` mode.", other)
    if mode == "setup" and not params.get("currency") and not params.get("allowed_payment_method_types"):
        message = "You must pass `currency` in `setup` mode when `allowed_payment_method_types` is not given."
        raise invalid(message, "currency", "parameter_missing")
    if "card" not in params.get("allowed_payment_method_types", ["card"]):
        raise invalid("The sandbox knows cards only.", "allowed_payment_method_types")
    if not SHORTEST <= params.get("expires_at", ctx.now + LONGEST) - ctx.now <= LONGEST:
        raise invalid("The `expires_at` timestamp must be 30 minutes to 24 hours from now.", "expires_at")


def _currency(params: Doc) -> str | None:
    return currency_of(params["currency"]) if "currency" in params else None


def _item(ctx: Context, given: dict[str, Any], at: str) -> Doc:
    if ("price" in given) == ("price_data" in given):
        raise invalid("You must specify exactly one of price and price_data.", f"{at}[price]")
    quantity = given.get("quantity", 1)
    if quantity < 1:
        raise invalid("Invalid quantity: must be at least 1.", f"{at}[quantity]", "parameter_invalid_integer")
    if "price" in given:
        price = ctx.load("price", given["price"], f"{at}[price]")
    else:
        price = prices.created(ctx, given["price_data"], active=False)
    if price["type"] != "one_time" or price["unit_amount"] is None:
        raise invalid("The price must be one-time and in whole minor units.", f"{at}[price]")
    amount = price["unit_amount"] * quantity
    return {
        "id": new_id("li"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": ctx.load("product", price["product"])["name"],
        "metadata": given.get("metadata", {}),
        "price": render.show(ctx, price),
        "quantity": quantity,
    }


def _details(customer: Doc | None, email: str | None) -> Doc | None:
    if customer is None and email is None:
        return None
    known = customer or {"address": None, "name": None, "phone": None, "tax_exempt": "none"}
    return {
        "address": known["address"],
        "business_name": None,
        "email": email or known.get("email"),
        "individual_name": None,
        "name": known["name"],
        "phone": known["phone"],
        "tax_exempt": known["tax_exempt"],
        "tax_ids": None,
    }


@render.fills(KIND)
def _fill(ctx: Context, session: Doc, shown: Doc) -> None:
    """The page's address is there while the session is open."""
    if session["status"] == "open":
        shown["url"] = f"{ctx.base_url}/pay/c/{session['id']}"


@render.includes(KIND, "line_items")
def _line_items(_ctx: Context, session: Doc) -> Doc:
    items = session["_items"]
    return listing(items[:10], f"{PATH}/{session['id']}/line_items", len(items) > 10)
