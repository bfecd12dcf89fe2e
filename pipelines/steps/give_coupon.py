"""Use case: a customer, or one of their subscriptions, is given a coupon."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from billing.errors import Conflict, InvalidInput
from billing.instant import format_instant
from billing.scope import Scope
from ledger.store import audit, coupons, customers, discounts, subscriptions
from ledger.store.coupons import CouponRecord
from ledger.store.discounts import DiscountRecord

__all__ = ["NewDiscount", "end_discount", "give_coupon"]

# Each one stands on every invoice of the customer.
MOST_DISCOUNTS = 20


@dataclass(frozen=True)
class NewDiscount:
    """`coupon_id` an id or code; a customer, a subscription, or both; from now on unless `starts_at` is given."""

    coupon_id: str
    customer_id: str | None = None
    subscription_id: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None


def give_coupon(session: Session, scope: Scope, wanted: NewDiscount, actor: str, now: datetime) -> DiscountRecord:
    """The discount. Of two who redeem the last one of a coupon at once, one is refused.

    NotFound `coupon_not_found`, `customer_not_found`, `subscription_not_found`; InvalidInput `missing_field`,
    `subscription_of_another_customer`, `end_before_start`; Conflict `coupon_archived`, `coupon_expired`,
    `coupon_used_up`, `coupon_given_already`, `too_many_discounts`.
    """
    coupon = coupons.hold_coupon(session, scope, wanted.coupon_id)
    customer_id, subscription_id = _target(session, scope, wanted)
    starts_at = wanted.starts_at or now
    if wanted.ends_at is not None and wanted.ends_at <= starts_at:
        raise InvalidInput("end_before_start", "must come after the start", field="ends_at")
    _require_redeemable(session, scope, coupon, now)
    held = [
        each
        for each in discounts.list_discounts(session, scope, customer_id=customer_id, limit=100).items
        if each.subscription_id == subscription_id and (each.ends_at is None or each.ends_at > starts_at)
    ]
    if any(each.coupon.id == coupon.id for each in held):
        raise Conflict("coupon_given_already", "It has this coupon already.", hint="End that discount first.")
    if len(held) >= MOST_DISCOUNTS:
        raise Conflict("too_many_discounts", f"It has {MOST_DISCOUNTS} discounts.", hint="End one of them first.")
    made = discounts.add_discount(
        session,
        scope,
        coupon_id=coupon.id,
        customer_id=customer_id,
        subscription_id=subscription_id,
        starts_at=starts_at,
        ends_at=wanted.ends_at,
        now=now,
    )
    detail = {"coupon_id": coupon.id, "customer_id": customer_id, "subscription_id": subscription_id}
    audit.write(session, scope, actor, "discount.given", "discount", made.id, detail, now)
    return made


def end_discount(session: Session, scope: Scope, discount_id: str, actor: str, now: datetime) -> DiscountRecord:
    """The discount, which does not count for periods that end after now. NotFound `discount_not_found`."""
    ended = discounts.end_discount(session, scope, discount_id, now)
    audit.write(session, scope, actor, "discount.ended", "discount", ended.id, {}, now)
    return ended


def _target(session: Session, scope: Scope, wanted: NewDiscount) -> tuple[str, str | None]:
    if wanted.subscription_id is None:
        if wanted.customer_id is None:
            raise InvalidInput(
                "missing_field", "is needed without a subscription", field="customer_id", hint="Send one of the two."
            )
        return customers.get_customer(session, scope, wanted.customer_id).id, None
    subscription = subscriptions.get_subscription(session, scope, wanted.subscription_id)
    if wanted.customer_id is not None:
        customer = customers.get_customer(session, scope, wanted.customer_id)
        if customer.id != subscription.customer_id:
            raise InvalidInput(
                "subscription_of_another_customer",
                "belongs to another customer",
                field="subscription_id",
                hint="Leave customer_id out.",
            )
    return subscription.customer_id, subscription.id


def _require_redeemable(session: Session, scope: Scope, coupon: CouponRecord, now: datetime) -> None:
    if coupon.status != "active":
        raise Conflict("coupon_archived", "The coupon is archived.", field="coupon_id", hint="Make another one.")
    if coupon.redeem_by is not None and now >= coupon.redeem_by:
        raise Conflict(
            "coupon_expired",
            f"The coupon could be redeemed until {format_instant(coupon.redeem_by)}.",
            field="coupon_id",
            hint="Make another one.",
        )
    if (
        coupon.max_redemptions is not None
        and discounts.redemptions(session, scope, coupon.id) >= coupon.max_redemptions
    ):
        raise Conflict(
            "coupon_used_up",
            f"The coupon was redeemed {coupon.max_redemptions} times, as often as it may be.",
            field="coupon_id",
            hint="Make another one.",
        )
