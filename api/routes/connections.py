"""The link to Stripe. Secrets go in and stay in; only their last four characters come out."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.connections import ConnectionChangesIn, ConnectionIn, ConnectionOut
from api.schemas.mappings import MappingFilters, MappingOut
from api.schemas.problem import problems
from ledger.store import connections, mappings
from ledger.store.connections import ConnectionRecord
from pipelines.steps.connections import change, connect, disconnect

routes = router("Connections")


@routes.post("/connections", status_code=201, response_model=ConnectionOut, responses=problems(409))
def create_connection(body: ConnectionIn, once: Annotated[Once, creates("connections:write")]) -> Response:
    """Connect Stripe. The key is tried out first, then sealed; give the returned `webhook_url` to Stripe."""
    call, wanted = once.call, body.new_connection()
    deps = call.deps
    return once.carry_out(
        lambda: _out(
            call, connect(deps.ledger, call.scope, deps.box, deps.gateway_factory, wanted, call.caller.id, call.now)
        )
    )


@routes.get("/connections/{connection_id}", responses=problems(404))
def get_connection(connection_id: PathId, call: Annotated[Call, needs("connections:read")]) -> ConnectionOut:
    """Read a connection."""
    with call.deps.ledger.read() as session:
        return _out(call, connections.get_connection(session, call.scope, connection_id))


@routes.get("/connections")
def list_connections(call: Annotated[Call, needs("connections:read")]) -> Listing[ConnectionOut]:
    """List connections, newest first; always on one page."""
    with call.deps.ledger.read() as session:
        found = connections.list_connections(session, call.scope)
    return Listing(items=[_out(call, connection) for connection in found])


@routes.patch("/connections/{connection_id}", responses=problems(404, 409))
def change_connection(
    connection_id: PathId, body: ConnectionChangesIn, call: Annotated[Call, needs("connections:write")]
) -> ConnectionOut:
    """Rename, enable, disable or reconfigure a connection, or change its secrets. What is left out stays."""
    deps = call.deps
    with deps.ledger.read() as session:
        known = connections.open_secrets(session, call.scope, connection_id, deps.box)
    update = body.update(known.webhook_secrets)
    changed = change(
        deps.ledger, call.scope, deps.box, deps.gateway_factory, connection_id, update, call.caller.id, call.now
    )
    return _out(call, changed)


@routes.delete("/connections/{connection_id}", status_code=204, responses=problems(404))
def delete_connection(connection_id: PathId, call: Annotated[Call, needs("connections:write")]) -> None:
    """Forget a connection and its secrets. What Stripe already has stays at Stripe."""
    with call.deps.ledger.begin() as session:
        disconnect(session, call.scope, connection_id, call.caller.id, call.now)


@routes.get("/connections/{connection_id}/mappings", responses=problems(404))
def list_mappings(
    connection_id: PathId,
    filters: Annotated[MappingFilters, Query()],
    call: Annotated[Call, needs("connections:read")],
) -> Listing[MappingOut]:
    """List which of Stripe's objects stand for which rows of ours, newest first."""
    with call.deps.ledger.read() as session:
        found = connections.get_connection(session, call.scope, connection_id)
        page = mappings.list_mappings(session, call.scope, connection_id=found.id, **filters.model_dump())
    return Listing(items=[MappingOut.of(mapping) for mapping in page.items], next_cursor=page.next_cursor)


def _out(call: Call, record: ConnectionRecord) -> ConnectionOut:
    base = call.deps.settings.public_url.rstrip("/")
    path = f"/api/v1/webhooks/stripe/{call.scope.tenant_id}/{call.scope.environment_id}"
    return ConnectionOut.of(record, base + path)
