"""Features: what a plan's price is for, and their versions. A version is never edited."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base, Entity, Scoped, in_environment, one_of, scoped_key


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
    latest_version: Mapped[int] = mapped_column(server_default=text("1"))


class FeatureVersion(Scoped, Base):
    """What may change of a feature, as it was from `effective_from` on."""

    __tablename__ = "feature_versions"
    __table_args__ = (scoped_key("features", "feature_id"), one_of("status", "active", "archived"))

    feature_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str | None]
    status: Mapped[str]
    effective_from: Mapped[datetime]
