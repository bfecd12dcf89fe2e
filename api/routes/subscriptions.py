"""Subscriptions: a customer on a plan from a date."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.problem import problems
from api.schemas.subscriptions import (
    PeriodsOut,
    SubscriptionFilters,
    SubscriptionIn,
    SubscriptionOut,
    SubscriptionPreviewIn,
)
from api.schemas.upcoming_invoices import PeriodsPage, SubscriptionPeriodOut, UpcomingInvoiceOut
from ledger.store import customers, plans, subscriptions
from pipelines.steps.create_subscription import create_subscription as create
from pipelines.steps.list_periods import list_periods
from pipelines.steps.upcoming_invoice import upcoming_invoice

routes = router("Subscriptions")


@routes.post("/subscriptions", status_code=201, response_model=SubscriptionOut, responses=problems(409))
def create_subscription(body: SubscriptionIn, once: Annotated[Once, creates("subscriptions:write")]) -> Response:
    """Put a customer on a plan. An invoice follows at the end of each period."""
    call, wanted = once.call, body.new_subscription()
    return once.create(
        lambda session: SubscriptionOut.of(create(session, call.scope, wanted, call.caller.id, call.now), call.now)
    )


@routes.post("/subscriptions/preview")
def preview_periods(body: SubscriptionPreviewIn, call: Annotated[Call, needs("subscriptions:read")]) -> PeriodsOut:
    """Which billing period a moment lies in, and which one came before: the rules, without creating anything."""
    return PeriodsOut.of(body.schedule(), body.at or call.now)


@routes.get("/subscriptions/{subscription_id}", responses=problems(404))
def get_subscription(subscription_id: PathId, call: Annotated[Call, needs("subscriptions:read")]) -> SubscriptionOut:
    """Read a subscription, with its current period."""
    with call.deps.ledger.read() as session:
        return SubscriptionOut.of(subscriptions.get_subscription(session, call.scope, subscription_id), call.now)


@routes.get("/subscriptions/{subscription_id}/upcoming-invoice", responses=problems(404, 409))
def show_upcoming_invoice(subscription_id: PathId, call: Annotated[Call, needs("invoices:read")]) -> UpcomingInvoiceOut:
    """What the running period comes to so far, line by line, priced as its invoice will be. Nothing is written.

    Flat prices are in it for the whole period, usage is what was acknowledged before this request. Before the
    subscription begins it is the first period without usage; once it has ended the answer is 409 `subscription_ended`.
    """
    deps = call.deps
    return UpcomingInvoiceOut.of(upcoming_invoice(deps.ledger, deps.warehouse, call.scope, subscription_id, call.now))


@routes.get("/subscriptions/{subscription_id}/periods", responses=problems(404))
def list_subscription_periods(
    subscription_id: PathId, paging: Annotated[PeriodsPage, Query()], call: Annotated[Call, needs("invoices:read")]
) -> Listing[SubscriptionPeriodOut]:
    """List the billing periods from the first to the next one, newest first, each with its invoice."""
    with call.deps.ledger.read() as session:
        subscription = subscriptions.get_subscription(session, call.scope, subscription_id)
        page = list_periods(session, call.scope, subscription, call.now, **dict(paging))
    items = [SubscriptionPeriodOut.of(period, subscription) for period in page.items]
    return Listing(items=items, next_cursor=page.next_cursor)


@routes.get("/subscriptions")
def list_subscriptions(
    filters: Annotated[SubscriptionFilters, Query()], call: Annotated[Call, needs("subscriptions:read")]
) -> Listing[SubscriptionOut]:
    """List subscriptions, newest first."""
    wanted = filters.model_dump()
    with call.deps.ledger.read() as session:
        if filters.customer_id is not None:
            wanted["customer_id"] = customers.get_customer(session, call.scope, filters.customer_id).id
        if filters.plan_id is not None:
            wanted["plan_id"] = plans.get_plan(session, call.scope, filters.plan_id).id
        page = subscriptions.list_subscriptions(session, call.scope, call.now, **wanted)
    items = [SubscriptionOut.of(subscription, call.now) for subscription in page.items]
    return Listing(items=items, next_cursor=page.next_cursor)
