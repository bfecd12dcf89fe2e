"""Invoices: what is owed, line by line."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.auth import Call, needs
from api.documents.html import HEADERS, invoice_html
from api.documents.invoice_view import InvoiceView, view_of
from api.documents.pdf import invoice_pdf
from api.once import Once, creates
from api.openapi import document_answer
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.invoice_collection import CollectionOut
from api.schemas.invoice_lines import LineEventOut, LineExplanationOut, RecomputedOut
from api.schemas.invoices import (
    InvoiceChangesIn,
    InvoiceFilters,
    InvoiceIn,
    InvoiceOut,
    SyncedInvoiceOut,
    VoidInvoiceIn,
)
from api.schemas.paging import Paging
from api.schemas.problem import problems
from billing.invoice import InvoiceStatus
from ledger.store import credit_grants, customers, invoices, tenants
from ledger.store.invoices import InvoiceRecord
from pipelines.steps import explain_line as explaining
from pipelines.steps import finalize_invoice as finalizing
from pipelines.steps import recompute_invoice as recomputing
from pipelines.steps import void_invoice as voiding
from pipelines.steps.change_taxes import change_invoice_taxes
from pipelines.steps.invoice_collection import collection_of
from pipelines.steps.one_off_invoice import create_one_off
from pipelines.steps.sync_invoice import sync

routes = router("Invoices")


@routes.post("/invoices", status_code=201, response_model=InvoiceOut, responses=problems(409))
def create_invoice(body: InvoiceIn, once: Annotated[Once, creates("invoices:write")]) -> Response:
    """Make a one-off invoice by hand. It is a draft: look at it, then finalize or void it."""
    call, wanted = once.call, body.new_invoice()
    return once.create(
        lambda session: _out(session, call, create_one_off(session, call.scope, wanted, call.caller.id, call.now))
    )


@routes.get("/invoices/{invoice_id}", responses=problems(404))
def get_invoice(invoice_id: PathId, call: Annotated[Call, needs("invoices:read")]) -> InvoiceOut:
    """Read an invoice with its lines and what each of them was computed from."""
    with call.deps.ledger.read() as session:
        return _out(session, call, invoices.get_invoice(session, call.scope, invoice_id))


@routes.get("/invoices")
def list_invoices(
    filters: Annotated[InvoiceFilters, Query()], call: Annotated[Call, needs("invoices:read")]
) -> Listing[InvoiceOut]:
    """List invoices with their lines, newest first."""
    wanted = {**filters.model_dump(exclude={"invoice_status", "billed_from", "billed_to"}), "billed": filters.billed}
    with call.deps.ledger.read() as session:
        if filters.customer_id is not None:
            wanted["customer_id"] = customers.get_customer(session, call.scope, filters.customer_id).id
        page = invoices.list_invoices(session, call.scope, status=filters.invoice_status, **wanted)
        items = [_out(session, call, invoice) for invoice in page.items]
    return Listing(items=items, next_cursor=page.next_cursor)


@routes.get("/invoices/{invoice_id}/collection", responses=problems(404))
def get_collection(invoice_id: PathId, call: Annotated[Call, needs("invoices:read")]) -> CollectionOut:
    """How collecting an invoice goes: who does it, each try with its card and reason, the next one, past due or not."""
    with call.deps.ledger.read() as session:
        return CollectionOut.of(collection_of(session, call.scope, invoice_id, call.now))


@routes.get(
    "/invoices/{invoice_id}/html",
    response_class=Response,
    responses={200: document_answer("text/html", "<!doctype html>…"), **problems(404)},
)
def show_invoice(invoice_id: PathId, call: Annotated[Call, needs("invoices:read")]) -> Response:
    """An invoice as a page for people, which prints well: seller, buyer, lines with their tiers, totals, payment."""
    return Response(invoice_html(_view(call, invoice_id)), headers=HEADERS, media_type="text/html; charset=utf-8")


@routes.get(
    "/invoices/{invoice_id}/pdf",
    response_class=Response,
    responses={200: document_answer("application/pdf", "%PDF-1.4 …"), **problems(404)},
)
def print_invoice(invoice_id: PathId, call: Annotated[Call, needs("invoices:read")]) -> Response:
    """The same as a PDF; as long as nothing happens to the invoice, in the same bytes."""
    view = _view(call, invoice_id)
    headers = {
        "Content-Disposition": f'inline; filename="{view.number or "draft"}.pdf"',
        "Cache-Control": HEADERS["Cache-Control"],
    }
    return Response(invoice_pdf(view), headers=headers, media_type="application/pdf")


@routes.patch("/invoices/{invoice_id}", responses=problems(404, 409))
def change_invoice(
    invoice_id: PathId, body: InvoiceChangesIn, call: Annotated[Call, needs("invoices:write")]
) -> InvoiceOut:
    """Give a draft tax rates of its own, or its customer's again. Its taxes and total are worked out anew at once."""
    return call.deps.ledger.run(
        lambda session: _out(
            session,
            call,
            change_invoice_taxes(session, call.scope, invoice_id, body.tax_rate_ids, call.caller.id, call.now),
        )
    )


@routes.post("/invoices/{invoice_id}/finalize", responses=problems(404, 409))
def finalize_invoice(invoice_id: PathId, call: Annotated[Call, needs("invoices:write")]) -> InvoiceOut:
    """Finalize a draft now: its gates are verified, it gets its number, and it never changes again.

    A one-off invoice is checked here; one of a subscription needs the results of its billing day, once its period has
    ended. With an active connection the invoice goes to Stripe right after this answer. A final one stays as it is.
    """
    deps = call.deps
    final = finalizing.finalize_invoice(deps.ledger, call.scope, invoice_id, call.caller.id, call.now)
    deps.worker.wake()
    return InvoiceOut.of(final)


@routes.post("/invoices/{invoice_id}/void", responses=problems(404, 409))
def void_invoice(invoice_id: PathId, body: VoidInvoiceIn, call: Annotated[Call, needs("invoices:write")]) -> InvoiceOut:
    """Void a draft or an unpaid invoice, at Stripe first. It keeps its number; what is void stays so."""
    deps = call.deps
    link = deps.active_link(call.scope)
    voided = voiding.void_invoice(deps.ledger, call.scope, link, invoice_id, call.caller.id, body.reason, call.now)
    return InvoiceOut.of(voided)


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


def _out(session: Session, call: Call, invoice: InvoiceRecord) -> InvoiceOut:
    """The invoice; a draft says what credit would pay of it now."""
    if invoice.status != InvoiceStatus.DRAFT:
        return InvoiceOut.of(invoice)
    forecast = credit_grants.forecast(
        session, call.scope, invoice.customer_id, invoice.total, invoice.currency, call.now
    )
    return InvoiceOut.of(invoice, forecast)


def _view(call: Call, invoice_id: str) -> InvoiceView:
    with call.deps.ledger.read() as session:
        invoice = invoices.get_invoice(session, call.scope, invoice_id)
        customer = customers.get_customer(session, call.scope, invoice.customer_id)
        seller = tenants.get_tenant(session, call.scope)
        environment = tenants.get_environment(session, call.scope)
    return view_of(invoice, customer, seller.name, is_test=environment.kind == "test")
