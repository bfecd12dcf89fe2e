"""Tax rates: made once, never changed, archived when they no longer hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from billing.adjustments.adjust import TaxTerms
from billing.adjustments.tax import check_percentage
from billing.errors import Conflict, InvalidInput, NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import TaxRate
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.rows import in_scope, insert_new, scoped

__all__ = [
    "MOST_RATES",
    "TaxRateRecord",
    "archive_tax_rate",
    "check_rates",
    "create_tax_rate",
    "get_tax_rate",
    "list_tax_rates",
    "terms_of_rates",
]

# As many as stand on an invoice and, beside its lines, fit on the provider's.
MOST_RATES = 5


@dataclass(frozen=True)
class TaxRateRecord:
    id: str
    name: str
    percentage: Decimal
    inclusive: bool
    jurisdiction: str | None
    description: str | None
    status: str
    created_at: datetime


def create_tax_rate(
    session: Session,
    scope: Scope,
    *,
    name: str,
    percentage: Decimal,
    inclusive: bool,
    now: datetime,
    jurisdiction: str | None = None,
    description: str | None = None,
) -> TaxRateRecord:
    """A new rate. InvalidInput `out_of_range`."""
    record = TaxRateRecord(
        new_id("tax", now), name, check_percentage(percentage), inclusive, jurisdiction, description, "active", now
    )
    insert_new(session, TaxRate, scoped(scope, **vars(record)))
    return record


def get_tax_rate(session: Session, scope: Scope, tax_rate_id: str) -> TaxRateRecord:
    """NotFound `tax_rate_not_found`."""
    row = session.scalar(select(TaxRate).where(in_scope(TaxRate, scope), TaxRate.id == tax_rate_id))
    if row is None:
        raise NotFound("tax_rate_not_found", "no such tax rate", field="tax_rate_id")
    return _record(row)


def list_tax_rates(
    session: Session, scope: Scope, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[TaxRateRecord]:
    """Rates, newest first."""
    rows = select(TaxRate).where(in_scope(TaxRate, scope))
    return paginate(session, rows, TaxRate.created_at, TaxRate.id, _record, cursor, limit)


def archive_tax_rate(session: Session, scope: Scope, tax_rate_id: str) -> TaxRateRecord:
    """Closes a rate to new customers and invoices; those that have it keep it. NotFound `tax_rate_not_found`."""
    found = get_tax_rate(session, scope, tax_rate_id)
    session.execute(update(TaxRate).where(in_scope(TaxRate, scope), TaxRate.id == found.id).values(status="archived"))
    return get_tax_rate(session, scope, tax_rate_id)


def check_rates(session: Session, scope: Scope, ids: Sequence[str], kept: Sequence[str] = ()) -> list[str]:
    """The ids, if each may be set; those of `kept` may be archived since.

    InvalidInput `too_many_tax_rates`, `tax_rate_twice`; NotFound `tax_rate_not_found`; Conflict `tax_rate_archived`.
    """
    if len(ids) > MOST_RATES:
        raise InvalidInput("too_many_tax_rates", f"takes at most {MOST_RATES} rates", field="tax_rate_ids")
    if len(set(ids)) < len(ids):
        raise InvalidInput("tax_rate_twice", "names a rate twice", field="tax_rate_ids", hint="Name each rate once.")
    for number, tax_rate_id in enumerate(ids):
        try:
            found = get_tax_rate(session, scope, tax_rate_id)
        except NotFound as error:
            error.field = f"tax_rate_ids[{number}]"
            raise
        if found.status != "active" and tax_rate_id not in kept:
            raise Conflict(
                "tax_rate_archived",
                f"The tax rate {found.name} is archived.",
                field=f"tax_rate_ids[{number}]",
                hint="Name an active one, or make another.",
            )
    return list(ids)


def terms_of_rates(session: Session, scope: Scope, ids: Sequence[str]) -> tuple[TaxTerms, ...]:
    """What these rates say, in this order."""
    found = (get_tax_rate(session, scope, tax_rate_id) for tax_rate_id in ids)
    return tuple(TaxTerms(rate.id, rate.name, rate.percentage, rate.inclusive) for rate in found)


def _record(row: TaxRate) -> TaxRateRecord:
    return TaxRateRecord(
        id=row.id,
        name=row.name,
        percentage=row.percentage,
        inclusive=row.inclusive,
        jurisdiction=row.jurisdiction,
        description=row.description,
        status=row.status,
        created_at=row.created_at,
    )
