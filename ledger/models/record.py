"""What is written down about decisions: results of gates, the audit log, and answers kept for repeated requests."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base, Entity, Scoped, in_environment


class GateResult(Scoped, Base):
    """The newest result of one gate on one subject, and the hash of what it looked at."""

    __tablename__ = "gate_results"
    __table_args__ = (in_environment(),)

    gate: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    subject_hash: Mapped[str]
    passed: Mapped[bool]
    detail: Mapped[dict[str, Any]]
    checked_at: Mapped[datetime]


class AuditEntry(Entity, Base):
    """Append-only: triggers refuse to change or delete an entry."""

    __tablename__ = "audit_log"
    __table_args__ = (
        in_environment(),
        Index("ix_audit_log_newest", "tenant_id", "environment_id", "at", "id"),
        Index("ix_audit_log_entity", "tenant_id", "environment_id", "entity", "entity_id"),
    )

    actor: Mapped[str]
    action: Mapped[str]
    entity: Mapped[str]
    entity_id: Mapped[str]
    detail: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class IdempotentRequest(Scoped, Base):
    """A request under an Idempotency-Key: running while `status` is null, answered afterwards."""

    __tablename__ = "idempotent_requests"
    __table_args__ = (in_environment(), Index("ix_idempotent_requests_reserved_at", "reserved_at"))

    key: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str]
    body_hash: Mapped[str]
    status: Mapped[int | None]
    body: Mapped[str | None]
    reserved_at: Mapped[datetime]
