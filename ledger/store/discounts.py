"""Discounts: coupons that customers have, each for all their subscriptions or for one."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from billing.adjustments.adjust import DiscountTerms
from billing.errors import NotFound
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Discount
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.coupons import CouponRecord, get_coupon
from ledger.store.rows import among, in_chunks, in_scope, insert_new, scoped

__all__ = [
    "DiscountRecord",
    "add_discount",
    "end_discount",
    "get_discount",
    "list_discounts",
    "of_customer",
    "of_customers",
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
    return _record(row, get_coupon(session, scope, row.coupon_id))


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
    found = [_record(row, get_coupon(session, scope, row.coupon_id)) for row in page.items]
    return Page(found, page.next_cursor)


def of_customer(session: Session, scope: Scope, customer_id: str, subscription_id: str | None) -> list[DiscountRecord]:
    """What a customer has for all subscriptions or for this one, in the order in which it was given; our ids."""
    held = of_customers(session, scope, [customer_id]).get(customer_id, [])
    return [each for each in held if each.subscription_id in {None, subscription_id}]


def of_customers(session: Session, scope: Scope, customer_ids: Collection[str]) -> dict[str, list[DiscountRecord]]:
    """Our id -> all that a customer has, in the order in which it was given; one without discounts is left out."""
    found: defaultdict[str, list[DiscountRecord]] = defaultdict(list)
    coupons: dict[str, CouponRecord] = {}
    for some in in_chunks(customer_ids):
        rows = select(Discount).where(in_scope(Discount, scope), among(session, Discount.customer_id, some))
        for row in session.scalars(rows.order_by(Discount.created_at, Discount.id)):
            if row.coupon_id not in coupons:
                coupons[row.coupon_id] = get_coupon(session, scope, row.coupon_id)
            found[row.customer_id].append(_record(row, coupons[row.coupon_id]))
    return found


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


def _record(row: Discount, coupon: CouponRecord) -> DiscountRecord:
    return DiscountRecord(
        id=row.id,
        coupon=coupon,
        customer_id=row.customer_id,
        subscription_id=row.subscription_id,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        created_at=row.created_at,
    )
