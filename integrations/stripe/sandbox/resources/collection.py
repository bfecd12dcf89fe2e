"""Paying an invoice: which card, one attempt, and Stripe's own attempts for an auto-advancing invoice."""

from integrations.stripe.sandbox import render
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc, StripeError, invalid, refused
from integrations.stripe.sandbox.resources import payments, settlement
from integrations.stripe.sandbox.worker import job

PAYABLE = ("open", "uncollectible")
NO_CARD = (
    "There is no `default_payment_method` set on this Customer or Invoice. Please set a `default_payment_method` "
    "before retrying."
)
ACTION = (
    "This payment requires additional user action before it can be completed successfully. Payment can be completed "
    "using the PaymentIntent associated with the invoice."
)


def check_payable(invoice: Doc) -> None:
    if invoice["status"] == "paid":
        raise refused("Invoice is already paid")
    if invoice["status"] not in PAYABLE:
        raise refused(f"You can only pay open or uncollectible invoices; this invoice's status is {invoice['status']}.")


def method_for(ctx: Context, invoice: Doc, given: str | None = None) -> Doc:
    """The card to charge: the one given, the invoice's, or the customer's default for invoices.

    Raises 400 when there is none.
    """
    if given is not None:
        method = ctx.load("payment_method", given, "payment_method")
        if method["customer"] != invoice["customer"]:
            raise invalid("The payment method must be attached to the invoice's customer.", "payment_method")
        return method
    customer = ctx.load("customer", invoice["customer"])
    for ident in (invoice["default_payment_method"], customer["invoice_settings"]["default_payment_method"]):
        method_found = ctx.get(ident)
        if method_found is not None and method_found["customer"] == customer["id"]:
            return method_found
    raise StripeError(400, NO_CARD, code="resource_missing")


def attempted(ctx: Context, invoice: Doc, method: Doc, *, off_session: bool, automatic: bool = False) -> Doc:
    """One attempt at what remains: the intent, `succeeded` or waiting for the cardholder. Raises 402 for a decline."""
    intent = settlement.default_intent(ctx, invoice)
    if intent is None:
        raise refused("This invoice has no open payment.")
    return payments.confirmed(ctx, intent, method, off_session=off_session, automatic=automatic, may_wait=True)


def paid(ctx: Context, invoice: Doc, method: Doc, *, off_session: bool, automatic: bool = False) -> Doc:
    """The invoice after an attempt. Raises 402, with its effects kept, for a decline or a cardholder who must act."""
    intent = attempted(ctx, invoice, method, off_session=off_session, automatic=automatic)
    if intent["status"] == "requires_action":
        code = "invoice_payment_intent_requires_action"
        raise StripeError(402, ACTION, kind="card_error", code=code, kept=True, payment_intent=render.show(ctx, intent))
    return ctx.load("invoice", invoice["id"])


def paid_out_of_band(ctx: Context, invoice: Doc) -> Doc:
    """Money that came another way: recorded, never charged."""
    changes = {
        "amount_paid": invoice["amount_due"],
        "amount_paid_off_stripe": invoice["amount_remaining"],
        "amount_remaining": 0,
    }
    settlement.mark_paid(ctx, invoice, changes)
    return invoice


@job("invoice.collect")
def _collect(ctx: Context, ident: str) -> None:
    """Stripe's own attempt. A customer without a card counts as a failed one."""
    invoice = ctx.load("invoice", ident)
    if invoice["status"] != "open" or not invoice["auto_advance"]:
        return
    intent = settlement.default_intent(ctx, invoice)
    if intent is None:
        return
    try:
        paid(ctx, invoice, method_for(ctx, invoice), off_session=True, automatic=True)
    except StripeError as error:
        if not error.kept:
            settlement.attempt_failed(ctx, intent, automatic=True)
