"""Plans with their prices."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.paging import Paging
from api.schemas.plans import PlanIn, PlanOut
from api.schemas.problem import problems
from ledger.store import plans
from pipelines.steps.create_plan import create_plan as create

routes = router("Plans")


@routes.post("/plans", status_code=201, response_model=PlanOut, responses=problems(409))
def create_plan(body: PlanIn, once: Annotated[Once, creates("catalog:write")]) -> Response:
    """Create a plan with its prices, which take currency and billing period from it."""
    wanted = body.new_plan()
    return once.create(lambda session: PlanOut.of(create(session, once.call.scope, wanted, once.call.now)))


@routes.get("/plans/{plan_id}", responses=problems(404))
def get_plan(plan_id: PathId, call: Annotated[Call, needs("catalog:read")]) -> PlanOut:
    """Read a plan by its id or key, with its prices in their latest versions."""
    with call.deps.ledger.read() as session:
        return PlanOut.of(plans.get_plan(session, call.scope, plan_id))


@routes.get("/plans")
def list_plans(paging: Annotated[Paging, Query()], call: Annotated[Call, needs("catalog:read")]) -> Listing[PlanOut]:
    """List plans, newest first."""
    with call.deps.ledger.read() as session:
        page = plans.list_plans(session, call.scope, paging.cursor, paging.limit)
    return Listing(items=[PlanOut.of(plan) for plan in page.items], next_cursor=page.next_cursor)
