"""Meters: how events become a number."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.meters import MeterChangesIn, MeterIn, MeterOut
from api.schemas.paging import Paging
from api.schemas.problem import problems
from ledger.store import meters

routes = router("Meters")


@routes.post("/meters", status_code=201, response_model=MeterOut, responses=problems(409))
def create_meter(body: MeterIn, once: Annotated[Once, creates("catalog:write")]) -> Response:
    """Create a meter. You may choose its id, which then names it in features and usage questions."""
    definition = body.definition()

    def make(session: Session) -> MeterOut:
        made = meters.create_meter(session, once.call.scope, definition, body.id, once.call.now)
        return MeterOut.of(meters.get_record(session, once.call.scope, made.id))

    return once.create(make)


@routes.get("/meters/{meter_id}", responses=problems(404))
def get_meter(meter_id: PathId, call: Annotated[Call, needs("catalog:read")]) -> MeterOut:
    """Read a meter in its latest version."""
    with call.deps.ledger.read() as session:
        return MeterOut.of(meters.get_record(session, call.scope, meter_id))


@routes.get("/meters")
def list_meters(paging: Annotated[Paging, Query()], call: Annotated[Call, needs("catalog:read")]) -> Listing[MeterOut]:
    """List meters, newest first."""
    with call.deps.ledger.read() as session:
        page = meters.list_meters(session, call.scope, paging.cursor, paging.limit)
    return Listing(items=[MeterOut.of(meter) for meter in page.items], next_cursor=page.next_cursor)


@routes.patch("/meters/{meter_id}", responses=problems(404, 409))
def change_meter(meter_id: PathId, body: MeterChangesIn, call: Annotated[Call, needs("catalog:write")]) -> MeterOut:
    """Change what a meter says: a new version, from now on.

    Usage answers and all invoices that are not final are counted by it, the running period from its start. A finalized
    invoice keeps its quantity and names the version that it was counted by.
    """
    changes = body.changes()

    def change(session: Session) -> MeterOut:
        meters.change_meter(session, call.scope, meter_id, changes, call.now)
        return MeterOut.of(meters.get_record(session, call.scope, meter_id))

    return call.deps.ledger.run(change)


@routes.post("/meters/{meter_id}/archive", responses=problems(404))
def archive_meter(meter_id: PathId, call: Annotated[Call, needs("catalog:write")]) -> MeterOut:
    """Close a meter to new features and changes. What is metered by it goes on and is billed as before."""
    return call.deps.ledger.run(
        lambda session: MeterOut.of(meters.archive_meter(session, call.scope, meter_id, call.now))
    )


@routes.get("/meters/{meter_id}/versions", responses=problems(404))
def list_meter_versions(
    meter_id: PathId, paging: Annotated[Paging, Query()], call: Annotated[Call, needs("catalog:read")]
) -> Listing[MeterOut]:
    """List the versions of a meter, newest first."""
    with call.deps.ledger.read() as session:
        page = meters.list_versions(session, call.scope, meter_id, paging.cursor, paging.limit)
    return Listing(items=[MeterOut.of(record) for record in page.items], next_cursor=page.next_cursor)
