"""/v1/invoices/{invoice}/lines and the calls that add, change and remove lines of a draft."""

from integrations.stripe.sandbox import render
from integrations.stripe.sandbox.context import Context, listing, merge_metadata
from integrations.stripe.sandbox.errors import Doc, invalid, missing
from integrations.stripe.sandbox.pagination import limit_of
from integrations.stripe.sandbox.resources import invoices, lines
from integrations.stripe.sandbox.routing import operation

PATH = "/v1/invoices/{invoice}"


@operation(f"POST {PATH}/add_lines", "invoice", "invoice_metadata " + lines.served("lines", "invoice_item"))
def add(ctx: Context, params: Doc, ident: str) -> Doc:
    invoice = ctx.load("invoice", ident)
    invoices.check_draft(invoice)
    for number, given in enumerate(params["lines"]):
        at = f"lines[{number}]"
        if "invoice_item" not in given:
            lines.item_added(ctx, invoice["customer"], invoice["currency"], given, at, invoice)
            continue
        item = ctx.load("invoiceitem", given["invoice_item"], f"{at}[invoice_item]")
        if item["invoice"] is not None or item["customer"] != invoice["customer"]:
            raise invalid("The invoice item must be a pending one of the invoice's customer.", f"{at}[invoice_item]")
        lines.changed(ctx, lines.line_added(ctx, invoice, item), given, at)
    return _done(ctx, invoice, params)


@operation(f"POST {PATH}/update_lines", "invoice", "invoice_metadata " + lines.served("lines", "id"))
def update(ctx: Context, params: Doc, ident: str) -> Doc:
    invoice = ctx.load("invoice", ident)
    invoices.check_draft(invoice)
    for number, given in enumerate(params["lines"]):
        line = _line(ctx, invoice, given["id"], f"lines[{number}][id]")
        lines.changed(ctx, line, given, f"lines[{number}]")
    return _done(ctx, invoice, params)


@operation(f"POST {PATH}/remove_lines", "invoice", "invoice_metadata lines.id lines.behavior")
def remove(ctx: Context, params: Doc, ident: str) -> Doc:
    invoice = ctx.load("invoice", ident)
    invoices.check_draft(invoice)
    for number, given in enumerate(params["lines"]):
        line = _line(ctx, invoice, given["id"], f"lines[{number}][id]")
        lines.removed(ctx, line, given["behavior"])
    return _done(ctx, invoice, params)


@operation(f"POST {PATH}/lines/{{line_item_id}}", "line_item", lines.SERVED)
def update_one(ctx: Context, params: Doc, ident: str, line_id: str) -> Doc:
    invoice = ctx.load("invoice", ident)
    invoices.check_draft(invoice)
    line = _line(ctx, invoice, line_id, None)
    lines.changed(ctx, line, params, "")
    invoices.recalculated(ctx, invoice)
    return line


@operation(f"GET {PATH}/lines", "line_item")
def index(ctx: Context, params: Doc, ident: str) -> Doc:
    """Lines are listed in the order in which they stand, unlike everything else."""
    ctx.load("invoice", ident)
    limit = limit_of(params)
    found = lines.of_invoice(ctx, ident)
    if after := params.get("starting_after"):
        found = found[_position(found, after, "starting_after") + 1 :]
    if before := params.get("ending_before"):
        found = found[: _position(found, before, "ending_before")][-limit - 1 :]
        more, found = len(found) > limit, found[-limit:]
    else:
        more, found = len(found) > limit, found[:limit]
    return listing([render.show(ctx, line) for line in found], PATH.replace("{invoice}", ident) + "/lines", more)


def _position(found: list[Doc], ident: str, param: str) -> int:
    for position, line in enumerate(found):
        if line["id"] == ident:
            return position
    raise missing("line_item", ident, param, 400)


def _line(ctx: Context, invoice: Doc, ident: str, param: str | None) -> Doc:
    line = ctx.load("line_item", ident, param)
    if line["invoice"] != invoice["id"]:
        raise missing("line_item", ident, param or "id", 400 if param else 404)
    return line


def _done(ctx: Context, invoice: Doc, params: Doc) -> Doc:
    merge_metadata(invoice, params.get("invoice_metadata"))
    invoices.recalculated(ctx, invoice)
    return invoice
