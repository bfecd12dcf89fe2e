"""The provider's disputes against the histories of our payments: one that nobody told us of costs money unseen."""

from collections.abc import Iterator

from billing.ports import ProviderDispute, ProviderRejected
from ledger.store import payments
from pipelines.steps.comparison import JUST_MADE, Comparison, Difference, in_history, in_words
from pipelines.steps.connections import PROVIDER
from pipelines.steps.payment_history import follow_disputes

__all__ = ["compare_disputes"]


def compare_disputes(work: Comparison) -> list[Difference]:
    """What differs of the disputes that were opened since then."""
    return [each for seen in work.link.gateway.list_disputes(work.since - JUST_MADE) for each in _compared(work, seen)]


def _compared(work: Comparison, seen: ProviderDispute) -> Iterator[Difference]:
    with work.ledger.read() as session:
        payment = payments.by_gateway_id(session, work.scope, PROVIDER, seen.payment_id or "")
    if payment is None:
        return
    there = in_words(seen.status, seen.amount, seen.currency)
    known = in_history(work, payment.id, "dispute", seen.id, seen.currency)
    if known == there:
        return
    repaired = _followed(work, seen) and in_history(work, payment.id, "dispute", seen.id, seen.currency) == there
    kind = "dispute_extra" if known is None else "dispute_state_differs"
    yield Difference(kind, "dispute", payment.id, seen.id, known or "not known", there, repaired)


def _followed(work: Comparison, seen: ProviderDispute) -> bool:
    if not work.repair or seen.payment_id is None:
        return False
    try:
        return follow_disputes(work.ledger, work.scope, work.link, seen.payment_id, work.now)
    except ProviderRejected:
        return False
