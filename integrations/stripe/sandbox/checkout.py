"""A visitor at a Checkout session's page: submits a card, authenticates, and the session completes."""

from integrations.stripe.sandbox import events
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc, StripeError, refused
from integrations.stripe.sandbox.resources import customers, intents, payments, setup_intents


def submitted(ctx: Context, session: Doc, method: Doc, *, authenticated: bool = False) -> Doc:
    """Try the card; the intent tells how it went: `succeeded` completes the session, `requires_action` does not yet.

    Raises 402, with its effects kept, when the card is refused: the visitor may try another.
    """
    if session["status"] != "open":
        raise refused("This Checkout Session is no longer open.")
    _customer(ctx, session, method)
    if session["mode"] == "setup":
        intent = setup_intents.confirmed(
            ctx, ctx.load("setup_intent", session["setup_intent"]), method, authenticated=authenticated
        )
    else:
        intent = payments.confirmed(ctx, _intent(ctx, session), method, off_session=False, authenticated=authenticated)
    if intent["status"] == "succeeded":
        _completed(ctx, session, method)
    return intent


def of_intent(ctx: Context, intent: Doc) -> Doc | None:
    """The open session that an intent belongs to."""
    owner = ctx.get(intent["_owner"])
    return owner if owner and owner["object"] == "checkout.session" and owner["status"] == "open" else None


def authentication_failed(ctx: Context, intent: Doc, method: Doc) -> StripeError:
    if intent["object"] == "setup_intent":
        return setup_intents.authentication_failed(ctx, intent, method)
    return payments.authentication_failed(ctx, intent, method)


def _intent(ctx: Context, session: Doc) -> Doc:
    """A payment's intent is made at the first try, and shown on the session once that is complete."""
    if session["_intent"] is not None:
        return ctx.load("payment_intent", session["_intent"])
    data = session["_payment"]
    intent = intents.created(
        ctx, session["amount_total"], session["currency"], session["customer"],
        description=data.get("description"), metadata=data.get("metadata"), receipt_email=data.get("receipt_email"),
        setup_future_usage=data.get("setup_future_usage"), owner=session["id"],
    )  # fmt: skip
    session["_intent"] = intent["id"]
    ctx.save(session)
    return intent


def _customer(ctx: Context, session: Doc, method: Doc) -> None:
    """A session that asks for it gets a customer, made from what the visitor typed."""
    if session["customer"] is not None or session["customer_creation"] != "always":
        return
    billing = method["billing_details"]
    details = {"email": session["customer_email"] or billing["email"], "name": billing["name"]}
    customer = customers.create(ctx, {name: value for name, value in details.items() if value})
    session["customer"] = customer["id"]
    ctx.save(session)
    for ident in (session["setup_intent"], session["_intent"]):
        intent = ctx.get(ident)
        if intent is not None:
            intent["customer"] = customer["id"]
            ctx.save(intent)


def _completed(ctx: Context, session: Doc, method: Doc) -> None:
    billing = method["billing_details"]
    known = session["customer_details"] or {
        "address": None, "business_name": None, "email": None, "individual_name": None, "name": None, "phone": None,
        "tax_exempt": "none", "tax_ids": None,
    }  # fmt: skip
    session.update(
        status="complete",
        payment_intent=session["_intent"],
        payment_status="paid" if session["mode"] == "payment" else session["payment_status"],
        customer_details={
            **known, "email": known["email"] or billing["email"], "name": known["name"] or billing["name"],
        },
    )  # fmt: skip
    ctx.save(session)
    events.emit(ctx, "checkout.session.completed", session)
