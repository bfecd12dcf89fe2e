"""PaymentIntents as objects: making, moving and cancelling them. Charging is in payments.py."""

from typing import Any

from integrations.stripe.sandbox import events, money
from integrations.stripe.sandbox.context import Context, new_id
from integrations.stripe.sandbox.errors import Doc

KIND = "payment_intent"
CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")


def created(
    ctx: Context,
    amount: int,
    currency: str,
    customer: str | None,
    *,
    payment_method: str | None = None,
    description: str | None = None,
    metadata: Doc | None = None,
    receipt_email: str | None = None,
    setup_future_usage: str | None = None,
    owner: str | None = None,
) -> Doc:
    """A new intent. `owner` is the invoice or session that it belongs to and that alone may change or cancel it.

    Raises 400 for an amount that cannot be charged.
    """
    money.check_charge(amount, currency)
    ident = new_id("pi")
    intent = ctx.add(
        {
            "id": ident,
            "object": KIND,
            "amount": amount,
            "amount_capturable": 0,
            "amount_details": {"tip": {}},
            "amount_received": 0,
            "application": None,
            "application_fee_amount": None,
            "automatic_payment_methods": None if owner else {"allow_redirects": "always", "enabled": True},
            "canceled_at": None,
            "cancellation_reason": None,
            "capture_method": "automatic",
            "client_secret": f"{ident}_secret_{new_id('', 24)[1:]}",
            "confirmation_method": "automatic",
            "created": ctx.now,
            "currency": currency,
            "customer": customer,
            "customer_account": None,
            "description": description,
            "last_payment_error": None,
            "latest_charge": None,
            "livemode": ctx.account.livemode,
            "metadata": metadata or {},
            "next_action": None,
            "on_behalf_of": None,
            "payment_method": payment_method,
            "payment_method_configuration_details": None,
            "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
            "payment_method_types": ["card"],
            "processing": None,
            "receipt_email": receipt_email,
            "review": None,
            "setup_future_usage": setup_future_usage,
            "shipping": None,
            "statement_descriptor": None,
            "statement_descriptor_suffix": None,
            "status": "requires_confirmation" if payment_method else "requires_payment_method",
            "transfer_data": None,
            "transfer_group": None,
            "_owner": owner,
        }
    )
    events.emit(ctx, "payment_intent.created", intent)
    return intent


def move(ctx: Context, intent: Doc, event: str | None, **changes: Any) -> None:
    intent.update(changes)
    ctx.save(intent)
    if event:
        events.emit(ctx, event, intent)


def cancel(ctx: Context, intent: Doc, reason: str | None = None) -> None:
    """Nothing can be charged with it any more; an intent that is over stays as it is."""
    if intent["status"] in CONFIRMABLE:
        move(
            ctx, intent, "payment_intent.canceled",
            status="canceled", canceled_at=ctx.now, cancellation_reason=reason, next_action=None,
        )  # fmt: skip
