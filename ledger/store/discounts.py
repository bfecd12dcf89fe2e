"""Discounts: coupons that customers have, each for all their subscriptions or for one."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from billing.adjustments.adjust import DiscountTerms
from billing.errors import NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Discount
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.coupons import CouponRecord, get_coupon
from ledger.store.rows import in_scope, insert_new, scoped

__all__ = [
    "DiscountRecord",
    "add_discount",
    "end_discount",
    "get_discount",
    "list_discounts",
    "of_customer",
    "redemptions",
]


@dataclass(frozen=True)
class DiscountRecord:
    """Holds in [starts_at, ends_at); `subscription_id` None for all of the customer's."""

    id: str
    coupon: CouponRecord
    customer_id: str
    subscription_id: str | None
    starts_at: datetime
    ends_at: datetime | None
    created_at: datetime

    @property
    def terms(self) -> DiscountTerms:
        """What it takes off an invoice that it counts for."""
        terms = self.coupon.terms
        return DiscountTerms(
            self.id, self.coupon.id, self.coupon.name, terms.percent_off, terms.amount_off, terms.currency
        )


def add_discount(
    session: Session,
    scope: Scope,
    *,
    coupon_id: str,
    customer_id: str,
    subscription_id: str | None,
    starts_at: datetime,
    ends_at: datetime | None,
    now: datetime,
) -> DiscountRecord:
    """A new discount; whether the coupon may be given is for the caller to know, who holds it."""
    values = scoped(
        scope,
        id=new_id("disc", now),
        coupon_id=coupon_id,
        customer_id=customer_id,
        subscription_id=subscription_id,
        starts_at=starts_at,
        ends_at=ends_at,
        created_at=now,
    )
    insert_new(session, Discount, values)
    return get_discount(session, scope, values["id"])


def get_discount(session: Session, scope: Scope, discount_id: str) -> DiscountRecord:
    """NotFound `discount_not_found`."""
    row = session.scalar(select(Discount).where(in_scope(Discount, scope), Discount.id == discount_id))
    if row is None:
        raise NotFound("discount_not_found", "no such discount", field="discount_id")
    return _record(session, scope, row)


def list_discounts(
    session: Session,
    scope: Scope,
    *,
    customer_id: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[DiscountRecord]:
    """Discounts, newest first; `customer_id` is our id."""
    rows = select(Discount).where(in_scope(Discount, scope))
    if customer_id is not None:
        rows = rows.where(Discount.customer_id == customer_id)
    page = paginate(session, rows, Discount.created_at, Discount.id, lambda row: row, cursor, limit)
    return Page([_record(session, scope, row) for row in page.items], page.next_cursor)


def of_customer(session: Session, scope: Scope, customer_id: str, subscription_id: str | None) -> list[DiscountRecord]:
    """What a customer has for all subscriptions or for this one, in the order in which it was given; our ids."""
    rows = select(Discount).where(
        in_scope(Discount, scope),
        Discount.customer_id == customer_id,
        or_(Discount.subscription_id.is_(None), Discount.subscription_id == subscription_id),
    )
    found = session.scalars(rows.order_by(Discount.created_at, Discount.id))
    return [_record(session, scope, row) for row in found]


def redemptions(session: Session, scope: Scope, coupon_id: str) -> int:
    """How often a coupon was given, ended discounts included; its own id."""
    counted = select(func.count()).select_from(Discount)
    return session.scalar(counted.where(in_scope(Discount, scope), Discount.coupon_id == coupon_id)) or 0


def end_discount(session: Session, scope: Scope, discount_id: str, ends_at: datetime) -> DiscountRecord:
    """Ends a discount, earlier than it would but never later. NotFound `discount_not_found`."""
    found = get_discount(session, scope, discount_id)
    end = ends_at if found.ends_at is None else min(found.ends_at, ends_at)
    session.execute(update(Discount).where(in_scope(Discount, scope), Discount.id == found.id).values(ends_at=end))
    return get_discount(session, scope, found.id)


def _record(session: Session, scope: Scope, row: Discount) -> DiscountRecord:
    return DiscountRecord(
        id=row.id,
        coupon=get_coupon(session, scope, row.coupon_id),
        customer_id=row.customer_id,
        subscription_id=row.subscription_id,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        created_at=row.created_at,
    )
