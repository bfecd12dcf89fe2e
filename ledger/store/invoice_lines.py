"""The lines of an invoice: `billing.invoice.LineDraft` with an id."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
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
    rows = select(*_READ).where(in_scope(InvoiceLine, scope)).order_by(InvoiceLine.position)
    found: dict[str, list[LineRecord]] = {invoice_id: [] for invoice_id in invoice_ids}
    for row in session.execute(rows.where(among(session, InvoiceLine.invoice_id, invoice_ids))) if invoice_ids else ():
        found[row[0]].append(_record(row))
    return {invoice_id: tuple(lines) for invoice_id, lines in found.items()}


def lines_with_ids(lines: Sequence[LineDraft], known: Sequence[LineRecord], now: datetime) -> tuple[LineRecord, ...]:
    """The lines as they will be stored, in the place of `known`."""
    ids = {line.key: line.id for line in known}
    return tuple(_line({**vars(line), "id": ids.get(line.key) or new_id("line", now)}) for line in lines)


def remove_lines(session: Session, scope: Scope, invoice_ids: Collection[str]) -> None:
    """Takes the lines of drafts away. The caller holds the invoices' rows, as for the next one."""
    if invoice_ids:
        these = and_(in_scope(InvoiceLine, scope), among(session, InvoiceLine.invoice_id, invoice_ids))
        session.execute(delete(InvoiceLine).where(these), execution_options={"synchronize_session": False})


def insert_lines(session: Session, scope: Scope, lines_of_drafts: Mapping[str, Sequence[LineRecord]]) -> None:
    """Writes the lines of drafts that have none, by invoice id."""
    rows = [
        scoped(scope, invoice_id=invoice_id, position=position, **_columns(line))
        for invoice_id, lines in lines_of_drafts.items()
        for position, line in enumerate(lines)
    ]
    insert_rows(session, InvoiceLine, rows)


_NAMES = tuple(item.name for item in fields(LineRecord) if item.name != "period")
_READ = (
    InvoiceLine.invoice_id,
    InvoiceLine.period_start,
    InvoiceLine.period_end,
    *(getattr(InvoiceLine, name) for name in _NAMES),
)


def _line(values: dict[str, Any]) -> LineRecord:
    """A record of these fields. Of many lines the constructor, which sets them one by one, would cost the most."""
    line = object.__new__(LineRecord)
    vars(line).update(values)
    return line


def _columns(line: LineDraft) -> dict[str, Any]:
    values = dict(vars(line))
    period: Period = values.pop("period")
    values["period_start"], values["period_end"] = period.start, period.end
    values["breakdown"] = [_tier_to_json(tier) for tier in line.breakdown]
    for name in ("discounts", "taxes"):
        values[name] = [{"id": share.id, "amount": format_decimal(share.amount)} for share in values[name]]
    return values


def _record(row: Row[Any]) -> LineRecord:
    _, start, end, *others = tuple(row)
    values = dict(zip(_NAMES, others, strict=True))
    values["period"] = period_of(start, end)
    values["breakdown"] = tuple(map(_tier_from_json, values["breakdown"]))
    for name in ("discounts", "taxes"):
        values[name] = _shares(values[name]) if values[name] else ()
    return _line(values)


@lru_cache(maxsize=4096)
def period_of(start: datetime, end: datetime) -> Period:
    """The same object for all that share it."""
    return Period(start, end)


def _shares(stored: list[dict[str, str]]) -> tuple[Share, ...]:
    return tuple(Share(share["id"], Decimal(share["amount"])) for share in stored)


def _tier_to_json(tier: TierUse) -> dict[str, str | None]:
    return {
        name: None if value is None else format_decimal(value)
        for name, value in zip(TierUse._fields, tier, strict=True)
    }


def _tier_from_json(tier: dict[str, str | None]) -> TierUse:
    values: Any = [None if (text := tier[name]) is None else Decimal(text) for name in TierUse._fields]
    return TierUse._make(values)
