"""An invoice as it is read, with its lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from billing.invoice import InvoiceStatus, PaymentStatus
from billing.period import Period
from billing.scope import Scope
from ledger.models import Invoice
from ledger.store.invoice_lines import LineRecord, lines_of


@dataclass(frozen=True)
class InvoiceRecord:
    """Amounts are in `currency`; `inputs_hash`, `watermark` and `code_version` say what the lines come from."""

    id: str
    customer_id: str
    subscription_id: str | None
    number: str | None
    status: InvoiceStatus
    payment_status: PaymentStatus
    currency: str
    subtotal: Decimal
    total: Decimal
    amount_due: Decimal
    amount_paid: Decimal
    period: Period
    collection_method: str
    watermark: datetime | None
    inputs_hash: str | None
    code_version: str | None
    finalized_at: datetime | None
    paid_at: datetime | None
    voided_at: datetime | None
    void_reason: str | None
    payment_details: dict[str, Any] | None
    stripe_hosted_invoice_url: str | None
    invoice_pdf_url: str | None
    metadata: dict[str, str]
    lines: tuple[LineRecord, ...]
    created_at: datetime


def with_lines(session: Session, scope: Scope, rows: Sequence[Invoice]) -> list[InvoiceRecord]:
    """Records of rows of one scope, in the same order; the lines take one query."""
    lines = lines_of(session, scope, [row.id for row in rows])
    return [_record(row, lines[row.id]) for row in rows]


def _record(row: Invoice, lines: tuple[LineRecord, ...]) -> InvoiceRecord:
    return InvoiceRecord(
        id=row.id,
        customer_id=row.customer_id,
        subscription_id=row.subscription_id,
        number=row.number,
        status=InvoiceStatus(row.status),
        payment_status=PaymentStatus(row.payment_status),
        currency=row.currency,
        subtotal=row.subtotal,
        total=row.total,
        amount_due=row.amount_due,
        amount_paid=row.amount_paid,
        period=Period(row.period_start, row.period_end),
        collection_method=row.collection_method,
        watermark=row.watermark,
        inputs_hash=row.inputs_hash,
        code_version=row.code_version,
        finalized_at=row.finalized_at,
        paid_at=row.paid_at,
        voided_at=row.voided_at,
        void_reason=row.void_reason,
        payment_details=row.payment_details,
        stripe_hosted_invoice_url=row.stripe_hosted_invoice_url,
        invoice_pdf_url=row.invoice_pdf_url,
        metadata=row.meta,
        lines=lines,
        created_at=row.created_at,
    )
