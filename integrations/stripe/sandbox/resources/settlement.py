"""What a payment does to the invoice it is for: credit it, pay it, or count a failed attempt and plan the next."""

from typing import Any

from integrations.stripe.sandbox import events
from integrations.stripe.sandbox.context import Context, new_id
from integrations.stripe.sandbox.errors import Doc
from integrations.stripe.sandbox.resources import balances, intents

# Days until the next automatic attempt after the first, second and third; then Stripe gives up.
RETRY_DAYS = (3, 5, 7)


def payment_added(ctx: Context, invoice: Doc, intent: Doc, amount: int, *, is_default: bool) -> Doc:
    """The InvoicePayment that ties an intent to an invoice."""
    return ctx.add(
        {
            "id": new_id("inpay"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": amount,
            "created": ctx.now,
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": is_default,
            "livemode": ctx.account.livemode,
            "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        }
    )


def open_payments(ctx: Context, invoice: Doc) -> list[Doc]:
    return ctx.find("invoice_payment", ("invoice", "eq", invoice["id"]), ("status", "eq", "open"), oldest_first=True)


def default_intent(ctx: Context, invoice: Doc) -> Doc | None:
    """The intent that collects what the invoice still asks for."""
    for payment in open_payments(ctx, invoice):
        if payment["is_default"]:
            return ctx.get(payment["payment"]["payment_intent"])
    return None


def update_invoice(ctx: Context, invoice: Doc, *also: str, **changes: Any) -> None:
    """Apply changes, tell about the update, then about the events in `also`."""
    before = dict(invoice)
    invoice.update(changes)
    ctx.save(invoice)
    events.emit(ctx, "invoice.updated", invoice, before)
    for event in also:
        events.emit(ctx, event, invoice)


def credited(ctx: Context, intent: Doc) -> None:
    """The intent succeeded: credit every invoice that waits for it."""
    waiting = ("payment.payment_intent", "eq", intent["id"]), ("status", "eq", "open")
    for payment in ctx.find("invoice_payment", *waiting):
        invoice = ctx.load("invoice", payment["invoice"])
        received = intent["amount_received"]
        payment["status"], payment["amount_paid"] = "paid", received
        payment["status_transitions"] = {"canceled_at": None, "paid_at": ctx.now}
        ctx.save(payment)
        over = max(received - invoice["amount_remaining"], 0)
        paid = invoice["amount_paid"] + received - over
        changes: Doc = {"amount_paid": paid, "amount_remaining": invoice["amount_due"] - paid, "attempted": True}
        changes["attempt_count"] = max(invoice["attempt_count"], 1)
        if over:
            changes["amount_overpaid"] = invoice["amount_overpaid"] + over
        if changes["amount_remaining"] == 0:
            mark_paid(ctx, invoice, changes)
        else:
            update_invoice(ctx, invoice, **changes)
            ask_for_the_rest(ctx, invoice)
        events.emit(ctx, "invoice_payment.paid", payment)
        if over:
            customer = ctx.load("customer", invoice["customer"], deleted=True)
            if not customer.get("deleted"):
                balances.change(ctx, customer, -over, invoice["currency"], "invoice_overpaid", invoice=invoice["id"])
            events.emit(ctx, "invoice.overpaid", invoice)


def mark_paid(ctx: Context, invoice: Doc, changes: Doc) -> None:
    """The invoice is settled: `changes` are its last amounts. Whatever else was open for it is cancelled."""
    cancel_payments(ctx, invoice)
    settled: Doc = {
        "attempted": True,
        **changes,
        "status": "paid",
        "next_payment_attempt": None,
        "auto_advance": False,
        "status_transitions": {**invoice["status_transitions"], "paid_at": ctx.now},
    }
    update_invoice(ctx, invoice, "invoice.paid", "invoice.payment_succeeded", **settled)
    set_delinquent(ctx, invoice, delinquent=False)


def cancel_payments(ctx: Context, invoice: Doc, reason: str | None = None) -> None:
    for payment in open_payments(ctx, invoice):
        payment["status"] = "canceled"
        payment["status_transitions"] = {**payment["status_transitions"], "canceled_at": ctx.now}
        ctx.save(payment)
        intent = ctx.get(payment["payment"]["payment_intent"])
        if intent is not None and payment["is_default"]:
            intents.cancel(ctx, intent, reason)


def set_delinquent(ctx: Context, invoice: Doc, *, delinquent: bool) -> None:
    customer = ctx.get(invoice["customer"])
    if customer and not customer.get("deleted") and customer["delinquent"] != delinquent:
        before = dict(customer)
        customer["delinquent"] = delinquent
        ctx.save(customer)
        events.emit(ctx, "customer.updated", customer, before)


def attempt_failed(ctx: Context, intent: Doc, *, automatic: bool) -> None:
    """Count the attempt on the invoice behind the intent, and plan the next one if Stripe collects by itself.

    The first attempt counts whoever made it; after it only automatic ones do, so that manual attempts do not disturb
    the schedule.
    """
    for invoice in _invoices_of(ctx, intent):
        count = invoice["attempt_count"]
        changes: Doc = {"attempted": True}
        if count == 0 or automatic:
            changes["attempt_count"] = count + 1
            changes["next_payment_attempt"] = _plan_retry(ctx, invoice, count)
        update_invoice(ctx, invoice, "invoice.payment_failed", **changes)
        if automatic:
            set_delinquent(ctx, invoice, delinquent=True)


def action_needed(ctx: Context, intent: Doc) -> None:
    for invoice in _invoices_of(ctx, intent):
        changes: Doc = {"attempted": True, "attempt_count": max(invoice["attempt_count"], 1)}
        update_invoice(ctx, invoice, "invoice.payment_action_required", "invoice.payment_failed", **changes)


def _plan_retry(ctx: Context, invoice: Doc, count: int) -> int | None:
    if (
        not invoice["auto_advance"]
        or invoice["collection_method"] != "charge_automatically"
        or count >= len(RETRY_DAYS)
    ):
        return None
    due = ctx.now + RETRY_DAYS[count] * 86400
    ctx.schedule("invoice.collect", invoice["id"], due)
    return due


def _invoices_of(ctx: Context, intent: Doc) -> list[Doc]:
    waiting = ("payment.payment_intent", "eq", intent["id"]), ("status", "eq", "open")
    return [ctx.load("invoice", payment["invoice"]) for payment in ctx.find("invoice_payment", *waiting)]


def ask_for_the_rest(ctx: Context, invoice: Doc) -> None:
    """After a partial payment, or a credit note, the default payment asks for what remains."""
    for payment in open_payments(ctx, invoice):
        if payment["is_default"]:
            payment["amount_requested"] = invoice["amount_remaining"]
            ctx.save(payment)
            intent = ctx.get(payment["payment"]["payment_intent"])
            if intent is not None:
                intents.move(ctx, intent, None, amount=invoice["amount_remaining"])
