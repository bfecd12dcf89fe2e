"""What the steps that work on drafts share: which drafts, the period a draft is for, and what an error means for it."""

from datetime import datetime

from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.scope import Scope
from ledger.store import invoices, subscriptions
from ledger.store.invoices import InvoiceRecord
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.billing_day import Due, due_of
from pipelines.steps.chosen import Chosen, cutoff
from pipelines.steps.isolation import Failure, failure_of

__all__ = ["Draft", "draft_failure", "drafts_of", "due_of_draft", "due_of_subscription"]

Draft = tuple[Scope, InvoiceRecord]


def drafts_of(session: Session, start: datetime, end: datetime, now: datetime, chosen: Chosen) -> list[Draft]:
    """The chosen drafts whose period ends in [start, end), oldest first."""
    due_by = cutoff(session, chosen, now)
    return [
        (scope, draft)
        for scope, draft in invoices.drafts_of(session, start, end)
        if chosen.takes_subscription(scope, draft.subscription_id)
        and (not chosen.after_grace or draft.period.end <= due_by(scope))
    ]


def due_of_draft(session: Session, scope: Scope, draft: InvoiceRecord) -> Due:
    """The period that a draft bills.

    NotFound `subscription_missing`, `subscription_not_found`; Conflict `subscription_ended` where the subscription was
    ended, after the draft was made, before the period began.
    """
    if draft.subscription_id is None:
        raise NotFound("subscription_missing", "the draft belongs to no subscription")
    return due_of_subscription(scope, subscriptions.get_subscription(session, scope, draft.subscription_id), draft)


def due_of_subscription(scope: Scope, subscription: SubscriptionRecord, draft: InvoiceRecord) -> Due:
    """The same where the subscription is at hand. Conflict `subscription_ended`."""
    period = subscription.period_at(draft.period.start)
    if period is None:
        raise Conflict("subscription_ended", "the subscription ended before this period", hint="Void the draft.")
    return due_of(scope, subscription, period)


def draft_failure(item: Draft, error: Exception) -> Failure:
    """The failure of one draft, under its subscription's id."""
    scope, draft = item
    return failure_of(scope, draft.subscription_id or draft.id, draft.period.start, error)
