"""The invoice of one period of a subscription: its items' amounts, finalized at once, or what a pause makes of it."""

from decimal import Decimal

from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc
from integrations.stripe.sandbox.money import line_amount
from integrations.stripe.sandbox.resources import finalization, invoice_moves, invoices, lines


def made(ctx: Context, subscription: Doc, reason: str, *, is_billed: bool) -> None:
    """`reason` is the invoice's `billing_reason`; a period that is not billed has lines of 0."""
    pause = subscription["pause_collection"]
    sent = subscription["collection_method"] == "send_invoice"
    params: Doc = {"customer": subscription["customer"], "currency": subscription["currency"], "auto_advance": False}
    if sent:
        params |= {"collection_method": "send_invoice", "days_until_due": subscription["days_until_due"]}
    of_subscription = {"metadata": dict(subscription["metadata"]), "subscription": subscription["id"]}
    parent = {"quote_details": None, "subscription_details": of_subscription, "type": "subscription_details"}
    invoice = invoices.create(ctx, params, {"parent": parent, "billing_reason": reason})
    for item in subscription["_items"]:
        _add(ctx, subscription, invoice, item, is_billed=is_billed)
    invoices.recalculated(ctx, invoice)
    subscription["latest_invoice"] = invoice["id"]
    ctx.save(subscription)
    finalization.finalized(ctx, invoice, auto_advance=not pause)
    if pause and invoice["status"] == "open":
        end = invoice_moves.void if pause["behavior"] == "void" else invoice_moves.mark_uncollectible
        end(ctx, {}, invoice["id"])


def _add(ctx: Context, subscription: Doc, invoice: Doc, item: Doc, *, is_billed: bool) -> None:
    price = item["price"]
    amount = line_amount(Decimal(price["unit_amount_decimal"]), Decimal(item["quantity"])) if is_billed else 0
    name = (ctx.get(price["product"]) or {}).get("name")
    period = {"start": item["current_period_start"], "end": item["current_period_end"]}
    given = {"amount": amount, "description": f"{item['quantity']} × {name}", "period": period}
    added = lines.item_added(ctx, subscription["customer"], subscription["currency"], given, "lines", invoice)
    line = next(each for each in lines.of_invoice(ctx, invoice["id"]) if _is_of(each, added))
    line["parent"] = {
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": None,
            "proration": False,
            "proration_details": {"credited_items": None},
            "subscription": subscription["id"],
            "subscription_item": item["id"],
        },
        "type": "subscription_item_details",
    }
    line["subscription"] = subscription["id"]
    ctx.save(line)
    ctx.remove(added)


def _is_of(line: Doc, item: Doc) -> bool:
    details = line["parent"]["invoice_item_details"]
    return details is not None and details["invoice_item"] == item["id"]
