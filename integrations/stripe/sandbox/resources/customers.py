"""/v1/customers: create, retrieve, update, delete, list and search."""

from typing import Any

from integrations.stripe.sandbox import events, pagination, search
from integrations.stripe.sandbox.bound import CLOCK
from integrations.stripe.sandbox.context import ALPHABET, Context, given_or_none, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, invalid, refused
from integrations.stripe.sandbox.resources import balances, payment_methods, subscriptions
from integrations.stripe.sandbox.routing import operation, retrieves

TEXTS = ("description", "email", "name", "phone")
FIELDS = (
    "address balance business_name description email individual_name invoice_prefix invoice_settings metadata name"
    " next_invoice_sequence payment_method phone preferred_locales shipping tax_exempt"
)
ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
PREFIX_LENGTH = 8
MOST_PER_CLOCK = 3

retrieves("/v1/customers/{customer}", "customer", deleted=True)


@operation("POST /v1/customers", "customer", f"test_clock {FIELDS}")
def create(ctx: Context, params: Doc) -> Doc:
    ident = new_id("cus", 14)
    clock = params.get("test_clock")
    if clock is not None:
        ctx.load(CLOCK, clock, "test_clock")
        if ctx.count("customer", ("test_clock", "eq", clock)) >= MOST_PER_CLOCK:
            raise refused(f"A test clock holds at most {MOST_PER_CLOCK} customers.", param="test_clock")
    customer: Doc = {
        "id": ident,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": ctx.now,
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": "".join(c for c in new_id("", 40).upper() if c in ALPHABET)[:PREFIX_LENGTH],
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": ctx.account.livemode,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": clock,
        "_balances": {},
    }
    ctx.add(customer)
    method, balance = params.pop("payment_method", None), params.pop("balance", 0)
    _apply(ctx, customer, params)
    ctx.save(customer)
    events.emit(ctx, "customer.created", customer)
    if balance:
        balances.change(ctx, customer, balance, "usd", "initial")
    if method is not None:
        payment_methods.attached(ctx, payment_methods.usable(ctx, method), customer)
    return customer


@operation("POST /v1/customers/{customer}", "customer", FIELDS.replace("payment_method ", ""))
def update(ctx: Context, params: Doc, customer_id: str) -> Doc:
    customer = ctx.load("customer", customer_id)
    before = {**customer, "invoice_settings": dict(customer["invoice_settings"])}
    _apply(ctx, customer, params)
    ctx.save(customer)
    events.emit(ctx, "customer.updated", customer, before)
    return ctx.load("customer", customer_id)


@operation("DELETE /v1/customers/{customer}", "customer")
def delete(ctx: Context, _params: Doc, customer_id: str) -> Doc:
    customer = ctx.load("customer", customer_id)
    for method in ctx.find("payment_method", ("customer", "eq", customer_id)):
        payment_methods.detached(ctx, method)
    for subscription in ctx.find("subscription", ("customer", "eq", customer_id)):
        subscriptions.canceled(ctx, subscription)
    customer = ctx.load("customer", customer_id)
    events.emit(ctx, "customer.deleted", customer)
    return ctx.remove(customer)


@operation("GET /v1/customers", "customer", "created email test_clock")
def index(ctx: Context, params: Doc) -> Doc:
    filters = [*pagination.equals(params, "email"), pagination.of_clock(params)]
    return pagination.page(ctx, params, "customer", "/v1/customers", filters)


@operation("GET /v1/customers/search", "customer", "query page")
def find(ctx: Context, params: Doc) -> Doc:
    return pagination.search_page(
        ctx, params, "/v1/customers/search", search.search(ctx, "customer", params.get("query", ""))
    )


def _apply(ctx: Context, customer: Doc, params: Doc) -> None:
    for name in (*TEXTS, "business_name", "individual_name"):
        if name in params:
            customer[name] = given_or_none(params, name)
            if customer[name] is None and name not in TEXTS:
                del customer[name]
    if customer["email"] and "@" not in customer["email"]:
        raise invalid(f"Invalid email address: {customer['email'][:80]}", "email", "email_invalid")
    if "address" in params:
        customer["address"] = address(params["address"])
    if "shipping" in params:
        given = params["shipping"] or None
        customer["shipping"] = given and {"phone": None, **given, "address": address(given["address"])}
    if "preferred_locales" in params:
        customer["preferred_locales"] = params["preferred_locales"]
    if "tax_exempt" in params:
        customer["tax_exempt"] = params["tax_exempt"] or "none"
    _numbering(customer, params)
    merge_metadata(customer, params.get("metadata"))
    _settings(ctx, customer, params.get("invoice_settings", {}))
    if "balance" in params:
        currency = customer["currency"] or "usd"
        delta = params["balance"] - balances.balance_of(customer, currency)
        if delta:
            balances.change(ctx, customer, delta, currency, "adjustment")


def _numbering(customer: Doc, params: Doc) -> None:
    if "invoice_prefix" in params:
        prefix = params["invoice_prefix"]
        if not (3 <= len(prefix) <= 12 and prefix.isalnum() and prefix.isascii() and prefix == prefix.upper()):
            raise invalid("Invoice prefixes are 3 to 12 uppercase letters or numbers.", "invoice_prefix")
        customer["invoice_prefix"] = prefix
    if "next_invoice_sequence" in params:
        if params["next_invoice_sequence"] < customer["next_invoice_sequence"]:
            raise invalid("The next invoice sequence cannot go backwards.", "next_invoice_sequence")
        customer["next_invoice_sequence"] = params["next_invoice_sequence"]


def _settings(ctx: Context, customer: Doc, given: dict[str, Any]) -> None:
    settings = dict(customer["invoice_settings"])
    if "default_payment_method" in given:
        method = given_or_none(given, "default_payment_method")
        if method is not None:
            found = ctx.load("payment_method", method, "invoice_settings[default_payment_method]")
            if found["customer"] != customer["id"]:
                message = (
                    f"The customer does not have a payment method with the ID {method}. The payment method must be "
                    "attached to the customer."
                )
                raise invalid(message, "invoice_settings[default_payment_method]", "resource_missing")
        settings["default_payment_method"] = method
    if "footer" in given:
        settings["footer"] = given_or_none(given, "footer")
    if "custom_fields" in given:
        settings["custom_fields"] = given["custom_fields"] or None
    if "rendering_options" in given:
        options = given["rendering_options"] or None
        settings["rendering_options"] = options and {"amount_tax_display": None, "template": None, **options}
    customer["invoice_settings"] = settings


def address(given: Any) -> Doc | None:
    return None if not given else {name: given.get(name) or None for name in ADDRESS}
