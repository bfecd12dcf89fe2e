"""/v1/coupons: fixed amounts off an invoice, and the discounts that they become on it."""

from integrations.stripe.sandbox import events, pagination, store
from integrations.stripe.sandbox.context import Context, given_or_none, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, invalid, not_served, refused
from integrations.stripe.sandbox.money import currency_of
from integrations.stripe.sandbox.routing import operation, retrieves

KIND = "coupon"
PATH = "/v1/coupons"
LONGEST_NAME = 40
MOST_DISCOUNTS = 20

retrieves(f"{PATH}/{{coupon}}", KIND)


@operation(f"POST {PATH}", KIND, "id amount_off currency duration max_redemptions metadata name")
def create(ctx: Context, params: Doc) -> Doc:
    ident = params.get("id") or new_id("", 8).lstrip("_")
    known = ctx.get(ident)
    if known is not None and not known.get("deleted"):
        raise refused(f"Coupon already exists: {ident}", "resource_already_exists", "id")
    if params.get("amount_off", 0) < 1:
        raise invalid("The sandbox knows coupons of a positive amount_off only.", "amount_off", "parameter_missing")
    if "currency" not in params:
        raise invalid("Missing required param: currency.", "currency", "parameter_missing")
    if params.get("duration", "once") != "once":
        raise invalid("The sandbox knows coupons that are used once only.", "duration")
    name = given_or_none(params, "name")
    if name is not None and len(name) > LONGEST_NAME:
        raise invalid(f"A coupon's name can have up to {LONGEST_NAME} characters.", "name", "parameter_invalid_string")
    coupon: Doc = {
        "id": ident,
        "object": KIND,
        "amount_off": params["amount_off"],
        "created": ctx.now,
        "currency": currency_of(params["currency"]),
        "duration": "once",
        "duration_in_months": None,
        "livemode": ctx.account.livemode,
        "max_redemptions": params.get("max_redemptions"),
        "metadata": {},
        "name": name,
        "percent_off": None,
        "redeem_by": None,
        "times_redeemed": 0,
        "valid": True,
    }
    merge_metadata(coupon, params.get("metadata"))
    if known is not None:
        # The id of a coupon that was deleted may be used again.
        store.forget(ctx.db, ctx.account.id, ident)
    ctx.add(coupon)
    events.emit(ctx, "coupon.created", coupon)
    return coupon


@operation(f"DELETE {PATH}/{{coupon}}", KIND)
def delete(ctx: Context, _params: Doc, ident: str) -> Doc:
    """Discounts that it gave stay as they are."""
    coupon = ctx.load(KIND, ident)
    events.emit(ctx, "coupon.deleted", coupon)
    return ctx.remove(coupon)


@operation(f"GET {PATH}", KIND, "created")
def index(ctx: Context, params: Doc) -> Doc:
    return pagination.page(ctx, params, KIND, PATH, [])


def redeemed(ctx: Context, invoice: Doc, given: list[Doc]) -> list[str]:
    """The discounts of an invoice, one per coupon, in their order. Raises 400 for a coupon of another currency."""
    if len(given) > MOST_DISCOUNTS:
        raise invalid(f"You may only specify up to {MOST_DISCOUNTS} discounts.", "discounts")
    made = []
    for number, wanted in enumerate(given):
        at = f"discounts[{number}][coupon]"
        if set(wanted) - {"coupon"}:
            raise not_served(f"discounts[{number}][{min(set(wanted) - {'coupon'})}]")
        coupon = ctx.load(KIND, wanted.get("coupon", ""), at)
        if coupon["currency"] != invoice["currency"]:
            raise invalid("The coupon's currency must be the invoice's.", at)
        coupon["times_redeemed"] += 1
        ctx.save(coupon)
        discount = {
            "id": new_id("di"),
            "object": "discount",
            "checkout_session": None,
            "customer": invoice["customer"],
            "customer_account": None,
            "end": None,
            "invoice": invoice["id"],
            "invoice_item": None,
            "promotion_code": None,
            "source": {"coupon": coupon["id"], "type": "coupon"},
            "start": ctx.now,
            "subscription": None,
            "subscription_item": None,
            "_amount_off": coupon["amount_off"],
        }
        made.append(str(ctx.add(discount)["id"]))
    return made
