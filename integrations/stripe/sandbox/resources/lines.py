"""Invoice items and the lines they become: what a line may say, what it costs, in which order lines stand."""

from collections.abc import Sequence
from decimal import Decimal

from integrations.stripe.sandbox.context import Context, given_or_none, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, invalid, refused
from integrations.stripe.sandbox.money import currency_of, line_amount, plain
from integrations.stripe.sandbox.resources import prices, taxes

MOST = 250
ITEM_SERVED = (
    "amount description discountable metadata period price_data.currency price_data.product price_data.unit_amount"
    " price_data.unit_amount_decimal pricing quantity quantity_decimal"
)
SERVED = f"{ITEM_SERVED} price_data.product_data {taxes.SERVED}"


def served(prefix: str, also: str = "") -> str:
    """The parameters of a line under `prefix`, for the table of operations."""
    return " ".join(f"{prefix}.{name}" for name in f"{SERVED} {also}".split())


def item_added(ctx: Context, customer: str, currency: str | None, params: Doc, at: str, invoice: Doc | None) -> Doc:
    """A new invoice item, pending or with its line on a draft.

    `at` names the parameters' place for errors (`lines[0]` or empty). Raises 400 for a line that says its price twice
    or not at all, or in another currency than its invoice's.
    """
    priced = _priced(ctx, params, currency, at)
    if invoice is not None and priced["currency"] != invoice["currency"]:
        message = f"The line's currency ({priced['currency']}) must be the invoice's ({invoice['currency']})."
        raise invalid(message, _at(at, "currency"))
    item: Doc = {
        "id": new_id("ii"),
        "object": "invoiceitem",
        "amount": priced["amount"],
        "currency": priced["currency"],
        "customer": customer,
        "customer_account": None,
        "date": ctx.now,
        "description": given_or_none(params, "description") or priced["description"],
        "discountable": params.get("discountable", priced["amount"] >= 0),
        "discounts": [],
        "invoice": invoice["id"] if invoice else None,
        "livemode": ctx.account.livemode,
        "metadata": {},
        "parent": None,
        "period": params.get("period") or {"start": ctx.now, "end": ctx.now},
        "pricing": priced["pricing"],
        "proration": False,
        "quantity": int(priced["quantity"]),
        "quantity_decimal": plain(priced["quantity"]),
        "tax_rates": [],
        "test_clock": None,
    }
    if item["period"]["start"] > item["period"]["end"]:
        raise invalid("The period's start must not be after its end.", _at(at, "period[start]"))
    merge_metadata(item, params.get("metadata"))
    ctx.add(item)
    if invoice is not None:
        line_added(ctx, invoice, item, taxes.given(ctx, params, at))
    return item


def line_added(ctx: Context, invoice: Doc, item: Doc, taxed: Sequence[Doc] = ()) -> Doc:
    """The line of an item at the end of a draft. Raises 400 beyond Stripe's limit of items on an invoice."""
    last = ctx.find("line_item", ("invoice", "eq", invoice["id"]), limit=1)
    if ctx.count("line_item", ("invoice", "eq", invoice["id"])) >= MOST:
        raise refused(f"An invoice can have at most {MOST} items.", param="lines")
    quantity = Decimal(item["quantity_decimal"])
    line = ctx.add(
        {
            "id": new_id("il"),
            "object": "line_item",
            "amount": item["amount"],
            "currency": item["currency"],
            "description": item["description"],
            "discount_amounts": [],
            "discountable": item["discountable"],
            "discounts": [],
            "invoice": invoice["id"],
            "livemode": ctx.account.livemode,
            "metadata": dict(item["metadata"]),
            "parent": {
                "invoice_item_details": {
                    "invoice_item": item["id"],
                    "proration": False,
                    "proration_details": {"credited_items": None},
                    "subscription": None,
                },
                "subscription_item_details": None,
                "type": "invoice_item_details",
            },
            "period": dict(item["period"]),
            "pretax_credit_amounts": [],
            "pricing": item["pricing"],
            "quantity": int(quantity) if quantity == int(quantity) else None,
            "quantity_decimal": item["quantity_decimal"],
            "subscription": None,
            "subtotal": item["amount"],
            "taxes": list(taxed),
            "_position": last[0]["_position"] + 1 if last else 0,
            "_was_pending": item["invoice"] is None,
        }
    )
    if item["invoice"] is None:
        item["invoice"] = invoice["id"]
        ctx.save(item)
    return line


def of_invoice(ctx: Context, invoice_id: str) -> list[Doc]:
    """The lines in the order in which they stand."""
    return sorted(ctx.find("line_item", ("invoice", "eq", invoice_id)), key=lambda line: int(line["_position"]))


def changed(ctx: Context, line: Doc, params: Doc, at: str) -> None:
    """Change a draft's line and the item behind it."""
    item = ctx.load("invoiceitem", line["parent"]["invoice_item_details"]["invoice_item"])
    if any(name in params for name in ("amount", "price_data", "pricing", "quantity", "quantity_decimal")):
        known: Doc = dict(params)
        if "amount" not in params and "price_data" not in params and "pricing" not in params:
            if line["pricing"] is None:
                raise invalid("A line that was given as an amount has no quantity.", _at(at, "quantity"))
            known["pricing"] = {"price": line["pricing"]["price_details"]["price"]}
        priced = _priced(ctx, known, line["currency"], at)
        if priced["currency"] != line["currency"]:
            raise invalid("A line's currency cannot change.", _at(at, "price_data[currency]"))
        quantity = priced["quantity"]
        for doc in (line, item):
            doc.update(amount=priced["amount"], pricing=priced["pricing"], quantity_decimal=plain(quantity))
        line.update(subtotal=priced["amount"], quantity=int(quantity) if quantity == int(quantity) else None)
        item["quantity"] = int(quantity)
    for doc in (line, item):
        if "description" in params:
            doc["description"] = given_or_none(params, "description")
        if "discountable" in params:
            doc["discountable"] = params["discountable"]
        if "period" in params:
            doc["period"] = params["period"]
        if "tax_amounts" in params and doc is line:
            doc["taxes"] = taxes.given(ctx, params, at)
        merge_metadata(doc, params.get("metadata"))
        ctx.save(doc)


def removed(ctx: Context, line: Doc, behavior: str) -> None:
    """Take a line off a draft: its item is deleted, or goes back to being pending."""
    item = ctx.load("invoiceitem", line["parent"]["invoice_item_details"]["invoice_item"])
    ctx.remove(line)
    if behavior == "delete":
        ctx.remove(item)
    else:
        item["invoice"] = None
        ctx.save(item)


def _priced(ctx: Context, params: Doc, currency: str | None, at: str) -> Doc:
    """Amount, quantity, currency and pricing of a line, from exactly one way of saying the price."""
    ways = [name for name in ("amount", "price_data", "pricing", "unit_amount_decimal") if params.get(name) is not None]
    if len(ways) != 1:
        message = "You must specify exactly one of amount, price_data or pricing for a line."
        raise invalid(message, _at(at, ways[1] if ways else "amount"), None if ways else "parameter_missing")
    quantity = _quantity(params, at)
    if ways[0] == "amount":
        if "quantity" in params or "quantity_decimal" in params:
            raise invalid("You may not specify a quantity together with amount.", _at(at, "quantity"))
        if currency is None:
            raise invalid("Missing required param: currency.", "currency", "parameter_missing")
        amount = params["amount"]
        return {"amount": amount, "quantity": quantity, "currency": currency, "pricing": None, "description": None}
    price = _price(ctx, params, currency, at)
    unit = Decimal(price["unit_amount_decimal"])
    return {
        "amount": line_amount(unit, quantity),
        "quantity": quantity,
        "currency": price["currency"],
        "description": (ctx.get(price["product"]) or {}).get("name"),
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
    }


def _price(ctx: Context, params: Doc, currency: str | None, at: str) -> Doc:
    if params.get("pricing") is not None:
        price = ctx.load("price", params["pricing"].get("price", ""), _at(at, "pricing[price]"))
        if price["type"] != "one_time":
            raise invalid("The price must be one-time, not recurring.", _at(at, "pricing[price]"))
        return price
    if params.get("price_data") is not None:
        # The price of a line is not for anyone to choose again.
        return prices.created(ctx, params["price_data"], active=False)
    if currency is None:
        raise invalid("Missing required param: currency.", "currency", "parameter_missing")
    data = {"currency": currency, "unit_amount_decimal": params["unit_amount_decimal"]}
    return prices.created(ctx, {**data, "product_data": {"name": params.get("description") or "Item"}}, active=False)


def _quantity(params: Doc, at: str) -> Decimal:
    if "quantity" in params and "quantity_decimal" in params:
        raise invalid("You may only specify one of quantity and quantity_decimal.", _at(at, "quantity"))
    quantity = Decimal(str(params.get("quantity", params.get("quantity_decimal", 1))))
    if quantity < 0:
        raise invalid("Invalid quantity: must be at least 0.", _at(at, "quantity"), "parameter_invalid_integer")
    return quantity


def _at(at: str, name: str) -> str:
    return f"{at}[{name}]" if at else name


def checked_currency(params: Doc) -> str | None:
    return currency_of(params["currency"]) if params.get("currency") else None
