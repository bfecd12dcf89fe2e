"""Work that waits: the webhook inbox (what the provider told us) and the outbox (what we have to tell it)."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint, column
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, in_environment, one_of, scoped_key

IS_OPEN = column("state") == "open"
IS_FAILED = column("state") == "failed"


class InboxEvent(Entity, Base):
    """An event of the provider. While a worker holds it, `due_at` lies ahead: the end of that worker's lease."""

    __tablename__ = "inbox"
    __table_args__ = (
        scoped_key("connections", "connection_id"),
        UniqueConstraint(
            "tenant_id", "environment_id", "connection_id", "provider_event_id", name="uq_inbox_provider_event_id"
        ),
        one_of("state", "open", "processed", "ignored", "failed"),
        Index("ix_inbox_due", "due_at", sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
        Index("ix_inbox_failed", "closed_at", sqlite_where=IS_FAILED, postgresql_where=IS_FAILED),
        Index("ix_inbox_newest", "tenant_id", "environment_id", "received_at", "id"),
    )

    connection_id: Mapped[str]
    provider_event_id: Mapped[str]
    type: Mapped[str]
    created: Mapped[datetime]
    payload: Mapped[str]
    state: Mapped[str]
    attempts: Mapped[int]
    due_at: Mapped[datetime]
    last_error: Mapped[str | None]
    received_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class WebhookDelivery(Entity, Base):
    """One verified delivery of an event; `fresh` is the one that brought it, `source` where it came from."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        scoped_key("inbox", "inbox_id"),
        Index("ix_webhook_deliveries_inbox", "tenant_id", "environment_id", "inbox_id"),
    )

    inbox_id: Mapped[str]
    source: Mapped[str]
    fresh: Mapped[bool]
    received_at: Mapped[datetime]


class OutboxItem(Entity, Base):
    """A piece of work. `requests` counts how often it was asked for, `claimed_requests` how many a worker has seen."""

    __tablename__ = "outbox"
    __table_args__ = (
        in_environment(),
        one_of("state", "open", "done", "failed"),
        Index(
            "uq_outbox_open",
            "tenant_id",
            "environment_id",
            "kind",
            "entity_id",
            unique=True,
            sqlite_where=IS_OPEN,
            postgresql_where=IS_OPEN,
        ),
        Index("ix_outbox_due", "due_at", sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
        Index("ix_outbox_failed", "closed_at", sqlite_where=IS_FAILED, postgresql_where=IS_FAILED),
        Index("ix_outbox_newest", "tenant_id", "environment_id", "created_at", "id"),
    )

    kind: Mapped[str]
    entity_id: Mapped[str]
    state: Mapped[str]
    requests: Mapped[int]
    claimed_requests: Mapped[int]
    attempts: Mapped[int]
    due_at: Mapped[datetime]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
