"""Meters and their versions. A version is never edited: an invoice names the one that it used."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base, Entity, Scoped, in_environment, one_of, scoped_key


class Meter(Entity, Base):
    __tablename__ = "meters"
    __table_args__ = (
        in_environment(),
        one_of("status", "active", "archived"),
        Index("ix_meters_newest", "tenant_id", "environment_id", "created_at", "id"),
    )

    latest_version: Mapped[int]
    status: Mapped[str] = mapped_column(server_default="active")
    created_at: Mapped[datetime]


class MeterVersion(Scoped, Base):
    __tablename__ = "meter_versions"
    __table_args__ = (scoped_key("meters", "meter_id"),)

    meter_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    definition: Mapped[dict[str, Any]]
    effective_from: Mapped[datetime]
