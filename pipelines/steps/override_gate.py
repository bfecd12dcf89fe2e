"""Lets a named person bill an invoice although a gate has refused it: the way out where a run cannot mend it."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.invoice import InvoiceStatus
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, gates, invoices
from ledger.store.gates import GateRecord
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.drafts import due_of_draft
from pipelines.steps.facts import Facts
from pipelines.steps.gate_invoices import Gate, Outcome, override_hash, override_of
from pipelines.steps.plan_prices import Catalog

__all__ = ["Override", "gates_of", "override_gate"]


@dataclass(frozen=True)
class Override:
    """Who says that the invoice may go, and why; `actor` is the key or run through which it was said."""

    person: str
    reason: str
    actor: str


def gates_of(session: Session, scope: Scope, invoice_id: str) -> list[GateRecord]:
    """The newest result of each gate that has looked at an invoice or its period. NotFound `invoice_not_found`."""
    invoice = invoices.get_invoice(session, scope, invoice_id)
    subjects = {_subject(session, scope, invoice, gate) for gate in Gate}
    known = {gate.value for gate in Gate}
    return [
        found
        for subject in sorted(subjects)
        for found in gates.list_results(session, scope, subject=subject)
        if found.gate in known
    ]


def override_gate(
    ledger: Ledger, scope: Scope, invoice_id: str, gate: Gate, override: Override, now: datetime
) -> GateRecord:
    """Override what a gate found on a draft, exactly that: when anything changes, the gate asks again.

    It counts at once; the next run of its billing day, or a request, finalizes the invoice. NotFound
    `invoice_not_found`, `gate_not_run`; Conflict `invoice_not_draft`, `gate_passed`.
    """
    with ledger.begin() as session:
        invoice = invoices.get_invoice(session, scope, invoice_id)
        if invoice.status != InvoiceStatus.DRAFT:
            raise Conflict("invoice_not_draft", f"The invoice is {invoice.status.value}.", hint="Only drafts are held.")
        subject = _subject(session, scope, invoice, gate)
        found = gates.list_results(session, scope, gate=gate.value, subject=subject)
        if not found:
            hint = "Run its billing day first (`tally bill`)."
            raise NotFound("gate_not_run", "this gate has not looked at the invoice yet", field="gate", hint=hint)
        refused = found[0]
        if refused.passed:
            raise Conflict("gate_passed", "This gate does not hold the invoice.", hint="GET …/gates lists the results.")
        said = {"person": override.person, "reason": override.reason, "problems": refused.detail.get("problems", [])}
        outcome = Outcome(gate, scope, subject, refused.subject_hash, passed=False, detail=refused.detail)
        gates.put_result(session, scope, override_of(gate), subject, override_hash(outcome), True, said, now)
        detail = {**refused.detail, "overridden_by": override.person, "reason": override.reason}
        _put(session, scope, replace(refused, passed=True, detail=detail, checked_at=now))
        audited = {"gate": gate.value, **said}
        audit.write(session, scope, override.actor, "invoice.gate_overridden", "invoice", invoice_id, audited, now)
        return gates.list_results(session, scope, gate=gate.value, subject=subject)[0]


def _put(session: Session, scope: Scope, result: GateRecord) -> None:
    beside = []
    if result.gate in gates.QUANTITY_GATES:
        known = gates.results_of(session, scope, gates.QUANTITY_GATES, [result.subject])[result.subject]
        beside = [each for name, each in known.items() if name != result.gate]
    gates.put_results(session, scope, [result, *beside])


def _subject(session: Session, scope: Scope, invoice: InvoiceRecord, gate: Gate) -> str:
    """Gates of quantities know the period, the others the invoice."""
    if gate in {Gate.TOTALS_MATCH_LINES, Gate.FINALIZE} or invoice.subscription_id is None:
        return invoice.id
    return due_of_draft(Facts(session, scope, Catalog()), invoice).subject
