"""The lines of an invoice: `billing.invoice.LineDraft` with an id."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, and_, delete, select
from sqlalchemy.orm import Session

from billing.invoice import LineDraft, Share
from billing.money import format_decimal
from billing.period import Period
from billing.rating import TierUse
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import InvoiceLine
from ledger.store.bulk import insert_rows
from ledger.store.rows import among, in_scope, scoped


@dataclass(frozen=True, kw_only=True)
class LineRecord(LineDraft):
    """A stored line. Its id stays the same for as long as its key is on the invoice, however often it is priced."""

    id: str


def lines_of(session: Session, scope: Scope, invoice_ids: Collection[str]) -> dict[str, tuple[LineRecord, ...]]:
    """Invoice id -> its lines in order; an invoice without lines has none."""
    columns = [column for column in InvoiceLine.__table__.columns if column.name not in {"tenant_id", "environment_id"}]
    rows = select(*columns).where(in_scope(InvoiceLine, scope)).order_by(InvoiceLine.position)
    found: dict[str, list[LineRecord]] = {invoice_id: [] for invoice_id in invoice_ids}
    for row in session.execute(rows.where(among(session, InvoiceLine.invoice_id, invoice_ids))) if invoice_ids else ():
        found[row.invoice_id].append(_record(row))
    return {invoice_id: tuple(lines) for invoice_id, lines in found.items()}


def lines_with_ids(lines: Sequence[LineDraft], known: Sequence[LineRecord], now: datetime) -> tuple[LineRecord, ...]:
    """The lines as they will be stored, in the place of `known`."""
    ids = {line.key: line.id for line in known}
    return tuple(LineRecord(id=ids.get(line.key) or new_id("line", now), **_values(line)) for line in lines)


def remove_lines(session: Session, scope: Scope, invoice_ids: Collection[str]) -> None:
    """Takes the lines of drafts away. The caller holds the invoices' rows, as for the next one."""
    if invoice_ids:
        these = and_(in_scope(InvoiceLine, scope), among(session, InvoiceLine.invoice_id, invoice_ids))
        session.execute(delete(InvoiceLine).where(these), execution_options={"synchronize_session": False})


def insert_lines(session: Session, scope: Scope, lines_of_drafts: Mapping[str, Sequence[LineRecord]]) -> None:
    """Writes the lines of drafts that have none, by invoice id."""
    rows = [
        scoped(scope, invoice_id=invoice_id, id=line.id, position=position, **_columns(line))
        for invoice_id, lines in lines_of_drafts.items()
        for position, line in enumerate(lines)
    ]
    insert_rows(session, InvoiceLine, rows)


_NAMES = [item.name for item in fields(LineDraft)]


def _values(line: LineDraft) -> dict[str, Any]:
    return {name: getattr(line, name) for name in _NAMES}


def _columns(line: LineDraft) -> dict[str, Any]:
    values = _values(line)
    period: Period = values.pop("period")
    values["breakdown"] = [_tier_to_json(tier) for tier in line.breakdown]
    for name in ("discounts", "taxes"):
        values[name] = [{"id": share.id, "amount": format_decimal(share.amount)} for share in values[name]]
    return {**values, "period_start": period.start, "period_end": period.end}


def _record(row: Row[Any]) -> LineRecord:
    return LineRecord(
        id=row.id,
        key=row.key,
        display_name=row.display_name,
        price_type=row.price_type,
        quantity=row.quantity,
        amount=row.amount,
        unrounded=row.unrounded,
        period=Period(row.period_start, row.period_end),
        price_id=row.price_id,
        price_version=row.price_version,
        meter_id=row.meter_id,
        meter_version=row.meter_version,
        breakdown=tuple(_tier_from_json(tier) for tier in row.breakdown),
        watermark=row.watermark,
        quantity_hash=row.quantity_hash,
        discount=row.discount,
        tax=row.tax,
        discounts=_shares(row.discounts),
        taxes=_shares(row.taxes),
    )


def _shares(stored: list[dict[str, str]]) -> tuple[Share, ...]:
    return tuple(Share(share["id"], Decimal(share["amount"])) for share in stored)


def _tier_to_json(tier: TierUse) -> dict[str, str | None]:
    return {name: None if value is None else format_decimal(value) for name, value in tier._asdict().items()}


def _tier_from_json(tier: dict[str, str | None]) -> TierUse:
    values: dict[str, Any] = {name: None if text is None else Decimal(text) for name, text in tier.items()}
    return TierUse(**values)
