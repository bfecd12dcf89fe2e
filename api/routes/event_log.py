"""Stored events: found, explained, and corrected without losing what was sent."""

from typing import Annotated

from fastapi import Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.auth import Call, needs
from api.names import looks_like_ours
from api.once import Once, creates
from api.openapi import request_body
from api.routing import router
from api.schemas.common import Listing
from api.schemas.event_log import (
    AMEND_BODY,
    ConflictFilters,
    ConflictListing,
    ConflictOut,
    CorrectionOut,
    EventExplanationOut,
    EventLogFilters,
    StoredEventOut,
    VoidIn,
    between,
)
from api.schemas.events import Identifier
from api.schemas.problem import problems
from billing.errors import InvalidInput, NotFound
from ingestion.amendment import decode_amendment
from ingestion.body import read_body
from ingestion.media import Form, form_of
from pipelines.steps.correct_event import amend_event as amend
from pipelines.steps.correct_event import void_event as void
from pipelines.steps.explain_event import explain_event as explain
from warehouse_sql.conflicts import list_conflicts
from warehouse_sql.event_log import list_events as list_stored

routes = router("Events")

# An id is free text: slashes in it arrive decoded.
EventId = Annotated[
    str, Path(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f]+$", description="Percent-encoded.")
]


@routes.get("/events")
def list_events(
    filters: Annotated[EventLogFilters, Query()], call: Annotated[Call, needs("events:read")]
) -> Listing[StoredEventOut]:
    """List events that were received, newest first by their own timestamps; those that never count included."""
    if (filters.property is None) != (filters.property_value is None):
        raise InvalidInput("missing_field", "goes together with property_value", field="property")
    wanted = filters.wanted(_external(call, filters.customer_id))
    page = list_stored(call.deps.warehouse, call.scope, wanted, cursor=filters.cursor, limit=filters.limit)
    return Listing(items=[StoredEventOut.of(event) for event in page.items], next_cursor=page.next_cursor)


@routes.get("/events/conflicts")
def list_event_conflicts(
    filters: Annotated[ConflictFilters, Query()], call: Annotated[Call, needs("events:read")]
) -> ConflictListing:
    """List events that came again under their identity with other content, the last received first.

    They never count. The list knows what was received up to `reconciled_until`.
    """
    start, end = between(filters.start_time, filters.end_time)
    page = list_conflicts(
        call.deps.warehouse,
        call.scope,
        customer_id=_external(call, filters.customer_id),
        start=start,
        end=end,
        cursor=filters.cursor,
        limit=filters.limit,
    )
    items = [ConflictOut.of(conflict) for conflict in page.items]
    return ConflictListing(items=items, next_cursor=page.next_cursor, reconciled_until=page.reconciled_until)


@routes.get("/events/{event_id:path}", responses=problems(404))
def explain_event(
    event_id: EventId,
    call: Annotated[Call, needs("events:read")],
    identity: Annotated[Identifier | None, Query(description="One of several events of this id.")] = None,
) -> EventExplanationOut:
    """What became of an event: its copies, what each meter reads from it, its hour, its rollup and its invoice."""
    deps = call.deps
    return EventExplanationOut.of(explain(deps.ledger, deps.warehouse, call.scope, event_id, identity))


@routes.post("/events/{event_id:path}/void", response_model=CorrectionOut, responses=problems(404, 409))
def void_event(event_id: EventId, body: VoidIn, once: Annotated[Once, creates("events:correct")]) -> Response:
    """Take an event out of all usage, for good. It stays stored, and sending it again does not count it again.

    409 `event_already_voided`; 409 `period_finalized` where a final invoice counts it: correct that on a later one.
    """
    call, deps = once.call, once.call.deps

    def carry_out() -> CorrectionOut:
        found = (call.scope, event_id, body.identity, body.reason, call.caller.id, call.now)
        return CorrectionOut.of(void(deps.ledger, deps.warehouse, *found))

    return once.carry_out(carry_out, 200)


@routes.post(
    "/events/{event_id:path}/amend",
    response_model=CorrectionOut,
    responses=problems(400, 404, 409, 413, 415),
    openapi_extra=request_body(AMEND_BODY),
)
async def amend_event(
    event_id: EventId, request: Request, once: Annotated[Once, creates("events:correct")]
) -> Response:
    """Replace an event by what it should have been. The old one stays stored and is left out of all usage.

    Fields that are left out stay as they were; numbers keep their digits as sent. Asking for the same again changes
    nothing. 409 `period_finalized` where a final invoice counts the event as it was, or would as it should have been.
    """
    form_of(request.headers.get("content-type"), (Form.JSON,))
    raw = await request.body()
    return await run_in_threadpool(_amend, event_id, request, once, raw)


def _amend(event_id: str, request: Request, once: Once, raw: bytes) -> Response:
    call, deps = once.call, once.call.deps
    body = read_body(raw, request.headers.get("content-encoding"), deps.limits)
    amendment = decode_amendment(body, deps.limits, call.now)
    customer_id = _external(call, amendment.customer_id)

    def carry_out() -> CorrectionOut:
        changed = amendment.for_customer(customer_id)
        found = (call.scope, event_id, changed, call.caller.id, call.now)
        return CorrectionOut.of(amend(deps.ledger, deps.warehouse, *found))

    return once.carry_out(carry_out, 200)


def _external(call: Call, customer_id: str | None) -> str | None:
    """The id by which events name a customer. NotFound `customer_not_found` for one of our form that is nobody's."""
    if customer_id is None or not looks_like_ours(customer_id):
        return customer_id
    name = call.deps.names.external(call.scope, [customer_id]).get(customer_id)
    if name is None:
        raise NotFound("customer_not_found", "names no customer", field="customer_id")
    return name
