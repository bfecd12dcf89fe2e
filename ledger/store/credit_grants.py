"""Prepaid credit of customers: granted, applied to invoices, returned, expired, voided.

Whatever moves credit holds the customer's row, so that two of them never draw on the same money. A grant's `remaining`
is the sum of its movements, and the customer's balance in a currency is the sum of theirs.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from billing.adjustments.credit import Drawn, Funds, draw, in_order
from billing.adjustments.split import added
from billing.errors import Conflict, InvalidInput, NotFound
from billing.exact import EXACT
from billing.money import currency_in_use, from_minor, to_minor
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import CreditGrant, CreditMovement
from ledger.page import DEFAULT_LIMIT, Page, paginate, paginate_versions
from ledger.store.customers import hold_customer
from ledger.store.rows import among, in_scope, insert_new, scope_of, scoped

__all__ = [
    "Balance",
    "GrantRecord",
    "MovementRecord",
    "NewGrant",
    "apply",
    "balances",
    "expire",
    "expiring",
    "forecast",
    "get_grant",
    "give_back",
    "grant",
    "grant_of",
    "holders",
    "list_grants",
    "list_movements",
    "require_grant_of",
    "void_grant",
]


@dataclass(frozen=True)
class NewGrant:
    """`source_id` names what it comes from, once: a payment, invoice or credit note."""

    amount: Decimal
    currency: str
    source: str
    source_id: str | None = None
    priority: int = 100
    effective_at: datetime | None = None
    expires_at: datetime | None = None
    reason: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GrantRecord:
    id: str
    customer_id: str
    currency: str
    amount: Decimal
    remaining: Decimal
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    voided_at: datetime | None
    source: str
    source_id: str | None
    reason: str | None
    metadata: dict[str, str]
    created_at: datetime

    @property
    def funds(self) -> Funds:
        """What it may pay with; nothing once it is void."""
        left = self.remaining if self.voided_at is None else from_minor(0, self.currency)
        return Funds(self.id, left, self.priority, self.effective_at, self.expires_at)


@dataclass(frozen=True)
class MovementRecord:
    """`amount` has a sign; `balance_after` is the customer's in this currency."""

    id: str
    sequence: int
    grant_id: str
    kind: str
    currency: str
    amount: Decimal
    balance_after: Decimal
    invoice_id: str | None
    credit_note_id: str | None
    created_at: datetime


@dataclass(frozen=True)
class Balance:
    """`balance` is all that is left; `available` what may pay an invoice now, without what begins later."""

    currency: str
    balance: Decimal
    available: Decimal


def grant(session: Session, scope: Scope, customer_id: str, wanted: NewGrant, now: datetime) -> GrantRecord:
    """A new grant; the one that is there where its source has one already. `customer_id` is ours.

    InvalidInput `out_of_range`, `end_before_start`, and those of a currency and its smallest unit; NotFound
    `customer_not_found`.
    """
    hold_customer(session, scope, customer_id)
    currency = currency_in_use(wanted.currency)
    to_minor(wanted.amount, currency)
    if wanted.amount <= 0:
        raise InvalidInput("out_of_range", "must be above 0", field="amount")
    effective_at = wanted.effective_at or now
    if wanted.expires_at is not None and wanted.expires_at <= effective_at:
        raise InvalidInput("end_before_start", "must come after effective_at", field="expires_at")
    nothing = from_minor(0, currency)
    values = scoped(
        scope,
        id=new_id("grant", now),
        customer_id=customer_id,
        currency=currency,
        amount=EXACT.add(wanted.amount, nothing),
        remaining=nothing,
        priority=wanted.priority,
        effective_at=effective_at,
        expires_at=wanted.expires_at,
        source=wanted.source,
        source_id=wanted.source_id,
        reason=wanted.reason,
        meta=dict(wanted.metadata),
        created_at=now,
    )
    if not insert_new(session, CreditGrant, values):
        found = None if wanted.source_id is None else grant_of(session, scope, wanted.source, wanted.source_id)
        if found is None:
            raise NotFound("customer_not_found", "no such customer", field="customer_id")
        return found
    made = get_grant(session, scope, values["id"])
    _move(session, scope, made, "granted", made.amount, now)
    return get_grant(session, scope, made.id)


def holders(session: Session, scope: Scope, customer_ids: Collection[str]) -> set[str]:
    """Those of the customers who have ever been granted credit; our ids."""
    rows = select(CreditGrant.customer_id).where(in_scope(CreditGrant, scope)).distinct()
    return set(session.scalars(rows.where(among(session, CreditGrant.customer_id, customer_ids))))


def apply(
    session: Session, scope: Scope, customer_id: str, invoice_id: str, total: Decimal, currency: str, now: datetime
) -> tuple[Drawn, ...]:
    """What credit pays of an invoice that is finalized now, drawn. The caller holds the customer."""
    held = _grants(session, scope, customer_id)
    if any(_is_over(each, now) for each in held):
        expire(session, scope, customer_id, now)
        held = _grants(session, scope, customer_id)
    found = {each.id: each for each in held if each.currency == currency}
    usable = [(each.grant_id, each.remaining) for each in in_order([each.funds for each in found.values()], now)]
    drawn, _ = draw(total, usable, currency)
    for each in drawn:
        _move(session, scope, found[each.grant_id], "applied", -each.amount, now, invoice_id=invoice_id)
    return drawn


def give_back(
    session: Session,
    scope: Scope,
    invoice_id: str,
    most: Decimal | None,
    now: datetime,
    credit_note_id: str | None = None,
) -> Decimal:
    """Returns what an invoice drew to the same grants, at most `most`, what was drawn last first; the sum returned.

    What comes back to a grant that was voided meanwhile is voided with it; what comes back to one that has expired
    expires. The caller holds the customer.
    """
    rows = select(CreditMovement).where(in_scope(CreditMovement, scope), CreditMovement.invoice_id == invoice_id)
    drawn: dict[str, Decimal] = {}
    for row in session.scalars(rows.order_by(CreditMovement.sequence)):
        drawn[row.grant_id] = EXACT.subtract(drawn.get(row.grant_id, from_minor(0, row.currency)), row.amount)
    returned = Decimal(0)
    for grant_id, amount in reversed(drawn.items()):
        back = amount if most is None else min(amount, EXACT.subtract(most, returned))
        if back <= 0:
            continue
        found = get_grant(session, scope, grant_id)
        _move(session, scope, found, "returned", back, now, invoice_id=invoice_id, credit_note_id=credit_note_id)
        if found.voided_at is not None:
            _move(session, scope, get_grant(session, scope, grant_id), "voided", -back, now)
        returned = EXACT.add(returned, back)
    return returned


def void_grant(session: Session, scope: Scope, grant_id: str, now: datetime, *, unused: bool = False) -> GrantRecord:
    """Takes back what is left of a grant; one that is void stays so. `unused` refuses one of which anything was spent.

    NotFound `grant_not_found`; Conflict `credit_used`.
    """
    found = get_grant(session, scope, grant_id)
    hold_customer(session, scope, found.customer_id)
    expire(session, scope, found.customer_id, now)
    found = get_grant(session, scope, grant_id)
    if found.voided_at is not None:
        return found
    if unused and found.remaining != found.amount:
        raise Conflict(
            "credit_used",
            f"{found.amount - found.remaining:f} {found.currency} of the credit that came of it are spent.",
            hint="Correct it on a later invoice.",
        )
    if found.remaining > 0:
        _move(session, scope, found, "voided", -found.remaining, now)
    this = in_scope(CreditGrant, scope) & (CreditGrant.id == found.id)
    session.execute(update(CreditGrant).where(this).values(voided_at=now))
    return get_grant(session, scope, found.id)


def expire(session: Session, scope: Scope, customer_id: str, now: datetime) -> int:
    """Writes down what has expired of a customer's grants; how many had. The caller holds the customer."""
    expired = [each for each in _grants(session, scope, customer_id) if _is_over(each, now)]
    for each in expired:
        _move(session, scope, each, "expired", -each.remaining, now)
    return len(expired)


def expiring(session: Session, now: datetime) -> list[tuple[Scope, str]]:
    """The customers of all environments who have credit that has expired and is not written down yet."""
    rows = session.scalars(select(CreditGrant).where(CreditGrant.expires_at <= now))
    return sorted({(scope_of(row), row.customer_id) for row in rows if row.remaining > 0})


def balances(session: Session, scope: Scope, customer_id: str, now: datetime) -> list[Balance]:
    """A customer's credit by currency, right at `now` whether or not expiry was written down; our id."""
    found = [each for each in _grants(session, scope, customer_id) if not _is_over(each, now)]
    by_currency: dict[str, list[GrantRecord]] = {}
    for each in found:
        by_currency.setdefault(each.currency, []).append(each)
    return [
        Balance(
            currency,
            added((each.remaining for each in some), currency),
            added((each.remaining for each in in_order([each.funds for each in some], now)), currency),
        )
        for currency, some in sorted(by_currency.items())
    ]


def forecast(session: Session, scope: Scope, customer_id: str, total: Decimal, currency: str, now: datetime) -> Decimal:
    """What credit would pay of an invoice that were finalized now; nothing is drawn. Our id."""
    usable = in_order([each.funds for each in _grants(session, scope, customer_id, currency)], now)
    return draw(total, [(each.grant_id, each.remaining) for each in usable], currency)[1]


def get_grant(session: Session, scope: Scope, grant_id: str) -> GrantRecord:
    """NotFound `grant_not_found`."""
    row = session.scalar(select(CreditGrant).where(in_scope(CreditGrant, scope), CreditGrant.id == grant_id))
    if row is None:
        raise NotFound("grant_not_found", "no such grant", field="grant_id")
    return _grant_record(row)


def require_grant_of(session: Session, scope: Scope, customer_id: str, grant_id: str) -> GrantRecord:
    """The grant, if it is this customer's; our id. NotFound `grant_not_found`."""
    found = get_grant(session, scope, grant_id)
    if found.customer_id != customer_id:
        raise NotFound("grant_not_found", "no such grant", field="grant_id")
    return found


def grant_of(session: Session, scope: Scope, source: str, source_id: str) -> GrantRecord | None:
    """The grant that came of a payment, an invoice or a credit note."""
    of_source = (CreditGrant.source == source) & (CreditGrant.source_id == source_id)
    row = session.scalar(select(CreditGrant).where(in_scope(CreditGrant, scope), of_source))
    return None if row is None else _grant_record(row)


def list_grants(
    session: Session, scope: Scope, customer_id: str, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[GrantRecord]:
    """A customer's grants, newest first; our id."""
    rows = select(CreditGrant).where(in_scope(CreditGrant, scope), CreditGrant.customer_id == customer_id)
    return paginate(session, rows, CreditGrant.created_at, CreditGrant.id, _grant_record, cursor, limit)


def list_movements(
    session: Session, scope: Scope, customer_id: str, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[MovementRecord]:
    """A customer's statement, newest first; our id."""
    rows = select(CreditMovement).where(in_scope(CreditMovement, scope), CreditMovement.customer_id == customer_id)
    return paginate_versions(session, rows, CreditMovement.sequence, _movement_record, cursor, limit)


def _is_over(found: GrantRecord, now: datetime) -> bool:
    return found.remaining > 0 and found.expires_at is not None and found.expires_at <= now


def _grants(session: Session, scope: Scope, customer_id: str, currency: str | None = None) -> list[GrantRecord]:
    rows = select(CreditGrant).where(in_scope(CreditGrant, scope), CreditGrant.customer_id == customer_id)
    if currency is not None:
        rows = rows.where(CreditGrant.currency == currency)
    return [_grant_record(row) for row in session.scalars(rows.order_by(CreditGrant.created_at, CreditGrant.id))]


def _move(
    session: Session,
    scope: Scope,
    found: GrantRecord,
    kind: str,
    amount: Decimal,
    now: datetime,
    *,
    invoice_id: str | None = None,
    credit_note_id: str | None = None,
) -> None:
    of_customer = in_scope(CreditMovement, scope) & (CreditMovement.customer_id == found.customer_id)
    sequence = session.scalar(select(func.max(CreditMovement.sequence)).where(of_customer)) or 0
    last = select(CreditMovement.balance_after).where(of_customer, CreditMovement.currency == found.currency)
    before = session.scalar(last.order_by(CreditMovement.sequence.desc()).limit(1)) or from_minor(0, found.currency)
    values = scoped(
        scope,
        id=new_id("mov", now),
        customer_id=found.customer_id,
        sequence=sequence + 1,
        grant_id=found.id,
        kind=kind,
        currency=found.currency,
        amount=amount,
        balance_after=EXACT.add(before, amount),
        invoice_id=invoice_id,
        credit_note_id=credit_note_id,
        created_at=now,
    )
    session.add(CreditMovement(**values))
    session.flush()
    this = in_scope(CreditGrant, scope) & (CreditGrant.id == found.id)
    session.execute(update(CreditGrant).where(this).values(remaining=EXACT.add(found.remaining, amount)))


def _grant_record(row: CreditGrant) -> GrantRecord:
    return GrantRecord(
        id=row.id,
        customer_id=row.customer_id,
        currency=row.currency,
        amount=row.amount,
        remaining=row.remaining,
        priority=row.priority,
        effective_at=row.effective_at,
        expires_at=row.expires_at,
        voided_at=row.voided_at,
        source=row.source,
        source_id=row.source_id,
        reason=row.reason,
        metadata=row.meta,
        created_at=row.created_at,
    )


def _movement_record(row: CreditMovement) -> MovementRecord:
    return MovementRecord(
        id=row.id,
        sequence=row.sequence,
        grant_id=row.grant_id,
        kind=row.kind,
        currency=row.currency,
        amount=row.amount,
        balance_after=row.balance_after,
        invoice_id=row.invoice_id,
        credit_note_id=row.credit_note_id,
        created_at=row.created_at,
    )
