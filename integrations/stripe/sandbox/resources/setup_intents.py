"""/v1/setup_intents: saving a card. They are made by Checkout sessions, and confirmed on the session's page only."""

from typing import Any

from integrations.stripe.sandbox import events, pagination
from integrations.stripe.sandbox.context import Context, new_id
from integrations.stripe.sandbox.errors import Doc, StripeError
from integrations.stripe.sandbox.resources import payment_methods
from integrations.stripe.sandbox.routing import operation, retrieves

KIND = "setup_intent"

retrieves("/v1/setup_intents/{intent}", KIND)


def created(ctx: Context, owner: str, customer: str | None, description: str | None, metadata: Doc) -> Doc:
    """`owner` is the id of the session that it belongs to."""
    ident = new_id("seti")
    intent = ctx.add(
        {
            "id": ident,
            "object": KIND,
            "application": None,
            "automatic_payment_methods": None,
            "cancellation_reason": None,
            "client_secret": f"{ident}_secret_{new_id('', 24)[1:]}",
            "created": ctx.now,
            "customer": customer,
            "customer_account": None,
            "description": description,
            "flow_directions": None,
            "last_setup_error": None,
            "latest_attempt": None,
            "livemode": ctx.account.livemode,
            "mandate": None,
            "metadata": metadata,
            "next_action": None,
            "on_behalf_of": None,
            "payment_method": None,
            "payment_method_configuration_details": None,
            "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
            "payment_method_types": ["card"],
            "single_use_mandate": None,
            "status": "requires_payment_method",
            "usage": "off_session",
            "_owner": owner,
        }
    )
    events.emit(ctx, "setup_intent.created", intent)
    return intent


def confirmed(ctx: Context, intent: Doc, method: Doc, *, authenticated: bool = False) -> Doc:
    """Try to save the card. The intent is `succeeded`, or `requires_action` when the cardholder must authenticate.

    Raises 402, with its effects kept, for a card that cannot be saved.
    """
    card = payment_methods.card_of(method)
    if card.saving is not None:
        raise failed(ctx, intent, method, payment_methods.declined(card.saving))
    if card.authenticates and not authenticated:
        url = f"{ctx.base_url}/authenticate/{intent['id']}"
        _move(
            ctx, intent, "setup_intent.requires_action", status="requires_action", payment_method=method["id"],
            next_action={"type": "redirect_to_url", "redirect_to_url": {"return_url": None, "url": url}},
        )  # fmt: skip
        return intent
    customer = ctx.get(intent["customer"])
    if customer is not None:
        payment_methods.attached(ctx, method, customer, authenticated=authenticated)
    _move(
        ctx, intent, "setup_intent.succeeded",
        status="succeeded", payment_method=method["id"], last_setup_error=None, next_action=None,
    )  # fmt: skip
    return intent


def failed(ctx: Context, intent: Doc, method: Doc, error: StripeError) -> StripeError:
    """The intent goes back to needing a card; the error to raise, which names the intent."""
    problem = {**error.error, "payment_method": {k: v for k, v in method.items() if not k.startswith("_")}}
    _move(
        ctx, intent, "setup_intent.setup_failed",
        status="requires_payment_method", payment_method=None, next_action=None, last_setup_error=problem,
    )  # fmt: skip
    error.kept = True
    return error


def authentication_failed(ctx: Context, intent: Doc, method: Doc) -> StripeError:
    message = (
        "We are unable to authenticate your payment method. Please choose a different payment method and try again."
    )
    error = StripeError(402, message, kind="card_error", code="setup_intent_authentication_failure")
    return failed(ctx, intent, method, error)


def canceled(ctx: Context, intent: Doc) -> None:
    if intent["status"] not in ("succeeded", "canceled"):
        _move(ctx, intent, "setup_intent.canceled", status="canceled", next_action=None)


def _move(ctx: Context, intent: Doc, event: str, **changes: Any) -> None:
    intent.update(changes)
    ctx.save(intent)
    events.emit(ctx, event, intent)


@operation("GET /v1/setup_intents", KIND, "created customer payment_method")
def index(ctx: Context, params: Doc) -> Doc:
    filters = pagination.equals(params, "customer", "payment_method")
    return pagination.page(ctx, params, KIND, "/v1/setup_intents", filters)
