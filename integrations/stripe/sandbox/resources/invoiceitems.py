"""/v1/invoiceitems: items that wait for the customer's next invoice, or stand on a draft already."""

from integrations.stripe.sandbox import events, pagination
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc, invalid, refused
from integrations.stripe.sandbox.resources import invoices, lines
from integrations.stripe.sandbox.routing import operation, retrieves

KIND = "invoiceitem"

retrieves("/v1/invoiceitems/{invoiceitem}", KIND)


@operation("POST /v1/invoiceitems", KIND, f"customer currency invoice unit_amount_decimal {lines.ITEM_SERVED}")
def create(ctx: Context, params: Doc) -> Doc:
    invoice = ctx.load("invoice", params["invoice"], "invoice") if params.get("invoice") else None
    if invoice is not None:
        invoices.check_draft(invoice)
    customer_id = params.get("customer") or (invoice and invoice["customer"])
    if not customer_id:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = ctx.load("customer", customer_id, "customer")
    if invoice is not None and invoice["customer"] != customer["id"]:
        raise invalid("The customer of the invoice item must be the invoice's.", "customer")
    currency = lines.checked_currency(params) or (invoice and invoice["currency"]) or customer["currency"]
    item = lines.item_added(ctx, customer["id"], currency, params, "", invoice)
    events.emit(ctx, "invoiceitem.created", item)
    if invoice is not None:
        invoices.recalculated(ctx, invoice)
    return item


@operation("DELETE /v1/invoiceitems/{invoiceitem}", KIND)
def delete(ctx: Context, _params: Doc, ident: str) -> Doc:
    item = ctx.load(KIND, ident)
    invoice = ctx.get(item["invoice"])
    if invoice is not None:
        invoices.check_draft(invoice)
        for line in lines.of_invoice(ctx, invoice["id"]):
            if line["parent"]["invoice_item_details"]["invoice_item"] == ident:
                ctx.remove(line)
        invoices.recalculated(ctx, invoice)
    events.emit(ctx, "invoiceitem.deleted", item)
    return ctx.remove(item)


@operation("GET /v1/invoiceitems", KIND, "created customer invoice pending")
def index(ctx: Context, params: Doc) -> Doc:
    if params.get("pending") and params.get("invoice"):
        raise refused("You may only specify one of these parameters: invoice, pending.", param="pending")
    filters = pagination.equals(params, "customer", "invoice")
    if params.get("pending"):
        filters.append(("invoice", "null", None))
    return pagination.page(ctx, params, KIND, "/v1/invoiceitems", filters)
