"""Plans with their prices."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.catalog_changes import CatalogVersionOut
from api.schemas.common import Listing
from api.schemas.paging import Paging
from api.schemas.plans import PlanChangesIn, PlanIn, PlanOut
from api.schemas.problem import problems
from ledger.store import plans
from pipelines.steps.change_plan import archive_plan as close_plan
from pipelines.steps.change_plan import update_plan
from pipelines.steps.create_plan import create_plan as create

routes = router("Plans")


@routes.post("/plans", status_code=201, response_model=PlanOut, responses=problems(409))
def create_plan(body: PlanIn, once: Annotated[Once, creates("catalog:write")]) -> Response:
    """Create a plan with its prices, which take currency and billing period from it."""
    wanted = body.new_plan()
    return once.create(lambda session: PlanOut.of(create(session, once.call.scope, wanted, once.call.now)))


@routes.get("/plans/{plan_id}", responses=problems(404))
def get_plan(plan_id: PathId, call: Annotated[Call, needs("catalog:read")]) -> PlanOut:
    """Read a plan by its id or key, with its prices in the versions in force now."""
    with call.deps.ledger.read() as session:
        return PlanOut.of(plans.get_plan(session, call.scope, plan_id, call.now))


@routes.get("/plans")
def list_plans(paging: Annotated[Paging, Query()], call: Annotated[Call, needs("catalog:read")]) -> Listing[PlanOut]:
    """List plans, newest first."""
    with call.deps.ledger.read() as session:
        page = plans.list_plans(session, call.scope, paging.cursor, paging.limit, call.now)
    return Listing(items=[PlanOut.of(plan) for plan in page.items], next_cursor=page.next_cursor)


@routes.patch("/plans/{plan_id}", responses=problems(404, 409))
def change_plan(plan_id: PathId, body: PlanChangesIn, call: Annotated[Call, needs("catalog:write")]) -> PlanOut:
    """Change the name or description of a plan: a new version. Invoices keep what they say."""

    def change(session: Session) -> PlanOut:
        changes = body.changes(plans.get_plan(session, call.scope, plan_id))
        return PlanOut.of(update_plan(session, call.scope, plan_id, changes, call.now))

    return call.deps.ledger.run(change)


@routes.post("/plans/{plan_id}/archive", responses=problems(404))
def archive_plan(plan_id: PathId, call: Annotated[Call, needs("catalog:write")]) -> PlanOut:
    """Close a plan to new subscriptions. Those that run go on and are billed as before."""
    return call.deps.ledger.run(lambda session: PlanOut.of(close_plan(session, call.scope, plan_id, call.now)))


@routes.get("/plans/{plan_id}/versions", responses=problems(404))
def list_plan_versions(
    plan_id: PathId, paging: Annotated[Paging, Query()], call: Annotated[Call, needs("catalog:read")]
) -> Listing[CatalogVersionOut]:
    """List the versions of a plan, newest first. Each of its prices has its own."""
    with call.deps.ledger.read() as session:
        page = plans.list_versions(session, call.scope, plan_id, paging.cursor, paging.limit)
    return Listing(items=[CatalogVersionOut.of(version) for version in page.items], next_cursor=page.next_cursor)
