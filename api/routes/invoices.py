"""Invoices: what is owed, line by line."""

from typing import Annotated

from fastapi import Query

from api.auth import Call, needs
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.invoices import InvoiceFilters, InvoiceOut, SyncedInvoiceOut
from api.schemas.problem import problems
from ledger.store import customers, invoices
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
