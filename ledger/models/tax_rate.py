"""Tax rates. The percentage of one never changes: it is archived, and another is made."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Index
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, in_environment, one_of


class TaxRate(Entity, Base):
    __tablename__ = "tax_rates"
    __table_args__ = (
        in_environment(),
        one_of("status", "active", "archived"),
        Index("ix_tax_rates_newest", "tenant_id", "environment_id", "created_at", "id"),
    )

    name: Mapped[str]
    percentage: Mapped[Decimal]
    inclusive: Mapped[bool]
    jurisdiction: Mapped[str | None]
    description: Mapped[str | None]
    status: Mapped[str]
    created_at: Mapped[datetime]
