"""/v1/invoices: drafts are made, changed and deleted here. Finalizing and what follows is in invoice_moves.py."""

from typing import Any

from integrations.stripe.sandbox import events, pagination, render, search
from integrations.stripe.sandbox.context import Context, given_or_none, listing, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, invalid, not_served, refused
from integrations.stripe.sandbox.money import currency_of
from integrations.stripe.sandbox.resources import balances, coupons, lines, settlement, taxes
from integrations.stripe.sandbox.routing import operation, retrieves

KIND = "invoice"
EMBEDDED_LINES = 10
AUTO_FINALIZE_SECONDS = 3600
FIELDS = (
    "auto_advance automatic_tax.enabled collection_method custom_fields days_until_due default_payment_method"
    " description discounts due_date effective_at footer issuer.type metadata number payment_settings rendering"
    " statement_descriptor"
)
TEXTS = ("description", "footer", "statement_descriptor")
# What may still change once the invoice is finalized: nothing that is money, and not how it is collected.
CHANGEABLE = frozenset(("auto_advance", "default_payment_method", "expand", "metadata", "payment_settings"))

retrieves("/v1/invoices/{invoice}", KIND)


@operation("POST /v1/invoices", KIND, f"customer currency pending_invoice_items_behavior {FIELDS}")
def create(ctx: Context, params: Doc, also: Doc | None = None) -> Doc:
    """A draft; `also` are fields that no caller of the API can set."""
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = ctx.load("customer", params["customer"], "customer")
    currency = currency_of(params["currency"]) if "currency" in params else customer["currency"] or "usd"
    invoice: Doc = {
        "id": new_id("in"),
        "object": KIND,
        "account_country": "US",
        "account_name": "Stripe sandbox",
        "account_tax_ids": None,
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_paid_off_stripe": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None,
        },
        "automatically_finalizes_at": None,
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "created": ctx.now,
        "currency": currency,
        "custom_fields": None,
        "customer": customer["id"],
        "customer_account": None,
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_shipping": customer["shipping"],
        "customer_tax_exempt": customer["tax_exempt"],
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": None,
        "ending_balance": None,
        "footer": customer["invoice_settings"]["footer"],
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "livemode": ctx.account.livemode,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "parent": None,
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": ctx.now,
        "period_start": ctx.now,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "starting_balance": 0,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None, "marked_uncollectible_at": None, "paid_at": None, "voided_at": None,
        },
        "subtotal": 0,
        "subtotal_excluding_tax": 0,
        "test_clock": customer["test_clock"],
        "total": 0,
        "total_discount_amounts": [],
        "total_excluding_tax": 0,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": ctx.now,
        "_days_until_due": None,
    }  # fmt: skip
    if customer["invoice_settings"]["custom_fields"]:
        invoice["custom_fields"] = customer["invoice_settings"]["custom_fields"]
    invoice.update(also or {})
    _apply(ctx, invoice, params)
    invoice["discounts"] = coupons.redeemed(ctx, invoice, params.get("discounts") or [])
    ctx.add(invoice)
    if params.get("pending_invoice_items_behavior") == "include":
        waiting = ("customer", "eq", customer["id"]), ("invoice", "null", None), ("currency", "eq", currency)
        for item in ctx.find("invoiceitem", *waiting, limit=lines.MOST):
            lines.line_added(ctx, invoice, item)
    _total(ctx, invoice)
    if customer["currency"] is None:
        before = dict(customer)
        customer["currency"] = currency
        ctx.save(customer)
        events.emit(ctx, "customer.updated", customer, before)
    events.emit(ctx, "invoice.created", invoice)
    return invoice


@operation("POST /v1/invoices/{invoice}", KIND, FIELDS)
def update(ctx: Context, params: Doc, ident: str) -> Doc:
    invoice = ctx.load(KIND, ident)
    if invoice["status"] != "draft" and (locked := sorted(set(params) - CHANGEABLE)):
        message = f"Finalized invoices can't be updated in this way: {locked[0]} cannot be changed any more."
        raise refused(message, "invoice_not_editable", locked[0])
    before = {**invoice, "metadata": dict(invoice["metadata"])}
    _apply(ctx, invoice, params)
    if invoice["status"] == "open" and invoice["auto_advance"] and not before["auto_advance"]:
        ctx.schedule("invoice.collect", ident, ctx.time)
    if "discounts" in params:
        invoice["discounts"] = coupons.redeemed(ctx, invoice, params["discounts"] or [])
        _total(ctx, invoice)
    ctx.save(invoice)
    events.emit(ctx, "invoice.updated", invoice, before)
    return invoice


@operation("DELETE /v1/invoices/{invoice}", KIND)
def delete(ctx: Context, _params: Doc, ident: str) -> Doc:
    invoice = ctx.load(KIND, ident)
    if invoice["status"] != "draft":
        raise refused("You can only delete draft invoices.", "invoice_not_editable")
    events.emit(ctx, "invoice.deleted", invoice)
    for line in lines.of_invoice(ctx, ident):
        lines.removed(ctx, line, "unassign" if line["_was_pending"] else "delete")
    return ctx.remove(invoice)


@operation("GET /v1/invoices", KIND, "created customer collection_method due_date status")
def index(ctx: Context, params: Doc) -> Doc:
    filters = [
        *pagination.equals(params, "customer", "collection_method", "status"), *pagination.ranges(params, "due_date"),
    ]  # fmt: skip
    return pagination.page(ctx, params, KIND, "/v1/invoices", filters)


@operation("GET /v1/invoices/search", KIND, "query page")
def find(ctx: Context, params: Doc) -> Doc:
    return pagination.search_page(ctx, params, "/v1/invoices/search", search.search(ctx, KIND, params.get("query", "")))


def check_draft(invoice: Doc) -> None:
    if invoice["status"] != "draft":
        message = f"Invoice {invoice['id']} is no longer editable: its status is {invoice['status']}."
        raise refused(message, "invoice_not_editable")


def recalculated(ctx: Context, invoice: Doc) -> None:
    """Sums after lines changed."""
    before = dict(invoice)
    _total(ctx, invoice)
    events.emit(ctx, "invoice.updated", invoice, before)


def asked(total: int, balance: int) -> int:
    """What an invoice asks for, given the customer's balance: credit reduces it, what is owed is added."""
    return max(total + balance, 0)


def _total(ctx: Context, invoice: Doc) -> None:
    found = lines.of_invoice(ctx, invoice["id"])
    subtotal = sum(line["amount"] for line in found)
    off = _discounted(ctx, invoice, found)
    taxed = [tax for line in found for tax in line["taxes"]]
    total = subtotal - off + taxes.on_top(taxed)
    balance = balances.balance_of(ctx.load("customer", invoice["customer"]), invoice["currency"])
    due = asked(total, balance)
    included = sum(tax["amount"] for tax in taxed) - taxes.on_top(taxed)
    invoice.update(
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal - included,
        total=total,
        total_excluding_tax=subtotal - off - included,
        total_taxes=taxes.summed(taxed),
    )
    invoice.update(starting_balance=balance, amount_due=due, amount_remaining=due)
    ctx.save(invoice)


def _discounted(ctx: Context, invoice: Doc, found: list[Doc]) -> int:
    """What the invoice's discounts take off, one after the other: never more than is left of what they count on.

    Each is spread over those lines by what is left of them, the last line takes the rest.
    """
    left = {line["id"]: line["amount"] for line in found if line["discountable"] and line["amount"] > 0}
    shares: dict[str, list[Doc]] = {line["id"]: [] for line in found}
    totals = []
    for ident in invoice["discounts"]:
        off = min(ctx.load("discount", ident)["_amount_off"], sum(left.values()))
        totals.append({"amount": off, "discount": ident})
        base, rest = sum(left.values()), off
        for number, line_id in enumerate(left, 1):
            part = rest if number == len(left) else min(rest, off * left[line_id] // base if base else 0)
            part = min(part, left[line_id])
            rest -= part
            left[line_id] -= part
            shares[line_id].append({"amount": part, "discount": ident})
        for line_id in left if rest else ():
            # Rounding down left a unit or more for lines that have room.
            more = min(rest, left[line_id])
            rest, left[line_id] = rest - more, left[line_id] - more
            shares[line_id][-1]["amount"] += more
    for line in found:
        if line["discount_amounts"] != shares[line["id"]]:
            line["discount_amounts"] = shares[line["id"]]
            ctx.save(line)
    invoice["total_discount_amounts"] = totals
    return sum(each["amount"] for each in totals)


def _apply(ctx: Context, invoice: Doc, params: Doc) -> None:
    if params.get("automatic_tax", {}).get("enabled"):
        raise not_served("automatic_tax[enabled]")
    for name in TEXTS:
        if name in params:
            invoice[name] = given_or_none(params, name)
    if "collection_method" in params:
        invoice["collection_method"] = params["collection_method"]
    _due(ctx, invoice, params)
    if "custom_fields" in params:
        invoice["custom_fields"] = params["custom_fields"] or None
    if len(invoice["custom_fields"] or []) > 4:
        raise invalid("You may only specify up to 4 custom fields.", "custom_fields")
    if "number" in params:
        _number(ctx, invoice, given_or_none(params, "number"))
    if "effective_at" in params:
        invoice["effective_at"] = given_or_none(params, "effective_at")
    if "default_payment_method" in params:
        invoice["default_payment_method"] = _payment_method(
            ctx, invoice, given_or_none(params, "default_payment_method")
        )
    if "auto_advance" in params:
        invoice["auto_advance"] = params["auto_advance"]
        _plan_finalization(ctx, invoice)
    if "payment_settings" in params:
        _payment_settings(invoice, params["payment_settings"])
    if "rendering" in params:
        empty = {"amount_tax_display": None, "pdf": None, "template": None, "template_version": None}
        invoice["rendering"] = {**empty, **(params["rendering"] or {})}
    merge_metadata(invoice, params.get("metadata"))


def _due(ctx: Context, invoice: Doc, params: Doc) -> None:
    days, date = params.get("days_until_due"), params.get("due_date")
    if invoice["collection_method"] != "send_invoice":
        for name in ("days_until_due", "due_date"):
            if name in params:
                raise invalid(f"You can only specify {name} if collection_method is send_invoice.", name)
        invoice.update(due_date=None, _days_until_due=None)
        return
    if days is not None and date is not None:
        raise invalid("You may only specify one of these parameters: days_until_due, due_date.", "due_date")
    if date is not None:
        if date < ctx.now:
            raise invalid("Invalid due_date: must be in the future.", "due_date")
        invoice.update(due_date=date, _days_until_due=None)
    elif days is not None:
        if days < 0:
            raise invalid("Invalid days_until_due: must be at least 0.", "days_until_due")
        invoice.update(due_date=ctx.now + days * 86400, _days_until_due=days)
    elif invoice["due_date"] is None:
        message = "If invoices are set to be sent, you must specify one of days_until_due or due_date."
        raise invalid(message, "days_until_due", "parameter_missing")


def _number(ctx: Context, invoice: Doc, number: str | None) -> None:
    if number is not None and any(other["id"] != invoice["id"] for other in ctx.find(KIND, ("number", "eq", number))):
        raise refused(f"An invoice with the number {number} already exists.", param="number")
    invoice["number"] = number


def _payment_method(ctx: Context, invoice: Doc, ident: str | None) -> str | None:
    if (
        ident is not None
        and ctx.load("payment_method", ident, "default_payment_method")["customer"] != invoice["customer"]
    ):
        message = f"The customer does not have a payment method with the ID {ident}."
        raise invalid(message, "default_payment_method", "resource_missing")
    return ident


def _plan_finalization(ctx: Context, invoice: Doc) -> None:
    """An auto-advancing draft is finalized by Stripe about an hour after it was made."""
    due = invoice["created"] + AUTO_FINALIZE_SECONDS
    planned = due if invoice["auto_advance"] and invoice["status"] == "draft" else None
    if planned and not invoice["automatically_finalizes_at"]:
        ctx.schedule("invoice.finalize", invoice["id"], planned)
    invoice["automatically_finalizes_at"] = planned


def _payment_settings(invoice: Doc, given: dict[str, Any]) -> None:
    types = given.get("payment_method_types")
    if types and "card" not in types:
        raise invalid("The sandbox knows cards only.", "payment_settings[payment_method_types]")
    if given.get("payment_method_options") or given.get("default_mandate"):
        raise not_served("payment_settings")
    invoice["payment_settings"] = {**invoice["payment_settings"], "payment_method_types": types or None}


@render.fills(KIND)
def _fill(ctx: Context, invoice: Doc, shown: Doc) -> None:
    """Lines, links, and for a draft what the customer's present balance makes of it."""
    found = lines.of_invoice(ctx, invoice["id"])
    first = [render.show(ctx, line) for line in found[:EMBEDDED_LINES]]
    shown["lines"] = listing(first, f"/v1/invoices/{invoice['id']}/lines", len(found) > EMBEDDED_LINES)
    if invoice["status_transitions"]["finalized_at"]:
        shown["hosted_invoice_url"] = f"{ctx.base_url}/i/{invoice['id']}"
        shown["invoice_pdf"] = f"{ctx.base_url}/i/{invoice['id']}/pdf"
    customer = ctx.get(invoice["customer"])
    if invoice["status"] == "draft" and customer and not customer.get("deleted"):
        shown["starting_balance"] = balances.balance_of(customer, invoice["currency"])
        shown["amount_due"] = shown["amount_remaining"] = asked(invoice["total"], shown["starting_balance"])


@render.includes(KIND, "payments")
def _payments(ctx: Context, invoice: Doc) -> Doc:
    found = ctx.find("invoice_payment", ("invoice", "eq", invoice["id"]))
    shown = [render.show(ctx, payment) for payment in found[:EMBEDDED_LINES]]
    return listing(shown, "/v1/invoice_payments", len(found) > EMBEDDED_LINES)


@render.includes(KIND, "confirmation_secret")
def _confirmation_secret(ctx: Context, invoice: Doc) -> Doc | None:
    intent = settlement.default_intent(ctx, invoice)
    return intent and {"client_secret": intent["client_secret"], "type": "payment_intent"}
