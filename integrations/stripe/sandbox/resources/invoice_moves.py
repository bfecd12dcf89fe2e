"""What happens to an invoice after the draft: finalize, pay, send, void, write off, attach a payment."""

from integrations.stripe.sandbox import events
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc, invalid, refused
from integrations.stripe.sandbox.resources import balances, collection, finalization, settlement
from integrations.stripe.sandbox.routing import operation

PATH = "/v1/invoices/{invoice}"


@operation(f"POST {PATH}/finalize", "invoice", "auto_advance")
def finalize(ctx: Context, params: Doc, ident: str) -> Doc:
    invoice = ctx.load("invoice", ident)
    return finalization.finalized(ctx, invoice, auto_advance=params.get("auto_advance"))


@operation(f"POST {PATH}/pay", "invoice", "payment_method off_session paid_out_of_band")
def pay(ctx: Context, params: Doc, ident: str) -> Doc:
    invoice = ctx.load("invoice", ident)
    collection.check_payable(invoice)
    if params.get("paid_out_of_band"):
        if "payment_method" in params:
            raise invalid("You may only specify one of these parameters: paid_out_of_band, payment_method.")
        return collection.paid_out_of_band(ctx, invoice)
    method = collection.method_for(ctx, invoice, params.get("payment_method"))
    return collection.paid(ctx, invoice, method, off_session=params.get("off_session", True))


@operation(f"POST {PATH}/send", "invoice")
def send(ctx: Context, _params: Doc, ident: str) -> Doc:
    invoice = ctx.load("invoice", ident)
    if invoice["collection_method"] != "send_invoice":
        raise refused("You can only manually send an invoice if its collection method is 'send_invoice'.")
    if invoice["status"] not in ("open", "paid"):
        raise refused(f"You can only send open or paid invoices; this invoice's status is {invoice['status']}.")
    events.emit(ctx, "invoice.sent", invoice)
    return invoice


@operation(f"POST {PATH}/void", "invoice")
def void(ctx: Context, _params: Doc, ident: str) -> Doc:
    invoice = ctx.load("invoice", ident)
    if invoice["status"] not in ("open", "uncollectible"):
        message = f"You can only void open or uncollectible invoices; this invoice's status is {invoice['status']}."
        raise refused(message)
    if invoice["amount_paid"]:
        raise refused("You cannot void an invoice that has been partially paid.")
    settlement.cancel_payments(ctx, invoice, "void_invoice")
    settlement.update_invoice(
        ctx, invoice, "invoice.voided",
        status="void", auto_advance=False, next_payment_attempt=None,
        status_transitions={**invoice["status_transitions"], "voided_at": ctx.now},
    )  # fmt: skip
    applied = invoice["ending_balance"] - invoice["starting_balance"]
    customer = ctx.get(invoice["customer"])
    if applied and customer and not customer.get("deleted"):
        balances.change(ctx, customer, -applied, invoice["currency"], "unapplied_from_invoice", invoice=ident)
    return invoice


@operation(f"POST {PATH}/mark_uncollectible", "invoice")
def mark_uncollectible(ctx: Context, _params: Doc, ident: str) -> Doc:
    invoice = ctx.load("invoice", ident)
    if invoice["status"] != "open":
        raise refused(f"You can only mark open invoices as uncollectible; this one's status is {invoice['status']}.")
    settlement.update_invoice(
        ctx, invoice, "invoice.marked_uncollectible",
        status="uncollectible", auto_advance=False, next_payment_attempt=None,
        status_transitions={**invoice["status_transitions"], "marked_uncollectible_at": ctx.now},
    )  # fmt: skip
    settlement.set_delinquent(ctx, invoice, delinquent=False)
    return invoice


@operation(f"POST {PATH}/attach_payment", "invoice", "payment_intent")
def attach_payment(ctx: Context, params: Doc, ident: str) -> Doc:
    invoice = ctx.load("invoice", ident)
    if "payment_intent" not in params:
        raise invalid("Missing required param: payment_intent.", "payment_intent", "parameter_missing")
    if invoice["status"] != "open":
        raise refused(f"You can only attach payments to open invoices; this invoice's status is {invoice['status']}.")
    intent = ctx.load("payment_intent", params["payment_intent"], "payment_intent")
    if (intent["customer"], intent["currency"]) != (invoice["customer"], invoice["currency"]):
        raise refused("The PaymentIntent must have the invoice's customer and currency.", param="payment_intent")
    if intent["status"] == "canceled":
        raise refused("A canceled PaymentIntent cannot be attached.", param="payment_intent")
    if ctx.find("invoice_payment", ("payment.payment_intent", "eq", intent["id"]), limit=1):
        raise refused("This PaymentIntent is attached to an invoice already.", param="payment_intent")
    settlement.payment_added(ctx, invoice, intent, intent["amount"], is_default=False)
    if intent["status"] == "succeeded":
        settlement.credited(ctx, intent)
    return ctx.load("invoice", ident)
