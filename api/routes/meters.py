"""Meters: how events become a number."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.meters import MeterIn, MeterOut
from api.schemas.paging import Paging
from api.schemas.problem import problems
from ledger.store import meters

routes = router("Meters")


@routes.post("/meters", status_code=201, response_model=MeterOut, responses=problems(409))
def create_meter(body: MeterIn, once: Annotated[Once, creates("catalog:write")]) -> Response:
    """Create a meter. You may choose its id, which then names it in features and usage questions."""
    definition = body.definition()

    def make(session: Session) -> MeterOut:
        return MeterOut.of(meters.create_meter(session, once.call.scope, definition, body.id, once.call.now))

    return once.create(make)


@routes.get("/meters/{meter_id}", responses=problems(404))
def get_meter(meter_id: PathId, call: Annotated[Call, needs("catalog:read")]) -> MeterOut:
    """Read a meter in its latest version."""
    with call.deps.ledger.read() as session:
        return MeterOut.of(meters.get_meter(session, call.scope, meter_id))


@routes.get("/meters")
def list_meters(paging: Annotated[Paging, Query()], call: Annotated[Call, needs("catalog:read")]) -> Listing[MeterOut]:
    """List meters, newest first."""
    with call.deps.ledger.read() as session:
        page = meters.list_meters(session, call.scope, paging.cursor, paging.limit)
    return Listing(items=[MeterOut.of(meter) for meter in page.items], next_cursor=page.next_cursor)
