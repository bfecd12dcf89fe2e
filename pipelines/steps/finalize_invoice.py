"""Use case: one draft finalized when somebody asks for it, by the same gates as the nightly run."""

from datetime import datetime

from sqlalchemy.orm import Session

from billing.errors import Conflict, GateFailed
from billing.instant import format_instant
from billing.invoice import InvoiceStatus
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import connections, invoices, outbox
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.connections import PROVIDER
from pipelines.steps.drafts import due_of_draft, is_start
from pipelines.steps.facts import Facts
from pipelines.steps.finalize_invoices import Held, finalize_drafts
from pipelines.steps.plan_prices import Catalog

__all__ = ["finalize_invoice"]


def finalize_invoice(ledger: Ledger, scope: Scope, invoice_id: str, actor: str, now: datetime) -> InvoiceRecord:
    """The finalized invoice; one that is final already stays as it is. With an active connection the outbox holds the
    work at the provider. `actor` is who asked, for the audit.

    NotFound `invoice_not_found`; Conflict `period_not_over`, `invoice_not_draft`, and those of a draft's subscription;
    GateFailed `invoice_held`, with the reasons: the verdict is stored all the same.
    """

    def finalize(session: Session) -> InvoiceRecord | Held:
        found = invoices.get_invoice(session, scope, invoice_id)
        if found.status == InvoiceStatus.DRAFT and found.subscription_id is not None and found.billed_at > now:
            turns = "begins" if is_start(found) else "ends"
            raise Conflict(
                "period_not_over",
                f"The period of this invoice {turns} at {format_instant(found.billed_at)}.",
                hint="Finalize it after that; usage may still come in.",
            )
        done = _finalize(Facts(session, scope, Catalog()), found, actor, now)
        if done is None:
            return _final_already(session, scope, invoice_id)
        if isinstance(done, InvoiceRecord) and connections.active(session, scope, PROVIDER) is not None:
            outbox.enqueue(session, scope, "invoice.sync", invoice_id, now)
        return done

    outcome = ledger.run(finalize)
    if isinstance(outcome, InvoiceRecord):
        return outcome
    raise GateFailed(
        "invoice_held",
        f"The invoice stays a draft: {'; '.join(outcome.reasons)}.",
        hint="Run its billing day again (`tally bill`): it prices the draft and runs the gates.",
    )


def _finalize(facts: Facts, found: InvoiceRecord, actor: str, now: datetime) -> InvoiceRecord | Held | None:
    if found.status != InvoiceStatus.DRAFT:
        return None
    if found.subscription_id is not None:
        due_of_draft(facts, found)
    done, failures = finalize_drafts(facts, [found], actor, now)
    for failure in failures:
        # Its subscription was ended in this very moment.
        raise Conflict(failure.code, failure.detail, hint="Void the draft.")
    return done[0] if done else None


def _final_already(session: Session, scope: Scope, invoice_id: str) -> InvoiceRecord:
    found = invoices.get_invoice(session, scope, invoice_id)
    if found.status != InvoiceStatus.FINALIZED:
        raise Conflict("invoice_not_draft", f"The invoice is {found.status.value}.", hint="Make a new one.")
    return found
