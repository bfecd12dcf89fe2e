"""Billable quantities: the metered number of one subscription, segment and price, with what it was computed from."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base, Scoped, scoped_key


class Quantity(Scoped, Base):
    __tablename__ = "quantities"
    __table_args__ = (
        scoped_key("subscriptions", "subscription_id"),
        scoped_key("price_versions", "price_id", "price_version", to=("price_id", "version")),
        scoped_key("meter_versions", "meter_id", "meter_version", to=("meter_id", "version")),
    )

    subscription_id: Mapped[str] = mapped_column(primary_key=True)
    period_start: Mapped[datetime] = mapped_column(primary_key=True)
    price_id: Mapped[str] = mapped_column(primary_key=True)
    segment_start: Mapped[datetime] = mapped_column(primary_key=True)
    segment_end: Mapped[datetime]
    period_end: Mapped[datetime]
    price_version: Mapped[int]
    meter_id: Mapped[str]
    meter_version: Mapped[int]
    quantity: Mapped[Decimal]
    events: Mapped[int] = mapped_column(BigInteger)
    quantity_hash: Mapped[str]
    watermark: Mapped[datetime]
    builds: Mapped[dict[str, int]]
    computed_at: Mapped[datetime]
