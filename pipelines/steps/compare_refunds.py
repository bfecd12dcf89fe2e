"""Our refunds against the provider's, both ways: those that were asked for here, and those of the Dashboard, which
stand in the history of their payment. What the provider says of a refund is booked; what was never sent is sent.
"""

from collections.abc import Iterator
from dataclasses import replace

from billing.errors import Conflict
from billing.ports import ProviderNotFound, ProviderRejected, ProviderUnavailable
from billing.refund_port import OUR_REFUND, ProviderRefund
from ledger.store import payments, refunds
from ledger.store.refunds import RefundRecord
from pipelines.steps.comparison import JUST_MADE, Comparison, Difference, in_history, in_words
from pipelines.steps.connections import PROVIDER
from pipelines.steps.follow_invoice import is_of
from pipelines.steps.payment_history import follow_refunds
from pipelines.steps.refund_payment import ENTITY, carry_out, status_here

__all__ = ["compare_refunds"]


def compare_refunds(work: Comparison) -> tuple[list[Difference], int]:
    """What differs, and how many refunds of ours were compared."""
    theirs = {each.id: each for each in work.link.gateway.list_refunds(work.since - JUST_MADE)}
    with work.ledger.read() as session:
        ours = refunds.made_since(session, work.scope, PROVIDER, work.since)
    found: list[Difference] = []
    for refund in ours:
        if refund.gateway_refund_id is None:
            found += _unsent(work, refund)
        else:
            found += _compared(work, refund, theirs.get(refund.gateway_refund_id), refund.gateway_refund_id)
    for seen in theirs.values():
        found += _extra(work, seen)
    return found, len(ours)


def _unsent(work: Comparison, refund: RefundRecord) -> Iterator[Difference]:
    """One that the provider refused has failed, and asks for nothing."""
    if not refund.counts or not work.is_settled(refund.created_at):
        return
    sent = refund
    if work.repair:
        try:
            sent = carry_out(work.ledger, work.scope, work.link, refund.id, work.now)
        except ProviderUnavailable:
            raise
        except Conflict as error:
            sent = replace(refund, failure_reason=f"{error.code}: {error.detail}")
    done = sent.gateway_refund_id is not None or not sent.counts
    here = ", ".join(filter(None, (_here(refund), sent.failure_reason)))
    yield Difference("refund_not_sent", ENTITY, refund.id, sent.gateway_refund_id, here, "not there", done)


def _compared(
    work: Comparison, refund: RefundRecord, seen: ProviderRefund | None, provider_id: str
) -> Iterator[Difference]:
    try:
        seen = seen or work.link.gateway.get_refund(provider_id)
    except ProviderNotFound:
        yield Difference("refund_missing", ENTITY, refund.id, provider_id, _here(refund), "gone")
        return
    if (seen.currency, seen.amount) != (refund.currency.upper(), refund.amount):
        yield Difference("refund_amount_differs", ENTITY, refund.id, seen.id, _here(refund), _there(seen))
    if status_here(seen) != refund.status:
        differs = Difference("refund_state_differs", ENTITY, refund.id, seen.id, _here(refund), _there(seen))
        yield replace(differs, repaired=_followed(work, seen) and _status_of(work, refund) == status_here(seen))


def _extra(work: Comparison, seen: ProviderRefund) -> Iterator[Difference]:
    """A refund over there of a payment of ours that nobody asked for here: its history has to say the same."""
    if seen.payment_id is None:
        return
    with work.ledger.read() as session:
        payment = payments.by_gateway_id(session, work.scope, PROVIDER, seen.payment_id)
        ours = [] if payment is None else refunds.of_payment(session, work.scope, payment.id)
    asked_for = seen.metadata.get(OUR_REFUND) if is_of(work.scope, seen.metadata) else None
    if payment is None or any(each.gateway_refund_id == seen.id or each.id == asked_for for each in ours):
        return
    known = in_history(work, payment.id, "refund", seen.id, seen.currency)
    if known == _there(seen):
        return
    kind = "refund_extra" if known is None else "refund_state_differs"
    repaired = _followed(work, seen) and in_history(work, payment.id, "refund", seen.id, seen.currency) == _there(seen)
    yield Difference(kind, ENTITY, asked_for, seen.id, known or "not known", _there(seen), repaired)


def _followed(work: Comparison, seen: ProviderRefund) -> bool:
    """Looked at again and booked, which is what its webhooks would have done."""
    if not work.repair or seen.payment_id is None:
        return False
    try:
        return follow_refunds(work.ledger, work.scope, work.link, seen.payment_id, work.now)
    except ProviderRejected:
        return False


def _status_of(work: Comparison, refund: RefundRecord) -> str:
    with work.ledger.read() as session:
        return refunds.get_refund(session, work.scope, refund.id).status


def _here(refund: RefundRecord) -> str:
    return in_words(refund.status, refund.amount, refund.currency)


def _there(seen: ProviderRefund) -> str:
    return in_words(seen.status, seen.amount, seen.currency)
