"""Invoices: what is owed, line by line."""

from typing import Annotated

from fastapi import Query

from api.auth import Call, needs
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.invoice_lines import LineEventOut, LineExplanationOut, RecomputedOut
from api.schemas.invoices import InvoiceFilters, InvoiceOut, SyncedInvoiceOut
from api.schemas.paging import Paging
from api.schemas.problem import problems
from ledger.store import customers, invoices
from pipelines.steps import explain_line as explaining
from pipelines.steps import recompute_invoice as recomputing
from pipelines.steps.sync_invoice import sync

routes = router("Invoices")


@routes.get("/invoices/{invoice_id}", responses=problems(404))
def get_invoice(invoice_id: PathId, call: Annotated[Call, needs("invoices:read")]) -> InvoiceOut:
    """Read an invoice with its lines and what each of them was computed from."""
    with call.deps.ledger.read() as session:
        return InvoiceOut.of(invoices.get_invoice(session, call.scope, invoice_id))


@routes.get("/invoices")
def list_invoices(
    filters: Annotated[InvoiceFilters, Query()], call: Annotated[Call, needs("invoices:read")]
) -> Listing[InvoiceOut]:
    """List invoices with their lines, newest first."""
    wanted = filters.model_dump(exclude={"invoice_status"})
    with call.deps.ledger.read() as session:
        if filters.customer_id is not None:
            wanted["customer_id"] = customers.get_customer(session, call.scope, filters.customer_id).id
        page = invoices.list_invoices(session, call.scope, status=filters.invoice_status, **wanted)
    return Listing(items=[InvoiceOut.of(invoice) for invoice in page.items], next_cursor=page.next_cursor)


@routes.post("/invoices/{invoice_id}/sync", responses=problems(404, 409))
def sync_invoice(invoice_id: PathId, call: Annotated[Call, needs("invoices:write")]) -> SyncedInvoiceOut:
    """Send a finalized invoice to Stripe now. One that is there already is only looked up: it is never sent twice."""
    deps = call.deps
    return SyncedInvoiceOut.of(sync(deps.ledger, call.scope, deps.gateways, invoice_id, call.now))


@routes.get("/invoices/{invoice_id}/lines/{line_id}/explain", responses=problems(404))
def explain_line(
    invoice_id: PathId, line_id: PathId, call: Annotated[Call, needs("invoices:read")]
) -> LineExplanationOut:
    """How a line came about: its arithmetic, the versions of price and meter, and what was counted."""
    explained = explaining.explain_line(call.deps.ledger, call.scope, invoice_id, line_id)
    return LineExplanationOut.of(explained, f"/api/v1/invoices/{explained.invoice.id}/lines/{explained.line.id}/events")


@routes.get("/invoices/{invoice_id}/lines/{line_id}/events", responses=problems(404))
def list_line_events(
    invoice_id: PathId,
    line_id: PathId,
    paging: Annotated[Paging, Query()],
    call: Annotated[Call, needs("invoices:read")],
) -> Listing[LineEventOut]:
    """List exactly the events that are in a line's quantity, newest first.

    They are those of its meter version and period, stored up to its watermark; what was superseded, or had no usable
    value, is left out. The last one of a `weighted_sum` may lie before the period: it set the level at its start.
    """
    deps = call.deps
    page = explaining.line_events(
        deps.ledger, deps.warehouse, call.scope, invoice_id, line_id, paging.cursor, paging.limit
    )
    return Listing(items=[LineEventOut.of(event) for event in page.items], next_cursor=page.next_cursor)


@routes.post("/invoices/{invoice_id}/recompute", responses=problems(404, 409))
def recompute_invoice(invoice_id: PathId, call: Annotated[Call, needs("invoices:read")]) -> RecomputedOut:
    """Make an invoice again from what it records and the events as they are now, and compare. Nothing is written."""
    deps = call.deps
    found = recomputing.recompute_invoice(deps.ledger, deps.warehouse, call.scope, invoice_id, call.now)
    return RecomputedOut.of(found)
