"""Prices of plans: added, changed, archived, with their history; and trying one out without creating anything."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.catalog_changes import ArchivePriceIn
from api.schemas.common import Listing
from api.schemas.paging import Paging
from api.schemas.plan_prices import PriceChangesIn, PriceFilters, PriceIn, PriceOut
from api.schemas.prices import PreviewIn, PreviewOut
from api.schemas.problem import problems
from billing.rating import rate
from ledger.page import Page
from ledger.store import plans, prices
from ledger.store.prices import PriceRecord
from pipelines.steps import change_prices
from pipelines.steps.change_prices import with_plans

routes = router("Prices")


@routes.post("/prices/preview")
def preview_price(body: PreviewIn, call: Annotated[Call, needs("catalog:read")]) -> PreviewOut:
    """What a quantity costs at a price, tier by tier."""
    return PreviewOut.of(rate(body.price.price("price"), body.exact_quantity(), body.currency))


@routes.post("/prices", status_code=201, response_model=PriceOut, responses=problems(409))
def create_price(body: PriceIn, once: Annotated[Once, creates("catalog:write")]) -> Response:
    """Add a price to a plan. Who has subscribed to it is billed by it from the next period on."""
    call, wanted, timing = once.call, body.new_price(), body.timing()
    return once.create(
        lambda session: PriceOut.of(
            change_prices.add_price(session, call.scope, call.caller.id, body.plan_id, wanted, timing, call.now)
        )
    )


@routes.get("/prices/{price_id}", responses=problems(404))
def get_price(price_id: PathId, call: Annotated[Call, needs("catalog:read")]) -> PriceOut:
    """Read a price in the version that is in force now, or in its first one if that is still to come."""
    with call.deps.ledger.read() as session:
        found = prices.version_at(session, call.scope, price_id, call.now)
        return PriceOut.of(with_plans(session, call.scope, [found])[0])


@routes.get("/prices")
def list_prices(
    filters: Annotated[PriceFilters, Query()], call: Annotated[Call, needs("catalog:read")]
) -> Listing[PriceOut]:
    """List prices in the versions in force now, archived ones and those to come included, newest first."""
    wanted = filters.model_dump()
    with call.deps.ledger.read() as session:
        if filters.plan_id is not None:
            wanted["plan_id"] = plans.get_plan(session, call.scope, filters.plan_id).id
        return _listing(session, call, prices.list_prices(session, call.scope, call.now, **wanted))


@routes.patch("/prices/{price_id}", responses=problems(404, 409))
def change_price(price_id: PathId, body: PriceChangesIn, call: Annotated[Call, needs("catalog:write")]) -> PriceOut:
    """Change a price: a new version, by which the periods that begin from now on are billed."""
    changes, timing = body.price_changes(), body.timing()
    return call.deps.ledger.run(
        lambda session: PriceOut.of(
            change_prices.change_price(session, call.scope, call.caller.id, price_id, changes, timing, call.now)
        )
    )


@routes.post("/prices/{price_id}/archive", responses=problems(404, 409))
def archive_price(
    price_id: PathId, call: Annotated[Call, needs("catalog:write")], body: ArchivePriceIn | None = None
) -> PriceOut:
    """End a price: the running period is still billed by it, the next one is not. It cannot be changed any more."""
    timing = (body or ArchivePriceIn()).timing()
    return call.deps.ledger.run(
        lambda session: PriceOut.of(
            change_prices.archive_price(session, call.scope, call.caller.id, price_id, timing, call.now)
        )
    )


@routes.get("/prices/{price_id}/versions", responses=problems(404))
def list_price_versions(
    price_id: PathId, paging: Annotated[Paging, Query()], call: Annotated[Call, needs("catalog:read")]
) -> Listing[PriceOut]:
    """List every version of a price, newest first: also what it was, and what it is going to be."""
    with call.deps.ledger.read() as session:
        page = prices.list_versions(session, call.scope, price_id, paging.cursor, paging.limit)
        return _listing(session, call, page)


def _listing(session: Session, call: Call, page: Page[PriceRecord]) -> Listing[PriceOut]:
    items = [PriceOut.of(price) for price in with_plans(session, call.scope, page.items)]
    return Listing(items=items, next_cursor=page.next_cursor)
