"""What the steps that work on drafts share: the period a draft is for, and what an error means for it."""

from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.scope import Scope
from ledger.store import subscriptions
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.billing_day import Due, due_of
from pipelines.steps.isolation import Failure, failure_of

__all__ = ["Draft", "draft_failure", "due_of_draft"]

Draft = tuple[Scope, InvoiceRecord]


def due_of_draft(session: Session, scope: Scope, draft: InvoiceRecord) -> Due:
    """The period that a draft bills.

    NotFound `subscription_missing`, `subscription_not_found`; Conflict `subscription_ended` where the subscription was
    ended, after the draft was made, before the period began.
    """
    if draft.subscription_id is None:
        raise NotFound("subscription_missing", "the draft belongs to no subscription")
    due = due_of(scope, subscriptions.get_subscription(session, scope, draft.subscription_id), draft.period)
    if due is None:
        raise Conflict("subscription_ended", "the subscription ended before this period", hint="Void the draft.")
    return due


def draft_failure(item: Draft, error: Exception) -> Failure:
    """The failure of one draft, under its subscription's id."""
    scope, draft = item
    return failure_of(scope, draft.subscription_id or draft.id, draft.period.start, error)
