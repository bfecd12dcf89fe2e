"""Features: what a plan's price is for."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, in_environment, one_of, scoped_key


class Feature(Entity, Base):
    __tablename__ = "features"
    __table_args__ = (
        in_environment(),
        scoped_key("meters", "meter_id"),
        UniqueConstraint("tenant_id", "environment_id", "key", name="uq_features_key"),
        one_of("feature_type", "metered", "boolean", "static"),
        one_of("status", "active", "archived"),
        Index("ix_features_newest", "tenant_id", "environment_id", "created_at", "id"),
    )

    name: Mapped[str]
    key: Mapped[str]
    feature_type: Mapped[str]
    meter_id: Mapped[str | None]
    description: Mapped[str | None]
    status: Mapped[str]
    created_at: Mapped[datetime]
