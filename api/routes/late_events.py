"""Events that came after the invoice of their time was final."""

from typing import Annotated

from fastapi import Query

from api.auth import Call, needs
from api.routing import router
from api.schemas.late_events import LateEventFilters, LateEventListing, LateEventOut
from pipelines.steps.list_late_events import list_late_events as list_late

routes = router("Late events")


@routes.get("/late-events")
def list_late_events(
    filters: Annotated[LateEventFilters, Query()], call: Annotated[Call, needs("invoices:read")]
) -> LateEventListing:
    """List events that came after the invoice of their time had been read, with the invoice that each missed and what
    became of it.

    By invoice line, the newest find first; within it the last received first. An event for two meters is in the list
    twice. The list knows what was received up to `looked_until`: each billing run looks, and an hourly one.
    """
    deps = call.deps
    page = list_late(
        deps.ledger, deps.warehouse, call.scope, filters.wanted(), cursor=filters.cursor, limit=filters.limit
    )
    items = [LateEventOut.of(missed) for missed in page.items]
    return LateEventListing(items=items, next_cursor=page.next_cursor, looked_until=page.looked_until)
