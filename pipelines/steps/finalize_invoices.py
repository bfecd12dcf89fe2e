"""Finalizes the drafts whose gates have passed, and says of every other one why it is held."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from billing.invoice import InvoiceStatus
from billing.money import format_decimal
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, customers, invoices, subscriptions
from ledger.store.invoice_numbers import hold_numbers
from ledger.store.invoices import InvoiceRecord
from ledger.store.price_changes import hold_prices
from pipelines.steps.billing_day import hold_if_open
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.drafts import Draft, draft_failure, drafts_of, due_of_draft, due_of_subscription
from pipelines.steps.gate_invoices import (
    Gate,
    Outcome,
    invoice_hash,
    reasons_to_hold,
    reasons_to_hold_one_off,
    store_outcome,
)
from pipelines.steps.gate_totals import check_one_off
from pipelines.steps.isolation import Failure, each_alone
from pipelines.steps.plan_prices import Catalog

__all__ = ["Finalized", "Held", "finalize_draft", "finalize_invoices"]


@dataclass(frozen=True)
class Held:
    """A draft that stays one, and why."""

    scope: Scope
    invoice_id: str
    subscription_id: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Finalized:
    """`invoices` are those that this run finalized."""

    invoices: tuple[tuple[Scope, InvoiceRecord], ...]
    held: tuple[Held, ...]
    failures: tuple[Failure, ...]


def finalize_invoices(
    ledger: Ledger, start: datetime, end: datetime, now: datetime, chosen: Chosen = EVERYTHING
) -> Finalized:
    """Finalize the drafts of the billing days [start, end) that are due by now, each if its gates have passed.

    The gates are verified in the transaction that gives the number, against what the invoice says then. What is final
    already stays as it is. Raises Unavailable when the ledger is.
    """
    with ledger.read() as session:
        drafts = [item for item in drafts_of(session, start, end, now, chosen) if item[1].billed_at <= now]
    # In one order for everybody: two runs that lock several counters and invoices each must not wait for each other.
    # Numbers follow the time, and what was billed in advance is final before it is settled.
    drafts.sort(key=lambda item: (item[0], item[1].billed_at, item[1].period, item[1].id))

    catalog = Catalog()

    def finalize(session: Session, item: Draft) -> tuple[Scope, InvoiceRecord] | Held | None:
        scope, draft = item
        done = finalize_draft(session, scope, draft, "pipelines", now, catalog)
        return (scope, done) if isinstance(done, InvoiceRecord) else done

    results, failures = each_alone(ledger, drafts, finalize, draft_failure)
    return Finalized(
        tuple(result for result in results if isinstance(result, tuple)),
        tuple(result for result in results if isinstance(result, Held)),
        tuple(failures),
    )


def finalize_draft(
    session: Session, scope: Scope, draft: InvoiceRecord, actor: str, now: datetime, catalog: Catalog
) -> InvoiceRecord | Held | None:
    """The finalized invoice, or why it is held; None where it is no draft any more. `actor` is for the audit.

    Errors are those of `due_of_draft`.
    """
    due = None if draft.subscription_id is None else due_of_draft(session, scope, draft)
    # The counter before the invoice, as `invoices.finalize` locks them; in between the prices, which nobody may change
    # after the look at the draft's reasons.
    hold_numbers(session, scope, now)
    if due is None:
        customers.hold_customer(session, scope, draft.customer_id)
        draft = invoices.hold(session, scope, draft.id)
        if draft.status != InvoiceStatus.DRAFT:
            return None
        store_outcome(session, check_one_off(scope, draft), now)
        reasons = reasons_to_hold_one_off(session, scope, draft)
    else:
        for plan_id in sorted({segment.plan_id for segment in due.segments}):
            hold_prices(session, scope, plan_id, to_read=True)
        # Held, and read again: a change of the subscription is seen here, or finds the invoice final.
        held = subscriptions.hold_subscription(session, scope, due.subscription.id)
        due = due_of_subscription(scope, held, draft)
        # And the customer: an event of the period is corrected before this is decided, or finds the invoice final.
        found = customers.get_customer(session, scope, draft.customer_id)
        customers.hold_customers(session, scope, [found.external_id])
        if not hold_if_open(session, due):
            return None
        draft = invoices.get_invoice(session, scope, draft.id)
        reasons = reasons_to_hold(session, due, draft, catalog)
    detail = {"problems": reasons, "period": draft.id if due is None else due.subject}
    if reasons:
        store_outcome(session, Outcome(Gate.FINALIZE, scope, draft.id, invoice_hash(draft), False, detail), now)
        return Held(scope, draft.id, draft.subscription_id, tuple(reasons))
    final = invoices.finalize(session, scope, draft.id, now, expected_inputs_hash=draft.inputs_hash)
    verdict = Outcome(Gate.FINALIZE, scope, final.id, invoice_hash(final), True, detail)
    store_outcome(session, verdict, now)
    said = {"number": final.number, "total": format_decimal(final.total), "content_hash": verdict.subject_hash}
    audit.write(session, scope, actor, "invoice.finalized", "invoice", final.id, said, now)
    return final
