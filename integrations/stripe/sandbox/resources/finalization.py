"""Finalizing an invoice: its number, what the customer's balance does to it, and the payment that will collect it.

asked = total + balance        (balance: negative is the customer's credit, positive is owed)
asked <= 0              paid at once; what credit is left stays on the balance
asked < the minimum     paid at once; the amount is carried on the balance to the next invoice
else                    open, with one default InvoicePayment and its PaymentIntent over `asked`
"""

from integrations.stripe.sandbox import events, money
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc, StripeError, refused
from integrations.stripe.sandbox.resources import balances, intents, settlement
from integrations.stripe.sandbox.worker import job


def finalized(ctx: Context, invoice: Doc, *, auto_advance: bool | None = None) -> Doc:
    """Raises 400 for an invoice that is no draft, or whose amount is too large to be charged."""
    if invoice["status"] != "draft":
        message = "This invoice is already finalized, you can't re-finalize a non-draft invoice."
        raise refused(message, "invoice_not_editable")
    customer = ctx.load("customer", invoice["customer"], "customer")
    currency = invoice["currency"]
    start = balances.balance_of(customer, currency)
    asked = invoice["total"] + start
    too_small = 0 < asked < money.smallest(currency)
    if asked > money.LARGEST:
        largest = money.shown(money.LARGEST, currency)
        raise refused(f"The amount of an invoice can be at most {largest}.", "amount_too_large")
    due = 0 if too_small else max(asked, 0)
    end = asked if too_small else min(asked, 0)
    before = dict(invoice)
    invoice.update(
        status="open",
        number=invoice["number"] or _next_number(ctx, customer),
        starting_balance=start,
        ending_balance=end,
        amount_due=due,
        amount_remaining=due,
        effective_at=invoice["effective_at"] or ctx.now,
        automatically_finalizes_at=None,
        auto_advance=invoice["auto_advance"] if auto_advance is None else auto_advance,
        status_transitions={**invoice["status_transitions"], "finalized_at": ctx.now},
    )
    if invoice["_days_until_due"] is not None:
        invoice["due_date"] = ctx.now + invoice["_days_until_due"] * 86400
    ctx.save(invoice)
    if end != start:
        kind = "invoice_too_small" if too_small else "applied_to_invoice"
        balances.change(ctx, customer, end - start, currency, kind, invoice=invoice["id"])
    if due:
        intent = intents.created(
            ctx,
            due,
            currency,
            customer["id"],
            description=f"Payment for Invoice {invoice['number']}",
            receipt_email=customer["email"],
            owner=invoice["id"],
        )
        settlement.payment_added(ctx, invoice, intent, due, is_default=True)
    events.emit(ctx, "invoice.updated", invoice, before)
    events.emit(ctx, "invoice.finalized", invoice)
    if not due:
        settlement.mark_paid(ctx, invoice, {})
    else:
        _plan(ctx, invoice)
    return invoice


def _next_number(ctx: Context, customer: Doc) -> str:
    """`ABCDEFGH-0001`: the customer's prefix and a sequence without gaps."""
    sequence = customer["next_invoice_sequence"]
    customer["next_invoice_sequence"] = sequence + 1
    ctx.save(customer)
    return f"{customer['invoice_prefix']}-{sequence:04}"


def _plan(ctx: Context, invoice: Doc) -> None:
    """What Stripe does by itself from here on: collect at once if asked to, and notice a due date that passed."""
    if invoice["auto_advance"] and invoice["collection_method"] == "charge_automatically":
        invoice["next_payment_attempt"] = ctx.now
        ctx.save(invoice)
        ctx.schedule("invoice.collect", invoice["id"], ctx.time)
    if invoice["due_date"] is not None:
        ctx.schedule("invoice.overdue", invoice["id"], invoice["due_date"])


@job("invoice.finalize")
def _finalize_later(ctx: Context, ident: str) -> None:
    invoice = ctx.get(ident)
    if not invoice or invoice.get("deleted") or invoice["status"] != "draft" or not invoice["auto_advance"]:
        return
    try:
        finalized(ctx, invoice)
    except StripeError as error:
        settlement.update_invoice(
            ctx,
            invoice,
            "invoice.finalization_failed",
            last_finalization_error=error.error,
            automatically_finalizes_at=None,
        )


@job("invoice.overdue")
def _overdue(ctx: Context, ident: str) -> None:
    invoice = ctx.load("invoice", ident)
    if invoice["status"] == "open":
        events.emit(ctx, "invoice.overdue", invoice)
        settlement.set_delinquent(ctx, invoice, delinquent=True)
