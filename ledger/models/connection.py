"""Connections to a payment provider, and the mappings from our rows to the provider's objects."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint, and_, column, null
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, in_environment, one_of, scoped_key

IS_ACTIVE = and_(column("status") == "active", column("deleted_at").is_(null()))


class Connection(Entity, Base):
    """A deleted connection keeps its row for the mappings that name it, but loses its secrets."""

    __tablename__ = "connections"
    __table_args__ = (
        in_environment(),
        one_of("provider", "stripe"),
        one_of("status", "active", "disabled"),
        Index(
            "uq_connections_active",
            "tenant_id",
            "environment_id",
            "provider",
            unique=True,
            sqlite_where=IS_ACTIVE,
            postgresql_where=IS_ACTIVE,
        ),
    )

    name: Mapped[str]
    provider: Mapped[str]
    status: Mapped[str]
    livemode: Mapped[bool]
    account_id: Mapped[str | None]
    sync_config: Mapped[dict[str, Any]]
    sealed_secrets: Mapped[str | None]
    key_id: Mapped[str]
    secret_key_last4: Mapped[str]
    webhook_secret_last4: Mapped[str | None]
    events_read_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class Mapping(Entity, Base):
    __tablename__ = "mappings"
    __table_args__ = (
        scoped_key("connections", "connection_id"),
        UniqueConstraint(
            "tenant_id", "environment_id", "connection_id", "entity", "entity_id", name="uq_mappings_entity"
        ),
        UniqueConstraint(
            "tenant_id", "environment_id", "connection_id", "entity", "provider_id", name="uq_mappings_provider_id"
        ),
        one_of("entity", "credit_note", "customer", "invoice", "payment", "plan", "price", "refund", "subscription"),
        one_of("state", "intended", "created", "finalized", "done", "failed"),
        Index("ix_mappings_newest", "tenant_id", "environment_id", "created_at", "id"),
    )

    connection_id: Mapped[str]
    entity: Mapped[str]
    entity_id: Mapped[str]
    provider_id: Mapped[str | None]
    state: Mapped[str]
    key_version: Mapped[int]
    detail: Mapped[dict[str, Any]]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
