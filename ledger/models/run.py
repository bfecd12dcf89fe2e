"""Runs of the pipeline that an environment has asked for."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, column
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, in_environment, one_of

IS_UNFINISHED = column("status").in_(["requested", "queued", "running"])


class Run(Entity, Base):
    """The days (inclusive) are written YYYY-MM-DD; `log` is what the environment may read of the run's events."""

    __tablename__ = "runs"
    __table_args__ = (
        in_environment(),
        one_of("kind", "usage", "billing"),
        one_of("status", "requested", "queued", "running", "succeeded", "failed", "canceled"),
        Index("ix_runs_newest", "tenant_id", "environment_id", "requested_at", "id"),
        Index("ix_runs_unfinished", "requested_at", sqlite_where=IS_UNFINISHED, postgresql_where=IS_UNFINISHED),
    )

    kind: Mapped[str]
    first_day: Mapped[str]
    last_day: Mapped[str]
    subscription_id: Mapped[str | None]
    meter_id: Mapped[str | None]
    force: Mapped[bool]
    requested_by: Mapped[str]
    status: Mapped[str]
    log: Mapped[list[Any]]
    requested_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
