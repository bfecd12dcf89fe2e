"""/v1/refunds: money given back, never more than was taken. Two test cards settle it later, one of them by failing."""

from integrations.stripe.sandbox import events, pagination, render
from integrations.stripe.sandbox.context import Context, listing, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, invalid, refused
from integrations.stripe.sandbox.money import shown
from integrations.stripe.sandbox.resources import payment_methods
from integrations.stripe.sandbox.routing import operation, retrieves
from integrations.stripe.sandbox.worker import job

KIND = "refund"
SETTLES_AFTER_SECONDS = 86400

retrieves("/v1/refunds/{refund}", KIND)


def created(
    ctx: Context, charge: Doc, amount: int | None, reason: str | None = None, metadata: Doc | None = None
) -> Doc:
    """Refund `amount`, or all that is left, of a successful charge. Raises 400 beyond what is left."""
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["status"] != "succeeded":
        raise refused("This charge did not succeed, so there is nothing to refund.", "charge_not_refundable")
    if left == 0:
        raise refused(f"Charge {charge['id']} has already been refunded.", "charge_already_refunded")
    amount = left if amount is None else amount
    if amount < 1:
        raise invalid("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
    if amount > left:
        wanted, unrefunded = shown(amount, charge["currency"]), shown(left, charge["currency"])
        message = f"Refund amount ({wanted}) is greater than unrefunded amount on charge ({unrefunded})"
        raise refused(message, param="amount")
    method = ctx.get(charge["payment_method"])
    later = payment_methods.card_of(method).refund if method else None
    refund = ctx.add(
        {
            "id": new_id("re"),
            "object": KIND,
            "amount": amount,
            "balance_transaction": None,
            "charge": charge["id"],
            "created": ctx.now,
            "currency": charge["currency"],
            "destination_details": {"card": {"type": "refund"}, "type": "card"},
            "metadata": metadata or {},
            "payment_intent": charge["payment_intent"],
            "payment_method": charge["payment_method"],
            "reason": reason,
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": "pending" if later == "pending" else "succeeded",
            "transfer_reversal": None,
        }
    )
    if later:
        ctx.schedule(f"refund.{later}", refund["id"], ctx.time + SETTLES_AFTER_SECONDS)
    _count(ctx, charge, amount)
    events.emit(ctx, "refund.created", refund)
    events.emit(ctx, "charge.refunded", charge)
    return refund


def _count(ctx: Context, charge: Doc, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    ctx.save(charge)


def _moved(ctx: Context, refund: Doc, *also: str, **changes: object) -> None:
    before = dict(refund)
    refund.update(changes)
    ctx.save(refund)
    events.emit(ctx, "refund.updated", refund, before)
    events.emit(ctx, "charge.refund.updated", refund, before)
    for event in also:
        events.emit(ctx, event, refund)


@job("refund.pending")
def _settles(ctx: Context, ident: str) -> None:
    _moved(ctx, ctx.load(KIND, ident), status="succeeded")


@job("refund.failing")
def _fails(ctx: Context, ident: str) -> None:
    """The bank sent the money back: the charge counts as not refunded again."""
    refund = ctx.load(KIND, ident)
    _count(ctx, ctx.load("charge", refund["charge"]), -refund["amount"])
    _moved(ctx, refund, "refund.failed", status="failed", failure_reason="expired_or_canceled_card")


@operation("POST /v1/refunds", KIND, "amount charge payment_intent metadata reason")
def create(ctx: Context, params: Doc) -> Doc:
    if ("charge" in params) == ("payment_intent" in params):
        raise invalid("You must specify exactly one of charge and payment_intent.", "payment_intent")
    if "charge" in params:
        charge = ctx.load("charge", params["charge"], "charge")
    else:
        intent = ctx.load("payment_intent", params["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            message = "This PaymentIntent does not have a successful charge to refund."
            raise refused(message, "payment_intent_unexpected_state", "payment_intent")
        charge = ctx.load("charge", intent["latest_charge"])
    given: Doc = {}
    merge_metadata(given, params.get("metadata"))
    return created(ctx, charge, params.get("amount"), params.get("reason"), given.get("metadata"))


@operation("POST /v1/refunds/{refund}", KIND, "metadata")
def update(ctx: Context, params: Doc, ident: str) -> Doc:
    refund = ctx.load(KIND, ident)
    before = {**refund, "metadata": dict(refund["metadata"])}
    merge_metadata(refund, params.get("metadata"))
    ctx.save(refund)
    events.emit(ctx, "refund.updated", refund, before)
    return refund


@operation("GET /v1/refunds", KIND, "created charge payment_intent")
def index(ctx: Context, params: Doc) -> Doc:
    return pagination.page(ctx, params, KIND, "/v1/refunds", pagination.equals(params, "charge", "payment_intent"))


@render.includes("charge", "refunds")
def _of_charge(ctx: Context, charge: Doc) -> Doc:
    found = ctx.find(KIND, ("charge", "eq", charge["id"]))
    return listing(
        [render.show(ctx, refund) for refund in found[:10]], f"/v1/charges/{charge['id']}/refunds", len(found) > 10
    )
