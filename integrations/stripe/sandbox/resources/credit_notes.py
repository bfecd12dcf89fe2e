"""/v1/credit_notes: corrections of finalized invoices.

A note first reduces what an open invoice still asks for (pre-payment); the rest (post-payment) is refunded, credited to
the customer's balance, or given back outside of Stripe, and these must add up to it exactly.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from integrations.stripe.sandbox import events, pagination, render
from integrations.stripe.sandbox.context import Context, listing, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, invalid, refused
from integrations.stripe.sandbox.money import line_amount, plain, shown
from integrations.stripe.sandbox.resources import balances, refunds, settlement, taxes
from integrations.stripe.sandbox.routing import operation, retrieves

KIND = "credit_note"
PATH = "/v1/credit_notes"
LINE = "amount description invoice_line_item metadata quantity type unit_amount unit_amount_decimal tax_amounts"
SERVED = (
    "invoice amount credit_amount effective_at memo metadata out_of_band_amount reason refund_amount refunds"
    " email_type "
)

retrieves(f"{PATH}/{{id}}", KIND)


@operation(f"POST {PATH}", KIND, SERVED + " ".join(f"lines.{name}" for name in LINE.split()))
def create(ctx: Context, params: Doc) -> Doc:
    invoice = ctx.load("invoice", params["invoice"], "invoice")
    if invoice["status"] not in ("open", "paid"):
        message = (
            f"You can only create credit notes for open or paid invoices; this one's status is {invoice['status']}."
        )
        raise refused(message, param="invoice")
    lines = _lines(ctx, invoice, params)
    total = sum(line["amount"] + taxes.on_top(line["taxes"]) for line in lines)
    if "amount" in params and params["amount"] != total:
        raise invalid("The sum of credit note lines must equal the amount.", "amount")
    if total < 1:
        raise invalid("The total of a credit note must be positive.", "amount")
    before_payment = min(total, invoice["amount_remaining"]) if invoice["status"] == "open" else 0
    after_payment = total - before_payment
    settled = invoice["total"] - invoice["amount_remaining"]
    settled -= invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
    if after_payment > settled:
        most = shown(settled + before_payment, invoice["currency"])
        raise refused(f"The total of a credit note must not exceed what is left to credit, {most}.", param="amount")
    note = _note(ctx, invoice, params, lines, before_payment, after_payment)
    _give_back(ctx, invoice, note, params, after_payment)
    merge_metadata(note, params.get("metadata"))
    ctx.add(note)
    events.emit(ctx, "credit_note.created", note)
    _apply(ctx, invoice, before_payment, after_payment)
    return note


@operation(f"POST {PATH}/{{id}}", KIND, "memo metadata")
def update(ctx: Context, params: Doc, ident: str) -> Doc:
    note = ctx.load(KIND, ident)
    before = {**note, "metadata": dict(note["metadata"])}
    if "memo" in params:
        note["memo"] = params["memo"] or None
    merge_metadata(note, params.get("metadata"))
    ctx.save(note)
    events.emit(ctx, "credit_note.updated", note, before)
    return note


@operation(f"POST {PATH}/{{id}}/void", KIND)
def void(ctx: Context, _params: Doc, ident: str) -> Doc:
    note = ctx.load(KIND, ident)
    invoice = ctx.load("invoice", note["invoice"])
    if note["status"] != "issued" or invoice["status"] != "open" or note["post_payment_amount"]:
        raise refused("Only credit notes on open invoices that gave nothing back can be voided.")
    note.update(status="void", voided_at=ctx.now)
    ctx.save(note)
    events.emit(ctx, "credit_note.voided", note)
    _apply(ctx, invoice, -note["pre_payment_amount"], 0)
    return note


@operation(f"GET {PATH}", KIND, "created customer invoice")
def index(ctx: Context, params: Doc) -> Doc:
    return pagination.page(ctx, params, KIND, PATH, pagination.equals(params, "customer", "invoice"))


@operation(f"GET {PATH}/{{credit_note}}/lines", "credit_note_line_item")
def lines_of(ctx: Context, params: Doc, ident: str) -> Doc:
    note = ctx.load(KIND, ident)
    return listing(note["_lines"][: pagination.limit_of(params)], f"{PATH}/{ident}/lines")


def _note(ctx: Context, invoice: Doc, params: Doc, lines: list[Doc], before: int, after: int) -> Doc:
    ident = new_id("cn")
    taxed = [tax for line in lines for tax in line["taxes"]]
    net = before + after - taxes.on_top(taxed)
    without = before + after - sum(tax["amount"] for tax in taxed)
    number = len(ctx.find(KIND, ("invoice", "eq", invoice["id"]))) + 1
    return {
        "id": ident,
        "object": KIND,
        "amount": before + after,
        "amount_shipping": 0,
        "created": ctx.now,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": params.get("effective_at", ctx.now),
        "invoice": invoice["id"],
        "livemode": ctx.account.livemode,
        "memo": params.get("memo"),
        "metadata": {},
        "number": f"{invoice['number']}-CN-{number:02}",
        "out_of_band_amount": params.get("out_of_band_amount"),
        "pdf": f"{ctx.base_url}/i/{invoice['id']}/pdf",
        "post_payment_amount": after,
        "pre_payment_amount": before,
        "pretax_credit_amounts": [],
        "reason": params.get("reason"),
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        "subtotal": net,
        "subtotal_excluding_tax": without,
        "total": before + after,
        "total_excluding_tax": without,
        "total_taxes": taxes.summed(taxed),
        "type": "mixed" if before and after else "pre_payment" if before else "post_payment",
        "voided_at": None,
        "_lines": lines,
    }


def _lines(ctx: Context, invoice: Doc, params: Doc) -> list[Doc]:
    given = params.get("lines")
    if not given:
        if "amount" not in params:
            raise invalid("You must specify at least one of amount and lines.", "amount", "parameter_missing")
        return [_line(ctx, {"type": "custom_line_item", "description": params.get("memo")}, params["amount"], 1)]
    out = []
    for number, line in enumerate(given):
        at, quantity, description = f"lines[{number}]", line.get("quantity", 1), line.get("description")
        if line["type"] == "invoice_line_item":
            billed = ctx.load("line_item", line.get("invoice_line_item", ""), f"{at}[invoice_line_item]")
            if billed["invoice"] != invoice["id"]:
                raise invalid("The line does not belong to the invoice.", f"{at}[invoice_line_item]")
            description = description or billed["description"]
            unit = Decimal((billed["pricing"] or {}).get("unit_amount_decimal") or billed["amount"])
            amount = line["amount"] if "amount" in line else line_amount(unit, Decimal(quantity))
            if amount > billed["amount"]:
                raise invalid("A line cannot be credited with more than it was billed.", f"{at}[amount]")
        else:
            unit_text = line.get("unit_amount", line.get("unit_amount_decimal"))
            if unit_text is None:
                raise invalid("Missing required param: unit_amount.", f"{at}[unit_amount]", "parameter_missing")
            amount = line_amount(Decimal(str(unit_text)), Decimal(quantity))
        taxed = taxes.of_note(ctx, line, at)
        out.append(_line(ctx, {**line, "description": description}, amount, quantity, taxed))
    return out


def _line(ctx: Context, given: dict[str, Any], amount: int, quantity: int, taxed: Sequence[Doc] = ()) -> Doc:
    unit = given.get("unit_amount", given.get("unit_amount_decimal"))
    line: Doc = {
        "id": new_id("cnli"),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": given.get("description"),
        "discount_amount": 0,
        "discount_amounts": [],
        "livemode": ctx.account.livemode,
        "metadata": given.get("metadata") or {},
        "pretax_credit_amounts": [],
        "quantity": quantity,
        "tax_rates": [],
        "taxes": list(taxed),
        "type": given["type"],
        "unit_amount": given.get("unit_amount"),
        "unit_amount_decimal": None if unit is None else plain(Decimal(str(unit))),
    }
    if "invoice_line_item" in given:
        line["invoice_line_item"] = given["invoice_line_item"]
    return line


def _give_back(ctx: Context, invoice: Doc, note: Doc, params: Doc, after_payment: int) -> None:
    """Refund, credit, or note what is given back elsewhere. Raises 400 unless it adds up."""
    refund_amount, credit = params.get("refund_amount", 0), params.get("credit_amount", 0)
    linked = params.get("refunds", [])
    ways = [refund_amount, credit, params.get("out_of_band_amount", 0), *(r.get("amount_refunded", 0) for r in linked)]
    if min(ways) < 0 or sum(ways) != after_payment:
        message = (
            "The sum of credit_amount, refund_amount, out_of_band_amount and refunds must equal the post-payment "
            f"amount, {shown(after_payment, invoice['currency'])}."
        )
        raise invalid(message, "refund_amount")
    for number, link in enumerate(linked):
        refund = ctx.load("refund", link.get("refund", ""), f"refunds[{number}][refund]")
        note["refunds"].append(_refund(refund["id"], link["amount_refunded"]))
    if refund_amount:
        refund = refunds.created(ctx, _charge(ctx, invoice), refund_amount, "requested_by_customer")
        note["refunds"].append(_refund(refund["id"], refund_amount))
    if credit:
        customer = ctx.load("customer", invoice["customer"], "invoice")
        note["customer_balance_transaction"] = balances.change(
            ctx, customer, -credit, invoice["currency"], "credit_note", credit_note=note["id"], invoice=invoice["id"]
        )["id"]


def _refund(ident: str, amount: int) -> Doc:
    return {"amount_refunded": amount, "payment_record_refund": None, "refund": ident, "type": "refund"}


def _charge(ctx: Context, invoice: Doc) -> Doc:
    for payment in ctx.find("invoice_payment", ("invoice", "eq", invoice["id"]), ("status", "eq", "paid")):
        intent = ctx.load("payment_intent", payment["payment"]["payment_intent"])
        return ctx.load("charge", intent["latest_charge"])
    raise refused("This invoice was not paid with a charge that could be refunded.", param="refund_amount")


def _apply(ctx: Context, invoice: Doc, before: int, after: int) -> None:
    changes: Doc = {
        "pre_payment_credit_notes_amount": invoice["pre_payment_credit_notes_amount"] + before,
        "post_payment_credit_notes_amount": invoice["post_payment_credit_notes_amount"] + after,
        "amount_due": invoice["amount_due"] - before,
        "amount_remaining": invoice["amount_remaining"] - before,
    }
    if invoice["status"] == "open" and changes["amount_remaining"] == 0:
        settlement.mark_paid(ctx, invoice, {**changes, "attempted": invoice["attempted"]})
    else:
        settlement.update_invoice(ctx, invoice, **changes)
        if invoice["status"] == "open":
            settlement.ask_for_the_rest(ctx, invoice)


@render.fills(KIND)
def _fill(_ctx: Context, note: Doc, shown_note: Doc) -> None:
    shown_note["lines"] = listing(note["_lines"][:10], f"{PATH}/{note['id']}/lines", len(note["_lines"]) > 10)
