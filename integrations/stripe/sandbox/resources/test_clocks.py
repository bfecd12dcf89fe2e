"""/v1/test_helpers/test_clocks: time that stands still for a few customers until it is told to advance.

Invoices, subscriptions and retries of those customers follow the clock; events, their deliveries and idempotency keys
follow the account's time, as everything of other customers does.
"""

from integrations.stripe.sandbox import bound, events, intervals, pagination
from integrations.stripe.sandbox.context import Context, new_id
from integrations.stripe.sandbox.errors import Doc, invalid, refused
from integrations.stripe.sandbox.resources import customers
from integrations.stripe.sandbox.routing import operation, retrieves
from integrations.stripe.sandbox.worker import job

KIND = bound.CLOCK
PATH = "/v1/test_helpers/test_clocks"
KEPT_SECONDS = 30 * 86400
MOST_YEARS = 2
READY = "test_clock.ready"

retrieves(f"{PATH}/{{test_clock}}", KIND)


@operation(f"POST {PATH}", KIND, "frozen_time name")
def create(ctx: Context, params: Doc) -> Doc:
    if ctx.account.livemode:
        raise refused("Test clocks are not available in live mode.")
    clock: Doc = {
        "id": new_id("clock"),
        "object": KIND,
        "created": ctx.now,
        "deletes_after": ctx.now + KEPT_SECONDS,
        "frozen_time": params["frozen_time"],
        "livemode": False,
        "name": params.get("name"),
        "status": "ready",
        "status_details": {},
    }
    ctx.add(clock)
    ctx.schedule("test_clock.delete", clock["id"], ctx.time + KEPT_SECONDS)
    events.emit(ctx, f"{KIND}.created", clock)
    return clock


@operation(f"POST {PATH}/{{test_clock}}/advance", KIND, "frozen_time")
def advance(ctx: Context, params: Doc, ident: str) -> Doc:
    clock, target = ctx.load(KIND, ident), params["frozen_time"]
    if clock["status"] != "ready":
        raise refused("The test clock is advancing; wait until it is ready.")
    if target <= clock["frozen_time"]:
        raise invalid("frozen_time must be later than the clock's present frozen_time.", "frozen_time")
    if target > _farthest(ctx, clock):
        message = "A test clock advances by at most two intervals of the shortest subscription, or by two years."
        raise invalid(message, "frozen_time")
    clock.update(status="advancing", status_details={"advancing": {"target_frozen_time": target}})
    ctx.save(clock)
    events.emit(ctx, f"{KIND}.advancing", clock)
    ctx.schedule(READY, ident, target, clock=ident)
    return clock


@operation(f"DELETE {PATH}/{{test_clock}}", KIND)
def delete(ctx: Context, _params: Doc, ident: str) -> Doc:
    return deleted(ctx, ctx.load(KIND, ident))


@operation(f"GET {PATH}", KIND)
def index(ctx: Context, params: Doc) -> Doc:
    return pagination.page(ctx, params, KIND, PATH)


def deleted(ctx: Context, clock: Doc) -> Doc:
    """With its customers, whose subscriptions end."""
    for customer in ctx.find("customer", ("test_clock", "eq", clock["id"])):
        customers.delete(ctx, {}, customer["id"])
    ctx.db.execute("DELETE FROM clock_jobs WHERE account = ? AND clock = ?", (ctx.account.id, clock["id"]))
    events.emit(ctx, f"{KIND}.deleted", clock)
    return ctx.remove(clock)


@job(READY)
def _ready(ctx: Context, ident: str) -> None:
    """Everything until the target is done."""
    clock = ctx.load(KIND, ident)
    clock.update(status="ready", frozen_time=ctx.now, status_details={})
    ctx.save(clock)
    events.emit(ctx, f"{KIND}.ready", clock)


@job("test_clock.delete")
def _too_old(ctx: Context, ident: str) -> None:
    clock = ctx.get(ident)
    if clock is not None and not clock.get("deleted"):
        deleted(ctx, clock)


def _farthest(ctx: Context, clock: Doc) -> int:
    now: int = clock["frozen_time"]
    running = ctx.find("subscription", ("test_clock", "eq", clock["id"]), ("status", "in", ["active", "trialing"]))
    cycles = [item["price"]["recurring"] for each in running for item in each["_items"]]
    if not cycles:
        return intervals.after(now, now, "year", MOST_YEARS)
    return min(intervals.after(now, now, each["interval"], 2 * each["interval_count"]) for each in cycles)
