"""Coupons, discounts, and what an invoice says of the discounts that it was made with."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import CurrencyIn, CustomerRef, DecimalIn, DecimalOut, Instant, Model, ShortName, Slug, any_case
from api.schemas.paging import Paging
from billing.adjustments.adjust import AppliedDiscount
from billing.adjustments.coupon import CouponTerms, Duration
from billing.exact import parse_decimal
from ledger.store.coupons import CouponRecord
from ledger.store.discounts import DiscountRecord
from pipelines.steps.give_coupon import NewDiscount

__all__ = ["AppliedDiscountOut", "CouponIn", "CouponOut", "DiscountFilters", "DiscountIn", "DiscountOut"]

DurationName = Annotated[Literal["once", "repeating", "forever"], any_case()]


class CouponIn(Model):
    """Either `percent_off`, or `amount_off` with its `currency`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"code": "WELCOME20", "name": "Welcome", "percent_off": "20", "duration": "repeating", "periods": 3}
            ]
        }
    )

    code: Slug = Field(description="What people type; unique in the environment.")
    name: ShortName = Field(description="As it stands on the invoice.")
    percent_off: DecimalIn | None = Field(default=None, description="Above 0, at most 100.")
    amount_off: DecimalIn | None = Field(default=None, description="Once an invoice; what exceeds it is lost.")
    currency: CurrencyIn | None = None
    duration: DurationName = "once"
    periods: int | None = Field(default=None, strict=True, ge=1, le=1200, description="Of a repeating one: how many.")
    redeem_by: Instant | None = Field(default=None, description="From this moment on it is not given any more.")
    max_redemptions: int | None = Field(default=None, strict=True, ge=1, le=1_000_000_000)

    def terms(self) -> CouponTerms:
        """What it takes off, with the numbers inside the bounds of a decimal."""
        return CouponTerms(
            None if self.percent_off is None else parse_decimal(self.percent_off, "percent_off"),
            None if self.amount_off is None else parse_decimal(self.amount_off, "amount_off"),
            self.currency,
            Duration(self.duration),
            self.periods,
        )


class CouponOut(Model):
    id: str
    code: str
    name: str
    percent_off: DecimalOut | None
    amount_off: DecimalOut | None
    currency: str | None
    duration: DurationName
    periods: int | None
    redeem_by: Instant | None
    max_redemptions: int | None
    status: str
    created_at: Instant

    @classmethod
    def of(cls, record: CouponRecord) -> Self:
        terms = record.terms
        return cls(
            id=record.id,
            code=record.code,
            name=record.name,
            percent_off=terms.percent_off,
            amount_off=terms.amount_off,
            currency=terms.currency and terms.currency.lower(),
            duration=terms.duration.value,
            periods=terms.periods,
            redeem_by=record.redeem_by,
            max_redemptions=record.max_redemptions,
            status=record.status,
            created_at=record.created_at,
        )


class DiscountIn(Model):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"coupon_id": "WELCOME20", "customer_id": "acme_corp_001"}]}
    )

    coupon_id: Slug = Field(description="The coupon's id or code.")
    customer_id: CustomerRef | None = None
    subscription_id: Slug | None = Field(
        default=None, description="For this one alone; else for all of the customer's."
    )
    starts_at: Instant | None = Field(default=None, description="Now when left out.")
    ends_at: Instant | None = None

    def new_discount(self) -> NewDiscount:
        return NewDiscount(**self.model_dump())


class DiscountOut(Model):
    id: str
    coupon: CouponOut
    customer_id: str
    subscription_id: str | None
    starts_at: Instant
    ends_at: Instant | None
    created_at: Instant

    @classmethod
    def of(cls, record: DiscountRecord) -> Self:
        return cls(
            id=record.id,
            coupon=CouponOut.of(record.coupon),
            customer_id=record.customer_id,
            subscription_id=record.subscription_id,
            starts_at=record.starts_at,
            ends_at=record.ends_at,
            created_at=record.created_at,
        )


class DiscountFilters(Paging):
    customer_id: CustomerRef | None = None


class AppliedDiscountOut(Model):
    """One discount on an invoice."""

    discount_id: str
    coupon_id: str
    name: str
    percent_off: DecimalOut | None
    amount_off: DecimalOut | None
    amount: DecimalOut
    applies: bool = Field(description="False where its currency is not the invoice's.")

    @classmethod
    def of(cls, discount: AppliedDiscount) -> Self:
        return cls(
            discount_id=discount.terms.id,
            coupon_id=discount.terms.coupon_id,
            name=discount.terms.name,
            percent_off=discount.terms.percent_off,
            amount_off=discount.terms.amount_off,
            amount=discount.amount,
            applies=discount.applies,
        )
