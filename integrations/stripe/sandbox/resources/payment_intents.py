"""/v1/payment_intents: one-off payments of one's own; those of invoices and sessions are moved by their owners."""

from integrations.stripe.sandbox import pagination, search
from integrations.stripe.sandbox.context import Context, given_or_none, merge_metadata
from integrations.stripe.sandbox.errors import Doc, invalid, refused
from integrations.stripe.sandbox.money import check_charge, currency_of
from integrations.stripe.sandbox.resources import intents, payment_methods, payments
from integrations.stripe.sandbox.routing import operation, retrieves

KIND = intents.KIND
PATH = "/v1/payment_intents/{intent}"

retrieves(PATH, KIND)


@operation(
    "POST /v1/payment_intents", KIND,
    "amount currency customer payment_method confirm off_session metadata description receipt_email"
    " setup_future_usage automatic_payment_methods allowed_payment_method_types",
)  # fmt: skip
def create(ctx: Context, params: Doc) -> Doc:
    customer = ctx.load("customer", params["customer"], "customer")["id"] if "customer" in params else None
    if "card" not in params.get("allowed_payment_method_types", ["card"]):
        raise invalid("The sandbox knows cards only.", "allowed_payment_method_types")
    if params.get("off_session") and not params.get("confirm"):
        raise invalid("You can only set `off_session` when `confirm` is true.", "off_session")
    if params.get("confirm") and "payment_method" not in params:
        message = "You cannot confirm this PaymentIntent because it's missing a payment method."
        raise invalid(message, "payment_method", "payment_intent_unexpected_state")
    method = payment_methods.usable(ctx, params["payment_method"]) if "payment_method" in params else None
    given: Doc = {}
    merge_metadata(given, params.get("metadata"))
    intent = intents.created(
        ctx, params["amount"], currency_of(params["currency"]), customer,
        payment_method=method["id"] if method else None, description=params.get("description"),
        metadata=given.get("metadata"), receipt_email=params.get("receipt_email"),
        setup_future_usage=params.get("setup_future_usage"),
    )  # fmt: skip
    if method is not None:
        payments.check_owner(intent, method)
    if params.get("confirm") and method is not None:
        payments.confirmed(ctx, intent, method, off_session=_off_session(params))
    return intent


@operation(f"POST {PATH}", KIND, "amount description metadata receipt_email payment_method setup_future_usage")
def update(ctx: Context, params: Doc, ident: str) -> Doc:
    intent = ctx.load(KIND, ident)
    if intent["status"] not in intents.CONFIRMABLE and set(params) - {"metadata", "description", "expand"}:
        raise refused(
            f"This PaymentIntent could not be updated because it has a status of {intent['status']}.",
            "payment_intent_unexpected_state",
        )
    if "amount" in params:
        if intent["_owner"]:
            raise refused("The amount of a PaymentIntent of an invoice or session cannot be changed.", param="amount")
        check_charge(params["amount"], intent["currency"])
        intent["amount"] = params["amount"]
    for name in ("description", "receipt_email", "setup_future_usage"):
        if name in params:
            intent[name] = given_or_none(params, name)
    if "payment_method" in params:
        method = payment_methods.usable(ctx, params["payment_method"])
        payments.check_owner(intent, method)
        intent.update(payment_method=method["id"], status="requires_confirmation")
    merge_metadata(intent, params.get("metadata"))
    ctx.save(intent)
    return intent


@operation(f"POST {PATH}/confirm", KIND, "payment_method off_session setup_future_usage amount_to_confirm")
def confirm(ctx: Context, params: Doc, ident: str) -> Doc:
    intent = ctx.load(KIND, ident)
    if params.get("amount_to_confirm", intent["amount"]) != intent["amount"]:
        message = "The amount to confirm does not match the PaymentIntent's amount."
        raise refused(message, "amount_mismatch", "amount_to_confirm")
    chosen = params.get("payment_method") or intent["payment_method"]
    if chosen is None:
        message = (
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method."
        )
        raise refused(message, "payment_intent_unexpected_state")
    if "setup_future_usage" in params:
        intent["setup_future_usage"] = given_or_none(params, "setup_future_usage")
    method = payment_methods.usable(ctx, chosen)
    return payments.confirmed(ctx, intent, method, off_session=_off_session(params))


@operation(f"POST {PATH}/cancel", KIND, "cancellation_reason")
def cancel(ctx: Context, params: Doc, ident: str) -> Doc:
    intent = ctx.load(KIND, ident)
    if intent["_owner"]:
        raise refused("You cannot cancel the PaymentIntent of an invoice or session: void or expire its owner instead.")
    if intent["status"] not in intents.CONFIRMABLE:
        message = f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}."
        raise refused(message, "payment_intent_unexpected_state")
    intents.cancel(ctx, intent, params.get("cancellation_reason"))
    return intent


@operation("GET /v1/payment_intents", KIND, "created customer")
def index(ctx: Context, params: Doc) -> Doc:
    return pagination.page(ctx, params, KIND, "/v1/payment_intents", pagination.equals(params, "customer"))


@operation("GET /v1/payment_intents/search", KIND, "query page")
def find(ctx: Context, params: Doc) -> Doc:
    return pagination.search_page(
        ctx, params, "/v1/payment_intents/search", search.search(ctx, KIND, params.get("query", ""))
    )


def _off_session(params: Doc) -> bool:
    """true, or one of `one_off` and `recurring`."""
    return params.get("off_session", False) not in (False, "false")
