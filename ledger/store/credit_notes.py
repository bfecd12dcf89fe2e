"""Credit notes on finalized invoices: issued once, never changed, voided while nothing used them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from billing.adjustments.split import added
from billing.credit_note import CreditedLine, Settlement
from billing.errors import NotFound
from billing.invoice import Share
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import CreditNote
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.invoices import InvoiceRecord
from ledger.store.rows import in_scope, insert_new, scoped

__all__ = ["CreditNoteRecord", "get_note", "insert_note", "list_notes", "mark_void", "of_invoice"]


@dataclass(frozen=True)
class CreditNoteRecord:
    """Amounts are gross. `pre_payment` lowered what was due, `credit_returned` went back to grants, `paid_back` became
    credit or is to be refunded, as `settle_as` says."""

    id: str
    invoice_id: str
    customer_id: str
    number: str
    status: str
    reason: str
    currency: str
    total: Decimal
    tax_total: Decimal
    pre_payment: Decimal
    credit_returned: Decimal
    paid_back: Decimal
    settle_as: str
    lines: tuple[CreditedLine, ...]
    voided_at: datetime | None
    void_reason: str | None
    created_at: datetime


def insert_note(
    session: Session,
    scope: Scope,
    invoice: InvoiceRecord,
    *,
    number: str,
    reason: str,
    lines: Sequence[CreditedLine],
    settlement: Settlement,
    settle_as: str,
    now: datetime,
) -> CreditNoteRecord:
    """The note as it is issued; the caller holds the invoice."""
    values = scoped(
        scope,
        id=new_id("cn", now),
        invoice_id=invoice.id,
        customer_id=invoice.customer_id,
        number=number,
        status="issued",
        reason=reason,
        currency=invoice.currency,
        total=added((line.amount for line in lines), invoice.currency),
        tax_total=added((tax.amount for line in lines for tax in line.taxes), invoice.currency),
        pre_payment=settlement.pre_payment,
        credit_returned=settlement.credit_returned,
        paid_back=settlement.paid_back,
        settle_as=settle_as,
        lines=[_line_to_json(line) for line in lines],
        created_at=now,
    )
    insert_new(session, CreditNote, values)
    return get_note(session, scope, values["id"])


def get_note(session: Session, scope: Scope, note_id: str) -> CreditNoteRecord:
    """NotFound `credit_note_not_found`."""
    row = session.scalar(select(CreditNote).where(in_scope(CreditNote, scope), CreditNote.id == note_id))
    if row is None:
        raise NotFound("credit_note_not_found", "no such credit note", field="credit_note_id")
    return _record(row)


def of_invoice(session: Session, scope: Scope, invoice_id: str) -> list[CreditNoteRecord]:
    """The issued notes of an invoice, in the order of their numbers."""
    of_this = in_scope(CreditNote, scope) & (CreditNote.invoice_id == invoice_id) & (CreditNote.status == "issued")
    rows = select(CreditNote).where(of_this).order_by(CreditNote.created_at, CreditNote.id)
    return [_record(row) for row in session.scalars(rows)]


def list_notes(
    session: Session,
    scope: Scope,
    *,
    invoice_id: str | None = None,
    customer_id: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[CreditNoteRecord]:
    """Notes, newest first; our ids."""
    rows = select(CreditNote).where(in_scope(CreditNote, scope))
    if invoice_id is not None:
        rows = rows.where(CreditNote.invoice_id == invoice_id)
    if customer_id is not None:
        rows = rows.where(CreditNote.customer_id == customer_id)
    return paginate(session, rows, CreditNote.created_at, CreditNote.id, _record, cursor, limit)


def mark_void(session: Session, scope: Scope, note_id: str, reason: str, now: datetime) -> CreditNoteRecord:
    """The note, void. NotFound `credit_note_not_found`."""
    found = get_note(session, scope, note_id)
    this = in_scope(CreditNote, scope) & (CreditNote.id == found.id)
    session.execute(update(CreditNote).where(this).values(status="void", voided_at=now, void_reason=reason))
    return get_note(session, scope, found.id)


def _line_to_json(line: CreditedLine) -> dict[str, Any]:
    return {
        "line_id": line.line_id,
        "amount": f"{line.amount:f}",
        "net": f"{line.net:f}",
        "taxes": [{"id": tax.id, "amount": f"{tax.amount:f}"} for tax in line.taxes],
        **({"settled": True} if line.settled else {}),
    }


def _line_from_json(line: dict[str, Any]) -> CreditedLine:
    taxes = tuple(Share(tax["id"], Decimal(tax["amount"])) for tax in line["taxes"])
    return CreditedLine(line["line_id"], Decimal(line["amount"]), Decimal(line["net"]), taxes, "settled" in line)


def _record(row: CreditNote) -> CreditNoteRecord:
    return CreditNoteRecord(
        id=row.id,
        invoice_id=row.invoice_id,
        customer_id=row.customer_id,
        number=row.number,
        status=row.status,
        reason=row.reason,
        currency=row.currency,
        total=row.total,
        tax_total=row.tax_total,
        pre_payment=row.pre_payment,
        credit_returned=row.credit_returned,
        paid_back=row.paid_back,
        settle_as=row.settle_as,
        lines=tuple(map(_line_from_json, row.lines)),
        voided_at=row.voided_at,
        void_reason=row.void_reason,
        created_at=row.created_at,
    )
