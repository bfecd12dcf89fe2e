"""Tenants and their environments: every other row belongs to one environment."""

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base, one_of


class Tenant(Base):
    __tablename__ = "tenants"
    __table_args__ = (UniqueConstraint("name", name="uq_tenants_name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime]


class Environment(Base):
    __tablename__ = "environments"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
        UniqueConstraint("tenant_id", "name", name="uq_environments_name"),
        one_of("kind", "test", "live"),
        one_of("late_events", "next_invoice", "credit_note", "separate_invoice"),
    )

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    timezone: Mapped[str]
    created_at: Mapped[datetime]
    billing_grace_seconds: Mapped[int] = mapped_column(server_default=text("3600"))
    usage_freshness_seconds: Mapped[int] = mapped_column(server_default=text("3600"))
    late_events: Mapped[str] = mapped_column(server_default="next_invoice")
