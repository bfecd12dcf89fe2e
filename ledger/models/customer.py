"""Customers of a tenant. `external_id` is the caller's own name for one, and the only one that the warehouse knows."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base, Entity, in_environment, one_of


class Customer(Entity, Base):
    __tablename__ = "customers"
    __table_args__ = (
        in_environment(),
        UniqueConstraint("tenant_id", "environment_id", "external_id", name="uq_customers_external_id"),
        one_of("status", "active", "archived"),
        Index("ix_customers_newest", "tenant_id", "environment_id", "created_at", "id"),
    )

    external_id: Mapped[str]
    name: Mapped[str]
    email: Mapped[str | None]
    status: Mapped[str]
    currency: Mapped[str | None]
    timezone: Mapped[str | None]
    tax_exempt: Mapped[bool] = mapped_column(server_default=false())
    tax_rate_ids: Mapped[list[Any]] = mapped_column(server_default="[]")
    meta: Mapped[dict[str, str]]
    created_at: Mapped[datetime]
