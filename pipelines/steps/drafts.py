"""What the steps that work on drafts share: which drafts, the period a draft is for, and what an error means for it."""

from datetime import datetime

from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.invoice import BillingReason
from billing.scope import Scope
from ledger.store import invoices
from ledger.store.invoices import DraftRecord, InvoiceRecord, UnsentInvoice
from pipelines.steps.billing_day import Due, due_of
from pipelines.steps.chosen import Chosen, cutoff
from pipelines.steps.facts import Facts
from pipelines.steps.isolation import Failure, failure_of

__all__ = ["Draft", "customer_of_draft", "draft_failure", "drafts_of", "due_of_draft", "is_start", "scope_of_draft"]

Draft = tuple[Scope, DraftRecord]


def drafts_of(session: Session, start: datetime, end: datetime, now: datetime, chosen: Chosen) -> list[Draft]:
    """The chosen drafts that belong to the billing days [start, end), by when they are due, so that what bills a period
    in advance comes before what settles it, by environment. The advance of a start waits for no events, and so for no
    grace.
    """
    due_by = cutoff(session, chosen, now)
    found = [
        (scope, draft)
        for scope, draft in invoices.drafts_of(session, start, end)
        if chosen.takes_subscription(scope, draft.subscription_id)
        and (not chosen.after_grace or is_start(draft) or draft.period.end <= due_by(scope))
    ]
    return sorted(found, key=lambda item: (item[0], item[1].billed_at, item[1].created_at, item[1].id))


def due_of_draft(facts: Facts, draft: InvoiceRecord) -> Due:
    """The period that a draft bills.

    NotFound `subscription_missing`, `subscription_not_found`; Conflict `subscription_ended` where the subscription was
    ended, after the draft was made, before the period began.
    """
    if draft.subscription_id is None:
        raise NotFound("subscription_missing", "the draft belongs to no subscription")
    subscription = facts.subscription(draft.subscription_id)
    period = subscription.period_at(draft.period.start)
    if period is None:
        raise Conflict("subscription_ended", "the subscription ended before this period", hint="Void the draft.")
    # An advance stays what it was made for, whatever becomes of its period.
    return due_of(facts.scope, subscription, draft.period if is_start(draft) else period, draft.billing_reason)


def scope_of_draft(item: Draft) -> Scope:
    """The environment of a draft."""
    return item[0]


def customer_of_draft(item: Draft) -> str:
    """Whose draft it is; our id."""
    return item[1].customer_id


def is_start(draft: InvoiceRecord | DraftRecord) -> bool:
    """Whether it bills the first period in advance."""
    return draft.billing_reason is BillingReason.SUBSCRIPTION_START


def draft_failure(item: tuple[Scope, InvoiceRecord | DraftRecord | UnsentInvoice], error: Exception) -> Failure:
    """The failure of one draft, under its subscription's id."""
    scope, draft = item
    return failure_of(scope, draft.subscription_id or draft.id, draft.period.start, error)
