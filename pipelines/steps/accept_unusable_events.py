"""Lets a person bill a period although some of its events had no usable value: the way out of that gate."""

from datetime import datetime

from billing.errors import Conflict, NotFound
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, gates, invoices
from pipelines.steps.drafts import due_of_draft
from pipelines.steps.gate_invoices import ACCEPTED, Gate

__all__ = ["accept_unusable_events"]


def accept_unusable_events(
    ledger: Ledger, scope: Scope, invoice_id: str, actor: str, reason: str, now: datetime
) -> int:
    """Accept the unusable events that the gate found for an invoice; returns how many. Another one asks again.

    The invoice is finalized by the next run of its billing day. NotFound `invoice_not_found`, `gate_not_run`; Conflict
    `nothing_to_accept`.
    """
    with ledger.begin() as session:
        due = due_of_draft(session, scope, invoices.get_invoice(session, scope, invoice_id))
        found = gates.list_results(session, scope, gate=Gate.EVENTS_ARE_USABLE.value, subject=due.subject)
        if not found:
            raise NotFound("gate_not_run", "the events of this invoice were not checked yet", field="invoice_id")
        if found[0].passed:
            raise Conflict("nothing_to_accept", "no unusable event holds this invoice", field="invoice_id")
        unusable = found[0].detail["unusable"]
        detail = {"actor": actor, "reason": reason, "unusable": unusable}
        gates.put_result(session, scope, ACCEPTED, due.subject, found[0].detail["acceptance_hash"], True, detail, now)
        audit.write(session, scope, actor, "invoice.unusable_events_accepted", "invoice", invoice_id, detail, now)
    return sum(unusable.values())
