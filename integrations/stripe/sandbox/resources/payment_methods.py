"""/v1/payment_methods: cards, made from Stripe's test ids or by the pages, attached to and detached from customers."""

from datetime import UTC, datetime
from typing import Any

from integrations.stripe.sandbox import cards, events, pagination
from integrations.stripe.sandbox.cards import Card, Decline
from integrations.stripe.sandbox.context import Context, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, StripeError, invalid, missing, refused
from integrations.stripe.sandbox.routing import operation

KIND = "payment_method"
EMPTY_ADDRESS = {"city": None, "country": None, "line1": None, "line2": None, "postal_code": None, "state": None}


def created(ctx: Context, card: Card, exp_month: int | None = None, exp_year: int | None = None, **billing: Any) -> Doc:
    """A new PaymentMethod. Only brand, last four digits and the test card's name are kept."""
    year = datetime.fromtimestamp(ctx.now, UTC).year
    return ctx.add(
        {
            "id": new_id("pm"),
            "object": KIND,
            "allow_redisplay": "unspecified",
            "billing_details": {
                "address": dict(EMPTY_ADDRESS), "email": None, "name": None, "phone": None, "tax_id": None, **billing,
            },
            "card": {
                "brand": card.brand,
                "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
                "country": "US",
                "display_brand": card.brand,
                "exp_month": exp_month or 12,
                "exp_year": exp_year or year + 3,
                "fingerprint": card.fingerprint,
                "funding": card.funding,
                "generated_from": None,
                "last4": card.last4,
                "networks": {"available": [card.brand], "preferred": None},
                "regulated_status": "unregulated",
                "three_d_secure_usage": {"supported": True},
                "wallet": None,
            },
            "created": ctx.now,
            "customer": None,
            "customer_account": None,
            "livemode": ctx.account.livemode,
            "metadata": {},
            "type": "card",
            "_card": card.name,
            "_authenticated": False,
        }
    )  # fmt: skip


def card_of(method: Doc) -> Card:
    return cards.BY_NAME[method["_card"]]


def usable(ctx: Context, ident: str, param: str = "payment_method") -> Doc:
    """The PaymentMethod with this id; a test id such as `pm_card_visa` makes a new one each time."""
    card = cards.by_token(ident)
    if card is not None:
        return created(ctx, card)
    return ctx.load(KIND, ident, param)


def declined(decline: Decline, **details: Any) -> StripeError:
    return StripeError(402, decline.message, kind="card_error", **decline.details(), **details)


def attached(ctx: Context, method: Doc, customer: Doc, *, authenticated: bool = False) -> Doc:
    """Save the card for the customer. Raises 402 for a card that cannot be saved."""
    if method["customer"] == customer["id"]:
        return method
    if method["customer"] is not None:
        message = "The payment method you provided has already been attached to a customer."
        raise refused(message, "payment_method_unexpected_state")
    if method.get("_used"):
        message = (
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, or was "
            "detached from a Customer. It may not be used again."
        )
        raise refused(message)
    saving = card_of(method).saving
    if saving is not None:
        raise declined(saving)
    method["customer"] = customer["id"]
    method["_authenticated"] = authenticated
    ctx.save(method)
    events.emit(ctx, "payment_method.attached", method)
    return method


def detached(ctx: Context, method: Doc) -> Doc:
    """Detached for good, and no longer anybody's default."""
    before = dict(method)
    customer = ctx.get(method["customer"])
    method["customer"], method["_used"] = None, True
    ctx.save(method)
    events.emit(ctx, "payment_method.detached", method, before)
    if customer and customer["invoice_settings"]["default_payment_method"] == method["id"]:
        old = dict(customer)
        customer["invoice_settings"] = {**customer["invoice_settings"], "default_payment_method": None}
        ctx.save(customer)
        events.emit(ctx, "customer.updated", customer, old)
    return method


@operation("POST /v1/payment_methods", KIND, "type card.token billing_details metadata allow_redisplay")
def create(ctx: Context, params: Doc) -> Doc:
    if params.get("type", "card") != "card":
        raise invalid("The sandbox knows cards only.", "type")
    token = params.get("card", {}).get("token", "")
    card = cards.by_token("pm_card_" + token.removeprefix("tok_"))
    if not token:
        raise invalid("Missing required param: card[token].", "card[token]", "parameter_missing")
    if card is None:
        raise missing("token", token, "card[token]", 400)
    given = params.get("billing_details", {})
    method = created(ctx, card, **{name: value or None for name, value in given.items() if name != "address"})
    if given.get("address"):
        method["billing_details"]["address"] = {**EMPTY_ADDRESS, **given["address"]}
    method["allow_redisplay"] = params.get("allow_redisplay", "unspecified")
    merge_metadata(method, params.get("metadata"))
    ctx.save(method)
    return method


@operation("GET /v1/payment_methods/{payment_method}", KIND)
def retrieve(ctx: Context, _params: Doc, ident: str) -> Doc:
    return ctx.load(KIND, ident)


@operation("POST /v1/payment_methods/{payment_method}", KIND, "metadata billing_details card.exp_month card.exp_year")
def update(ctx: Context, params: Doc, ident: str) -> Doc:
    method = ctx.load(KIND, ident)
    if method["customer"] is None:
        raise refused("You must save this PaymentMethod to a customer before you can update it.")
    before = {**method, "card": dict(method["card"]), "billing_details": dict(method["billing_details"])}
    merge_metadata(method, params.get("metadata"))
    method["card"] = {**method["card"], **params.get("card", {})}
    method["billing_details"] = {**method["billing_details"], **params.get("billing_details", {})}
    ctx.save(method)
    events.emit(ctx, "payment_method.updated", method, before)
    return method


@operation("POST /v1/payment_methods/{payment_method}/attach", KIND, "customer")
def attach(ctx: Context, params: Doc, ident: str) -> Doc:
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = ctx.load("customer", params["customer"], "customer")
    card = cards.by_token(ident)
    method = created(ctx, card) if card else ctx.load(KIND, ident)
    return attached(ctx, method, customer)


@operation("POST /v1/payment_methods/{payment_method}/detach", KIND)
def detach(ctx: Context, _params: Doc, ident: str) -> Doc:
    method = ctx.load(KIND, ident)
    if method["customer"] is None:
        message = "The payment method you provided is not attached to a customer so detachment is impossible."
        raise refused(message, "payment_method_unexpected_state")
    return detached(ctx, method)


@operation("GET /v1/payment_methods", KIND, "customer type")
def index(ctx: Context, params: Doc) -> Doc:
    return pagination.page(ctx, params, KIND, "/v1/payment_methods", pagination.equals(params, "customer", "type"))


@operation("GET /v1/customers/{customer}/payment_methods", KIND, "type")
def of_customer(ctx: Context, params: Doc, customer_id: str) -> Doc:
    ctx.load("customer", customer_id)
    filters = [("customer", "eq", customer_id), *pagination.equals(params, "type")]
    return pagination.page(ctx, params, KIND, f"/v1/customers/{customer_id}/payment_methods", filters)


@operation("GET /v1/customers/{customer}/payment_methods/{payment_method}", KIND)
def one_of_customer(ctx: Context, _params: Doc, customer_id: str, ident: str) -> Doc:
    method = ctx.load(KIND, ident)
    if method["customer"] != customer_id:
        raise missing(KIND, ident)
    return method
