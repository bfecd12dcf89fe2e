"""/v1/subscriptions: recurring items that invoice themselves, period by period, until they are cancelled.

As much as it takes to see whether a subscription is billed here: each period has an invoice of its items' full amounts,
finalized at once, collected as its `collection_method` says. There are no prorations, discounts or incomplete states.
"""

from integrations.stripe.sandbox import events, intervals, pagination, render, search
from integrations.stripe.sandbox.context import Context, given_or_none, listing, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, invalid, missing, not_served, refused
from integrations.stripe.sandbox.resources import prices, subscription_invoices
from integrations.stripe.sandbox.routing import operation, retrieves
from integrations.stripe.sandbox.worker import job

KIND = "subscription"
PATH = "/v1/subscriptions"
ONE = f"{PATH}/{{subscription_exposed_id}}"
MOST_ITEMS = 20
ITEM = (
    "items.price items.quantity items.metadata items.price_data.currency items.price_data.product"
    " items.price_data.recurring items.price_data.unit_amount items.price_data.unit_amount_decimal"
)
SHARED = (
    "cancel_at cancel_at_period_end collection_method days_until_due description metadata off_session"
    f" proration_behavior {ITEM}"
)

retrieves(ONE, KIND)


@operation(
    f"POST {PATH}",
    KIND,
    f"customer currency backdate_start_date billing_cycle_anchor payment_behavior trial_end {SHARED}",
)
def create(ctx: Context, params: Doc) -> Doc:
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = ctx.load("customer", params["customer"], "customer")
    given = params.get("items", [])
    if not 1 <= len(given) <= MOST_ITEMS:
        raise invalid(f"A subscription has 1 to {MOST_ITEMS} items.", "items", "parameter_missing")
    ident = new_id("sub")
    items = [_item(ctx, ident, each, f"items[{n}]") for n, each in enumerate(given)]
    _check_together(items)
    subscription: Doc = {
        "id": ident,
        "object": KIND,
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": ctx.now,
        "billing_cycle_anchor_config": None,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": ctx.now,
        "currency": items[0]["price"]["currency"],
        "customer": customer["id"],
        "customer_account": None,
        "days_until_due": None,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "latest_invoice": None,
        "livemode": ctx.account.livemode,
        "metadata": {},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None, "payment_method_types": None, "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": ctx.now,
        "status": "active",
        "test_clock": customer["test_clock"],
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
        "_items": items,
    }  # fmt: skip
    _place_in_time(ctx, subscription, params)
    ctx.add(subscription)
    _apply(ctx, subscription, params)
    events.emit(ctx, "customer.subscription.created", subscription)
    subscription_invoices.made(
        ctx, subscription, "subscription_create", is_billed=_first_is_billed(subscription, params)
    )
    ctx.schedule("subscription.renew", ident, items[0]["current_period_end"])
    return ctx.load(KIND, ident)


@operation(f"POST {ONE}", KIND, f"items.id items.deleted pause_collection {SHARED}")
def update(ctx: Context, params: Doc, ident: str) -> Doc:
    subscription = ctx.load(KIND, ident)
    if subscription["status"] == "canceled" and set(params) - {"metadata", "expand"}:
        message = "A canceled subscription can only update its cancellation_details and metadata."
        raise refused(message)
    before = {**subscription, "metadata": dict(subscription["metadata"])}
    if "items" in params:
        _change_items(ctx, subscription, params["items"])
    _apply(ctx, subscription, params)
    events.emit(ctx, "customer.subscription.updated", subscription, before)
    return subscription


@operation(f"DELETE {ONE}", KIND, "invoice_now prorate")
def cancel(ctx: Context, params: Doc, ident: str) -> Doc:
    if params.get("prorate"):
        raise not_served("prorate")
    subscription = ctx.load(KIND, ident)
    if subscription["status"] == "canceled":
        raise missing(KIND, ident)
    canceled(ctx, subscription)
    return subscription


@operation(f"GET {PATH}", KIND, "created customer price status collection_method test_clock")
def index(ctx: Context, params: Doc) -> Doc:
    filters = pagination.equals(params, "customer", "collection_method")
    if "customer" not in params:
        filters.append(pagination.of_clock(params))
    match params.get("status"):
        case None:
            filters.append(("status", "in", ["active", "trialing", "past_due"]))
        case "all":
            pass
        case "ended":
            filters.append(("status", "eq", "canceled"))
        case status:
            filters.append(("status", "eq", status))
    if "price" in params:
        raise not_served("price")
    return pagination.page(ctx, params, KIND, PATH, filters)


@operation("GET /v1/subscriptions/search", KIND, "query page")
def find(ctx: Context, params: Doc) -> Doc:
    found = search.search(ctx, KIND, params.get("query", ""))
    return pagination.search_page(ctx, params, "/v1/subscriptions/search", found)


def canceled(ctx: Context, subscription: Doc) -> None:
    """Over at once; what was invoiced stays."""
    before = dict(subscription)
    subscription.update(
        status="canceled",
        canceled_at=subscription["canceled_at"] or ctx.now,
        ended_at=ctx.now,
        pause_collection=None,
        cancellation_details={"comment": None, "feedback": None, "reason": "cancellation_requested"},
    )
    if subscription != before:
        ctx.save(subscription)
        events.emit(ctx, "customer.subscription.deleted", subscription)


@job("subscription.renew")
def _renew(ctx: Context, ident: str) -> None:
    subscription = ctx.load(KIND, ident)
    if subscription["status"] == "canceled":
        return
    if subscription["cancel_at"] is not None and subscription["cancel_at"] <= ctx.now:
        canceled(ctx, subscription)
        return
    before = {**subscription, "_items": [dict(item) for item in subscription["_items"]]}
    subscription["status"] = "active"
    for item in subscription["_items"]:
        item["current_period_start"] = item["current_period_end"]
        item["current_period_end"] = _next(subscription, item, item["current_period_start"])
    ctx.save(subscription)
    events.emit(ctx, "customer.subscription.updated", subscription, before)
    subscription_invoices.made(ctx, subscription, "subscription_cycle", is_billed=True)
    ctx.schedule("subscription.renew", ident, subscription["_items"][0]["current_period_end"])


@job("subscription.cancel")
def _cancel_later(ctx: Context, ident: str) -> None:
    subscription = ctx.load(KIND, ident)
    planned = subscription["cancel_at"]
    if subscription["status"] != "canceled" and planned is not None and planned <= ctx.now:
        canceled(ctx, subscription)


@job("subscription.resume")
def _resume_later(ctx: Context, ident: str) -> None:
    subscription = ctx.load(KIND, ident)
    pause = subscription["pause_collection"]
    if pause and pause["resumes_at"] is not None and pause["resumes_at"] <= ctx.now:
        before = dict(subscription)
        subscription["pause_collection"] = None
        ctx.save(subscription)
        events.emit(ctx, "customer.subscription.updated", subscription, before)


def _place_in_time(ctx: Context, subscription: Doc, params: Doc) -> None:
    """Start, trial, anchor and the first period, which ends where the grid around the anchor says."""
    start = params.get("backdate_start_date", ctx.now)
    if start > ctx.now:
        raise invalid("backdate_start_date must be in the past.", "backdate_start_date")
    trial_end = params.get("trial_end")
    if trial_end is not None and (trial_end == "now" or trial_end <= ctx.now):
        raise invalid("trial_end must be in the future.", "trial_end")
    anchor: int = params.get("billing_cycle_anchor") or trial_end or ctx.now
    subscription.update(start_date=start, billing_cycle_anchor=anchor)
    if trial_end is not None:
        subscription.update(status="trialing", trial_start=ctx.now, trial_end=trial_end)
    for item in subscription["_items"]:
        end = trial_end or _next(subscription, item, ctx.now)
        if "billing_cycle_anchor" in params and anchor != _next(subscription, item, ctx.now):
            message = "billing_cycle_anchor must be in the future, and at most one billing period away."
            raise invalid(message, "billing_cycle_anchor")
        item.update(current_period_start=ctx.now, current_period_end=end)


def _first_is_billed(subscription: Doc, params: Doc) -> bool:
    """A first period that is shorter than the others is prorated or free, and the sandbox knows free ones only."""
    if subscription["status"] == "trialing":
        return False
    is_short = "billing_cycle_anchor" in params
    paid = any(item["price"]["unit_amount_decimal"] != "0" for item in subscription["_items"])
    if paid and is_short and params.get("proration_behavior") != "none":
        raise not_served("proration_behavior")
    return not is_short


def _apply(ctx: Context, subscription: Doc, params: Doc) -> None:
    if params.get("proration_behavior") == "always_invoice":
        raise not_served("proration_behavior")
    for name in ("collection_method", "days_until_due"):
        if name in params:
            subscription[name] = params[name]
    if (subscription["collection_method"] == "send_invoice") != (subscription["days_until_due"] is not None):
        message = "days_until_due is required for collection_method send_invoice, and only allowed then."
        raise invalid(message, "days_until_due")
    if "description" in params:
        subscription["description"] = given_or_none(params, "description")
    _plan_end(ctx, subscription, params)
    if "pause_collection" in params:
        given = params["pause_collection"] or None
        subscription["pause_collection"] = given and {"resumes_at": None, **given}
        if given and given["behavior"] == "keep_as_draft":
            raise not_served("pause_collection[behavior]")
        if given and given.get("resumes_at") is not None:
            ctx.schedule("subscription.resume", subscription["id"], given["resumes_at"])
    merge_metadata(subscription, params.get("metadata"))
    ctx.save(subscription)


def _plan_end(ctx: Context, subscription: Doc, params: Doc) -> None:
    if "cancel_at" in params and params.get("cancel_at_period_end"):
        raise invalid("You may only specify one of cancel_at and cancel_at_period_end.", "cancel_at")
    if isinstance(params.get("cancel_at"), str) and params["cancel_at"]:
        raise not_served("cancel_at")
    end: int | None
    if "cancel_at" in params:
        end = given_or_none(params, "cancel_at")
    elif "cancel_at_period_end" in params:
        end = subscription["_items"][0]["current_period_end"] if params["cancel_at_period_end"] else None
    else:
        return
    if end is not None and end <= ctx.now:
        raise invalid("cancel_at must be in the future.", "cancel_at")
    subscription.update(
        cancel_at=end,
        cancel_at_period_end=bool(params.get("cancel_at_period_end")),
        canceled_at=None if end is None else ctx.now,
    )
    if end is not None:
        ctx.schedule("subscription.cancel", subscription["id"], end)


def _change_items(ctx: Context, subscription: Doc, given: list[Doc]) -> None:
    known = {item["id"]: item for item in subscription["_items"]}
    for number, change in enumerate(given):
        at = f"items[{number}]"
        old = known.get(change["id"]) if "id" in change else None
        if "id" in change and old is None:
            raise missing("subscription_item", change["id"], f"{at}[id]", 400)
        if change.get("deleted"):
            if old is not None:
                del known[old["id"]]
            continue
        priced = "price" in change or "price_data" in change
        item = _item(ctx, subscription["id"], change if priced else {**change, "price": old and old["price"]["id"]}, at)
        if old is not None:
            kept = ("id", "created", "current_period_start", "current_period_end")
            item |= {name: old[name] for name in kept} | {"quantity": change.get("quantity", old["quantity"])}
        else:
            first = subscription["_items"][0]
            item |= {name: first[name] for name in ("current_period_start", "current_period_end")}
        known[item["id"]] = item
    if not known:
        raise invalid("A subscription must have at least one item.", "items")
    subscription["_items"] = list(known.values())
    _check_together(subscription["_items"])


def _item(ctx: Context, subscription_id: str, given: Doc, at: str) -> Doc:
    if ("price" in given) == ("price_data" in given):
        raise invalid("You must specify exactly one of price and price_data.", f"{at}[price]")
    if "price" in given:
        price = ctx.load("price", given["price"] or "", f"{at}[price]")
    else:
        price = prices.created(ctx, given["price_data"], active=False)
    if price["type"] != "recurring":
        raise invalid("The price must be recurring, not one-time.", f"{at}[price]")
    if price["billing_scheme"] != "per_unit" or price["transform_quantity"]:
        raise not_served(f"{at}[price]")
    return {
        "id": new_id("si", 14),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": ctx.now,
        "current_period_end": 0,
        "current_period_start": 0,
        "discounts": [],
        "metadata": given.get("metadata", {}),
        "price": render.show(ctx, price),
        "quantity": given.get("quantity", 1),
        "subscription": subscription_id,
        "tax_rates": [],
    }


def _check_together(items: list[Doc]) -> None:
    """One currency and one interval: the sandbox bills all items of a subscription at once."""
    if len({item["price"]["currency"] for item in items}) > 1:
        raise invalid("All prices of a subscription must use the same currency.", "items")
    cycles = {(item["price"]["recurring"]["interval"], item["price"]["recurring"]["interval_count"]) for item in items}
    if len(cycles) > 1:
        raise not_served("items[price]")


def _next(subscription: Doc, item: Doc, moment: int) -> int:
    recurring = item["price"]["recurring"]
    anchor = subscription["billing_cycle_anchor"]
    return intervals.after(anchor, moment, recurring["interval"], recurring["interval_count"])


@render.fills(KIND)
def _fill(_ctx: Context, subscription: Doc, shown: Doc) -> None:
    shown["items"] = listing(subscription["_items"], f"/v1/subscription_items?subscription={subscription['id']}")
