"""What happened to a payment at the provider: each try, each refund, each dispute, as it stands there."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, one_of, scoped_key


class PaymentHistory(Entity, Base):
    """`number` counts a payment's entries of one kind from 1, in the order in which they happened."""

    __tablename__ = "payment_history"
    __table_args__ = (
        scoped_key("payments", "payment_id"),
        UniqueConstraint(
            "tenant_id", "environment_id", "payment_id", "kind", "gateway_id", name="uq_payment_history_gateway_id"
        ),
        one_of("kind", "attempt", "refund", "dispute"),
        Index("ix_payment_history_payment", "tenant_id", "environment_id", "payment_id", "kind", "number"),
    )

    payment_id: Mapped[str]
    kind: Mapped[str]
    number: Mapped[int]
    gateway_id: Mapped[str]
    amount: Mapped[Decimal]
    status: Mapped[str]
    reason: Mapped[str | None]
    detail: Mapped[dict[str, Any]]
    at: Mapped[datetime]
