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
from ledger.store import customers, plans, subscriptions
from pipelines.steps.create_subscription import create_subscription as create

routes = router("Subscriptions")


@routes.post("/subscriptions", status_code=201, response_model=SubscriptionOut, responses=problems(409))
def create_subscription(body: SubscriptionIn, once: Annotated[Once, creates("subscriptions:write")]) -> Response:
    """Put a customer on a plan. An invoice follows at the end of each period."""
    call, wanted = once.call, body.new_subscription()
    return once.create(lambda session: SubscriptionOut.of(create(session, call.scope, wanted, call.now), call.now))


@routes.post("/subscriptions/preview")
def preview_periods(body: SubscriptionPreviewIn, call: Annotated[Call, needs("subscriptions:read")]) -> PeriodsOut:
    """Which billing period a moment lies in, and which one came before: the rules, without creating anything."""
    return PeriodsOut.of(body.schedule(), body.at or call.now)


@routes.get("/subscriptions/{subscription_id}", responses=problems(404))
def get_subscription(subscription_id: PathId, call: Annotated[Call, needs("subscriptions:read")]) -> SubscriptionOut:
    """Read a subscription, with its current period."""
    with call.deps.ledger.read() as session:
        return SubscriptionOut.of(subscriptions.get_subscription(session, call.scope, subscription_id), call.now)


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
        page = subscriptions.list_subscriptions(session, call.scope, **wanted)
    items = [SubscriptionOut.of(subscription, call.now) for subscription in page.items]
    return Listing(items=items, next_cursor=page.next_cursor)
