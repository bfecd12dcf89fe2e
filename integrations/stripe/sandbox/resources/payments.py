"""Charging a PaymentIntent: success, decline, or a cardholder who must authenticate first."""

from integrations.stripe.sandbox import cards, faults, render
from integrations.stripe.sandbox.cards import Decline
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc, StripeError, invalid, refused
from integrations.stripe.sandbox.resources import charges, intents, payment_methods, settlement


def confirmed(
    ctx: Context,
    intent: Doc,
    method: Doc,
    *,
    off_session: bool,
    authenticated: bool = False,
    automatic: bool = False,
    may_wait: bool = False,
) -> Doc:
    """Charge `method`. The intent is then `succeeded`, or `requires_action` with a page to authenticate on.

    Off session nobody can authenticate: a card that asks for it is declined, unless the caller can wait for the
    cardholder (`may_wait`, invoices). `automatic` marks an attempt of the collection schedule.
    Raises 402, with its effects kept, for a decline; 400 for an intent or card that cannot be used.
    """
    if intent["status"] not in intents.CONFIRMABLE:
        message = (
            f"You cannot confirm this PaymentIntent because it has a status of {intent['status']}. Only a "
            "PaymentIntent with one of the following statuses may be confirmed: " + ", ".join(intents.CONFIRMABLE) + "."
        )
        raise refused(message, "payment_intent_unexpected_state")
    check_owner(intent, method)
    planned = _planned(ctx, intent)
    card = payment_methods.card_of(method)
    asks = not authenticated and (
        card.authenticates == "always" or (card.authenticates == "setup" and not method["_authenticated"])
    )
    if asks and not planned and not card.charging and (may_wait or not off_session):
        return _wait_for_cardholder(ctx, intent, method)
    decline = planned or card.charging or (cards.AUTHENTICATE if asks else None)
    charge = charges.created(ctx, intent, method, decline, authenticated=authenticated)
    if decline is not None:
        raise _declined(ctx, intent, method, charge, decline, automatic=automatic)
    intents.move(
        ctx, intent, "payment_intent.succeeded",
        status="succeeded", amount_received=intent["amount"], latest_charge=charge["id"], payment_method=method["id"],
        last_payment_error=None, next_action=None,
    )  # fmt: skip
    _keep_card(ctx, intent, method, authenticated=authenticated)
    if card.disputed:
        ctx.schedule("dispute.open", charge["id"], ctx.time)
    settlement.credited(ctx, intent)
    return intent


def authentication_failed(ctx: Context, intent: Doc, method: Doc) -> StripeError:
    """The cardholder gave up or failed: the error to raise, with the intent back at needing a card."""
    message = (
        "We are unable to authenticate your payment method. Please choose a different payment method and try again."
    )
    error = StripeError(
        402, message, kind="card_error", code="payment_intent_authentication_failure", kept=True,
        payment_method=render.show(ctx, method),
    )  # fmt: skip
    return _failed(ctx, intent, error, None, automatic=False)


def check_owner(intent: Doc, method: Doc) -> None:
    if method["customer"] is not None and method["customer"] != intent["customer"]:
        message = (
            "The provided PaymentMethod cannot be used with this PaymentIntent: it belongs to another Customer. Please "
            "include the Customer in the `customer` parameter on the PaymentIntent."
        )
        raise invalid(message, "payment_method")
    if method["customer"] is None and method.get("_used"):
        raise refused("The provided PaymentMethod was used or detached before. It may not be used again.")


def _planned(ctx: Context, intent: Doc) -> Decline | None:
    fault = faults.take(
        ctx.db, ctx.account.id, "charge",
        customer=intent["customer"], method=ctx.cause.method, path=ctx.cause.path, key=ctx.cause.idempotency_key,
    )  # fmt: skip
    return None if fault is None else cards.DECLINES.get(fault.get("decline_code", ""), cards.GENERIC)


def _wait_for_cardholder(ctx: Context, intent: Doc, method: Doc) -> Doc:
    url = f"{ctx.base_url}/authenticate/{intent['id']}"
    intents.move(
        ctx, intent, "payment_intent.requires_action",
        status="requires_action", payment_method=method["id"], last_payment_error=None,
        next_action={"type": "redirect_to_url", "redirect_to_url": {"return_url": None, "url": url}},
    )  # fmt: skip
    settlement.action_needed(ctx, intent)
    return intent


def _declined(ctx: Context, intent: Doc, method: Doc, charge: Doc, decline: Decline, *, automatic: bool) -> StripeError:
    error = payment_methods.declined(decline, charge=charge["id"], payment_method=render.show(ctx, method))
    return _failed(ctx, intent, error, charge["id"], automatic=automatic)


def _failed(ctx: Context, intent: Doc, error: StripeError, charge: str | None, *, automatic: bool) -> StripeError:
    intents.move(
        ctx, intent, "payment_intent.payment_failed",
        status="requires_payment_method", payment_method=None, latest_charge=charge or intent["latest_charge"],
        last_payment_error=dict(error.error), next_action=None,
    )  # fmt: skip
    settlement.attempt_failed(ctx, intent, automatic=automatic)
    error.error["payment_intent"] = render.show(ctx, intent)
    error.kept = True
    return error


def _keep_card(ctx: Context, intent: Doc, method: Doc, *, authenticated: bool) -> None:
    """Save the card when the intent asked for it; a card that is not saved can be used once."""
    if method["customer"] is not None:
        return
    customer = ctx.get(intent["customer"])
    if customer is not None and intent["setup_future_usage"]:
        payment_methods.attached(ctx, method, customer, authenticated=authenticated)
    else:
        method["_used"] = True
        ctx.save(method)
