"""Corrections of events: decided here, then carried out in the warehouse."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, in_environment, one_of


class EventCorrection(Entity, Base):
    """That one received event is voided or amended; `applied_at` is null until the warehouse says so as well.

    Customers are named by the caller's own id, as events do.
    `event` and `corrected` are JSON as text: a JSON column of PostgreSQL cannot hold every text that an event may.
    """

    __tablename__ = "event_corrections"
    __table_args__ = (
        in_environment(),
        UniqueConstraint("tenant_id", "environment_id", "event_key", name="uq_event_corrections_event_key"),
        one_of("action", "void", "amend"),
        Index("ix_event_corrections_customer", "tenant_id", "environment_id", "customer_id"),
        Index("ix_event_corrections_corrected_customer", "tenant_id", "environment_id", "corrected_customer_id"),
        Index("ix_event_corrections_applied_at", "applied_at"),
    )

    event_key: Mapped[str]
    event_id: Mapped[str]
    action: Mapped[str]
    reason: Mapped[str]
    actor: Mapped[str]
    customer_id: Mapped[str]
    timestamp: Mapped[datetime]
    event: Mapped[str]
    corrected_customer_id: Mapped[str | None]
    corrected_timestamp: Mapped[datetime | None]
    corrected: Mapped[str | None]
    requested_at: Mapped[datetime]
    applied_at: Mapped[datetime | None]
