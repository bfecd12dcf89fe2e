"""Finalizes the drafts whose gates have passed, and says of every other one why it is held."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from sqlalchemy.orm import Session

from billing.invoice import InvoiceStatus
from billing.money import format_decimal
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, customers, invoices, subscriptions
from ledger.store.invoices import DraftRecord, InvoiceRecord
from ledger.store.price_changes import hold_prices
from pipelines.steps.billing_day import Due
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.drafts import Draft, customer_of_draft, draft_failure, drafts_of, due_of_draft, scope_of_draft
from pipelines.steps.facts import Facts
from pipelines.steps.gate_invoices import (
    Gate,
    Outcome,
    expect_reasons,
    reasons_to_hold,
    reasons_to_hold_one_off,
    store_outcomes,
)
from pipelines.steps.gate_totals import check_one_off
from pipelines.steps.invoice_hash import invoice_hash
from pipelines.steps.isolation import Failure, Turn, Worked, apart, in_turns, no_turn
from pipelines.steps.plan_prices import Catalog

__all__ = ["Finalized", "Held", "finalize_drafts", "finalize_invoices"]


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

    def finalize(
        session: Session, scope: Scope, items: Sequence[Draft], my_turn: Turn
    ) -> Worked[tuple[Scope, InvoiceRecord] | Held]:
        facts = Facts(session, scope, Catalog())
        done, failures = finalize_drafts(facts, [draft for _, draft in items], "pipelines", now, my_turn)
        return [each if isinstance(each, Held) else (scope, each) for each in done], failures

    results, failures = in_turns(ledger, drafts, scope_of_draft, finalize, draft_failure, customer_of_draft)
    return Finalized(
        tuple(result for result in results if isinstance(result, tuple)),
        tuple(result for result in results if isinstance(result, Held)),
        tuple(failures),
    )


def finalize_drafts(
    facts: Facts,
    drafts: Sequence[DraftRecord | InvoiceRecord],
    actor: str,
    now: datetime,
    my_turn: Turn = no_turn,
) -> Worked[InvoiceRecord | Held]:
    """The finalized invoices and those that are held, in this order, without those that are no drafts any more.
    `actor` is for the audit; numbers are given in `my_turn`. Failures are those of `due_of_draft`.
    """
    session, scope = facts.session, facts.scope
    opened = _hold(facts, drafts)
    looked, failures = apart(opened, partial(_due_of, facts), partial(_failure, scope))
    by_hand = [check_one_off(scope, draft) for draft, due in looked if due is None]
    store_outcomes(session, scope, by_hand, now)
    expect_reasons(facts, [due for _, due in looked if due is not None], [draft.id for draft, _ in looked])
    judged, not_judged = apart(looked, partial(_reasons, facts), lambda pair, error: _failure(scope, pair[0], error))
    passed = [draft for (draft, _), reasons in judged if not reasons]
    my_turn()
    final = {each.id: each for each in invoices.finalize_held(session, scope, passed, now)}
    done = [
        final.get(draft.id) or Held(scope, draft.id, draft.subscription_id, tuple(reasons))
        for (draft, _), reasons in judged
    ]
    verdicts = [_verdict(facts, draft, final.get(draft.id, draft), due, reasons) for (draft, due), reasons in judged]
    store_outcomes(session, scope, verdicts, now)
    said = [
        (
            each.subject,
            {
                "number": final[each.subject].number,
                "total": format_decimal(final[each.subject].total),
                "content_hash": each.subject_hash,
            },
        )
        for each in verdicts
        if each.passed
    ]
    audit.write_many(session, scope, actor, "invoice.finalized", "invoice", said, now)
    return done, [*failures, *not_judged]


def _hold(facts: Facts, drafts: Sequence[DraftRecord | InvoiceRecord]) -> list[InvoiceRecord]:
    """Those that still are drafts: with all that their reasons depend on they stay as they are until the transaction
    ends. The order of the locks is the same wherever several of them are taken: prices, which nobody may change after
    the look at the drafts' reasons, subscriptions, customers, invoices, and last, for the shortest time, the counter of
    the numbers."""
    session, scope = facts.session, facts.scope
    ids = {each.subscription_id for each in drafts if each.subscription_id is not None}
    for plan_id in sorted(subscriptions.plan_ids_of(session, scope, ids)):
        hold_prices(session, scope, plan_id, to_read=True)
    facts.catalog.forget_prices()
    # Held, and read again: a change of a subscription is seen here, or finds the invoice final.
    facts.put_subscriptions(subscriptions.hold_subscriptions(session, scope, ids))
    # And the customers: an event of the period is corrected before this is decided, or finds the invoice final.
    facts.put_customers(customers.hold_customers_of(session, scope, {each.customer_id for each in drafts}))
    held = invoices.hold_invoices(session, scope, {each.id for each in drafts})
    opened = [held[each.id] for each in drafts if each.id in held and held[each.id].status == InvoiceStatus.DRAFT]
    for draft in opened:
        facts.put_invoice(draft)
    return opened


def _due_of(facts: Facts, draft: InvoiceRecord) -> Due | None:
    return None if draft.subscription_id is None else due_of_draft(facts, draft)


def _reasons(facts: Facts, looked: tuple[InvoiceRecord, Due | None]) -> list[str]:
    draft, due = looked
    reasons = reasons_to_hold_one_off(facts, draft) if due is None else reasons_to_hold(facts, due, draft)
    if not reasons:
        # What settles an advance may follow it in the same batch.
        facts.put_invoice(replace(draft, status=InvoiceStatus.FINALIZED))
    return reasons


def _verdict(
    facts: Facts, draft: InvoiceRecord, invoice: InvoiceRecord, due: Due | None, reasons: Sequence[str]
) -> Outcome:
    detail = {"problems": list(reasons), "period": invoice.id if due is None else due.subject}
    # What the gate of the totals has seen, but for what credit has paid since.
    looked_at = invoice_hash(invoice) if invoice.credits else facts.hash_of(draft)
    return Outcome(Gate.FINALIZE, facts.scope, invoice.id, looked_at, not reasons, detail)


def _failure(scope: Scope, draft: InvoiceRecord, error: Exception) -> Failure:
    return draft_failure((scope, draft), error)
