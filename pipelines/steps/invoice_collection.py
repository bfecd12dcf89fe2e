"""How collecting an invoice goes: who does it, each try so far, the next one, and whether it is past due.

Read from what the last look at the provider left here; the provider is not asked.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from billing.invoice import InvoiceStatus, PaymentStatus
from billing.scope import Scope
from ledger.store import connections, invoices, mappings, payment_history
from ledger.store.payment_history import HistoryRecord
from pipelines.steps.connections import PROVIDER
from pipelines.steps.follow_invoice import ENTITY
from pipelines.steps.paid_elsewhere import payments_of
from pipelines.steps.sync_config import COLLECTIONS

__all__ = ["Collection", "collection_of"]

_SETTLED = {PaymentStatus.PAID, PaymentStatus.REFUNDED}


@dataclass(frozen=True)
class Collection:
    """`collected_by` is stripe, tallyhouse or manual, None while the invoice is not at the provider;
    `attempts` oldest first.

    `past_due`: a try has failed, or the day by which it was to be paid has passed, and it is not paid. `tries` is as
    whoever collects counts, with those that found no card to charge.
    """

    invoice_id: str
    payment_status: PaymentStatus
    collected_by: str | None
    provider_status: str | None
    due_at: datetime | None
    past_due: bool
    tries: int
    attempts: tuple[HistoryRecord, ...]
    next_attempt_at: datetime | None


def collection_of(session: Session, scope: Scope, invoice_id: str, now: datetime) -> Collection:
    """NotFound `invoice_not_found`."""
    invoice = invoices.get_invoice(session, scope, invoice_id)
    connection = connections.active(session, scope, PROVIDER)
    mapping = None
    if connection is not None:
        mapping = mappings.get_mapping(session, scope, connection.id, ENTITY, invoice.id)
    known = {} if mapping is None else mapping.detail
    attempts = [
        entry
        for payment in payments_of(session, scope, invoice.id)
        for entry in payment_history.list_history(session, scope, payment.id)
        if entry.kind == "attempt"
    ]
    collected_by = None
    if connection is not None and mapping is not None and mapping.provider_id is not None:
        collected_by = known.get("collected_by") or connection.sync_config.get("collection", COLLECTIONS[0])
    ours = known.get("retry")
    is_open = invoice.status == InvoiceStatus.FINALIZED and invoice.payment_status not in _SETTLED
    due_at = _instant(known.get("due_at"))
    failed = invoice.payment_status == PaymentStatus.FAILED or (ours is not None and ours["tries"] > 0)
    next_attempt = known.get("next_payment_attempt") if ours is None else ours["next_at"]
    return Collection(
        invoice_id=invoice.id,
        payment_status=invoice.payment_status,
        collected_by=collected_by,
        provider_status=known.get("status"),
        due_at=due_at,
        past_due=is_open and (failed or (due_at is not None and due_at < now)),
        tries=int(known.get("attempts", 0) if ours is None else ours["tries"]),
        attempts=tuple(sorted(attempts, key=lambda entry: (entry.at, entry.number))),
        next_attempt_at=_instant(next_attempt) if is_open else None,
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
