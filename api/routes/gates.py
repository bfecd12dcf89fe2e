"""The gates of an invoice: what each of them found, and the way past one for a named person."""

from typing import Annotated

from api.auth import Call, needs
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.gates import GateName, GateOut, OverrideIn
from api.schemas.problem import problems
from pipelines.steps.override_gate import Override, gates_of
from pipelines.steps.override_gate import override_gate as override

routes = router("Invoices")


@routes.get("/invoices/{invoice_id}/gates", responses=problems(404))
def list_gates(invoice_id: PathId, call: Annotated[Call, needs("invoices:read")]) -> Listing[GateOut]:
    """List the newest result of each gate that has looked at an invoice; always on one page."""
    with call.deps.ledger.read() as session:
        return Listing(items=[GateOut.of(found) for found in gates_of(session, call.scope, invoice_id)])


@routes.post("/invoices/{invoice_id}/gates/{gate}/override", responses=problems(404, 409))
def override_gate(
    invoice_id: PathId, gate: GateName, body: OverrideIn, call: Annotated[Call, needs("gates:override")]
) -> GateOut:
    """Let a draft pass a gate that has refused it. It counts for exactly what the gate has found, and is audited.

    Finalize the draft afterwards, or let the next run of its billing day do it.
    """
    said = Override(body.person, body.reason, call.caller.id)
    return GateOut.of(override(call.deps.ledger, call.scope, invoice_id, gate, said, call.now))
