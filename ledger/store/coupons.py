"""Coupons: made once, never changed, archived when nobody may redeem them any more."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from billing.adjustments.coupon import CouponTerms, Duration, check_terms
from billing.errors import Conflict, InvalidInput, NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Coupon
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.rows import in_scope, insert_new, scoped

__all__ = ["CouponRecord", "archive_coupon", "create_coupon", "get_coupon", "hold_coupon", "list_coupons"]


@dataclass(frozen=True)
class CouponRecord:
    """`redeem_by` is the first moment at which it is not given any more, `max_redemptions` how often it is."""

    id: str
    code: str
    name: str
    terms: CouponTerms
    redeem_by: datetime | None
    max_redemptions: int | None
    status: str
    created_at: datetime


def create_coupon(
    session: Session,
    scope: Scope,
    *,
    code: str,
    name: str,
    terms: CouponTerms,
    now: datetime,
    redeem_by: datetime | None = None,
    max_redemptions: int | None = None,
) -> CouponRecord:
    """A new coupon. Conflict `coupon_exists`; InvalidInput `code_reserved`, and those of `check_terms`."""
    if code.lower().startswith("coupon_"):
        raise InvalidInput(
            "code_reserved", "a code of the form coupon_… looks like an id", field="code", hint="Choose another code."
        )
    check_terms(terms)
    values = scoped(
        scope,
        id=new_id("coupon", now),
        code=code,
        name=name,
        percent_off=terms.percent_off,
        amount_off=terms.amount_off,
        currency=terms.currency,
        duration=terms.duration.value,
        periods=terms.periods,
        redeem_by=redeem_by,
        max_redemptions=max_redemptions,
        status="active",
        created_at=now,
    )
    if not insert_new(session, Coupon, values):
        raise Conflict("coupon_exists", "a coupon with this code exists", field="code", hint="Choose another code.")
    return get_coupon(session, scope, values["id"])


def get_coupon(session: Session, scope: Scope, coupon_id: str) -> CouponRecord:
    """By its id or code. NotFound `coupon_not_found`."""
    return _found(session, scope, coupon_id, lock=False)


def hold_coupon(session: Session, scope: Scope, coupon_id: str) -> CouponRecord:
    """The same, its row locked until the transaction ends: of two who redeem it, one waits. It is locked before a
    customer is."""
    return _found(session, scope, coupon_id, lock=True)


def list_coupons(
    session: Session, scope: Scope, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[CouponRecord]:
    """Coupons, newest first."""
    rows = select(Coupon).where(in_scope(Coupon, scope))
    return paginate(session, rows, Coupon.created_at, Coupon.id, _record, cursor, limit)


def archive_coupon(session: Session, scope: Scope, coupon_id: str) -> CouponRecord:
    """Closes a coupon to new customers; discounts that were given go on. NotFound `coupon_not_found`."""
    found = get_coupon(session, scope, coupon_id)
    session.execute(update(Coupon).where(in_scope(Coupon, scope), Coupon.id == found.id).values(status="archived"))
    return get_coupon(session, scope, found.id)


def _found(session: Session, scope: Scope, coupon_id: str, *, lock: bool) -> CouponRecord:
    named = or_(Coupon.id == coupon_id, Coupon.code == coupon_id)
    rows = select(Coupon).where(in_scope(Coupon, scope), named)
    row = session.scalar(rows.with_for_update() if lock else rows)
    if row is None:
        raise NotFound("coupon_not_found", "no such coupon", field="coupon_id")
    return _record(row)


def _record(row: Coupon) -> CouponRecord:
    return CouponRecord(
        id=row.id,
        code=row.code,
        name=row.name,
        terms=CouponTerms(row.percent_off, row.amount_off, row.currency, Duration(row.duration), row.periods),
        redeem_by=row.redeem_by,
        max_redemptions=row.max_redemptions,
        status=row.status,
        created_at=row.created_at,
    )
