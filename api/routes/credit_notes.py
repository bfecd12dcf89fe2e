"""Credit notes on finalized invoices."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.credit_notes import (
    CreditNoteFilters,
    CreditNoteIn,
    CreditNoteOut,
    CreditNotePreviewOut,
    VoidCreditNoteIn,
)
from api.schemas.problem import problems
from ledger.store import credit_notes, customers
from pipelines.steps import credit_invoice as crediting
from pipelines.steps.sync_credit_notes import void

routes = router("Credit notes")


@routes.post(
    "/invoices/{invoice_id}/credit-notes",
    status_code=201,
    response_model=CreditNoteOut,
    responses=problems(404, 409),
)
def create_credit_note(
    invoice_id: PathId, body: CreditNoteIn, once: Annotated[Once, creates("invoices:write")]
) -> Response:
    """Credit a finalized invoice: all that is left, some lines, or an amount. Its taxes and discounts go along.

    It lowers what is still due first, then returns credit that paid the invoice, then gives back what was paid.
    """
    call, wanted = once.call, body.new_note(invoice_id)
    return once.create(
        lambda session: CreditNoteOut.of(crediting.issue_note(session, call.scope, wanted, call.caller.id, call.now))
    )


@routes.post("/invoices/{invoice_id}/credit-notes/preview", responses=problems(404, 409))
def preview_credit_note(
    invoice_id: PathId, body: CreditNoteIn, call: Annotated[Call, needs("invoices:read")]
) -> CreditNotePreviewOut:
    """What a credit note would say now. Nothing is written."""
    with call.deps.ledger.read() as session:
        return CreditNotePreviewOut.of(crediting.preview_note(session, call.scope, body.new_note(invoice_id)))


@routes.get("/credit-notes/{credit_note_id}", responses=problems(404))
def get_credit_note(credit_note_id: PathId, call: Annotated[Call, needs("invoices:read")]) -> CreditNoteOut:
    """Read a credit note with its lines."""
    with call.deps.ledger.read() as session:
        return CreditNoteOut.of(credit_notes.get_note(session, call.scope, credit_note_id))


@routes.get("/credit-notes")
def list_credit_notes(
    filters: Annotated[CreditNoteFilters, Query()], call: Annotated[Call, needs("invoices:read")]
) -> Listing[CreditNoteOut]:
    """List credit notes, newest first."""
    wanted = filters.model_dump()
    with call.deps.ledger.read() as session:
        if filters.customer_id is not None:
            wanted["customer_id"] = customers.get_customer(session, call.scope, filters.customer_id).id
        page = credit_notes.list_notes(session, call.scope, **wanted)
    return Listing(items=[CreditNoteOut.of(note) for note in page.items], next_cursor=page.next_cursor)


@routes.post("/credit-notes/{credit_note_id}/void", responses=problems(404, 409))
def void_credit_note(
    credit_note_id: PathId, body: VoidCreditNoteIn, call: Annotated[Call, needs("invoices:write")]
) -> CreditNoteOut:
    """Void a credit note that nothing has used yet: what it took off is due again. What is void stays so.

    One that is at Stripe is voided there first.
    """
    deps = call.deps
    return CreditNoteOut.of(
        void(deps.ledger, call.scope, deps.gateways, credit_note_id, body.reason, call.caller.id, call.now)
    )
