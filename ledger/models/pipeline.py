"""What the pipeline says of itself, over all environments: its finished runs, its newest figures, and alerts.

These rows are the operator's. No environment reads them, so they carry no scope.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, column
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base, one_of

IS_STANDING = column("resolved_at").is_(None)
IS_WAITING = column("state") == "open"
_ENDS = ("succeeded", "failed", "canceled")


class PipelineRun(Base):
    """A finished run; `days` is its day, or `first..last`, or empty."""

    __tablename__ = "pipeline_runs"
    __table_args__ = (one_of("status", *_ENDS), Index("ix_pipeline_runs_newest", "job", "days", "ended_at"))

    id: Mapped[str] = mapped_column(primary_key=True)
    job: Mapped[str]
    days: Mapped[str]
    status: Mapped[str]
    ended_at: Mapped[datetime]


class PipelineRunTotal(Base):
    """How many runs of a job have ended so, and how long they took; it only grows."""

    __tablename__ = "pipeline_run_totals"
    __table_args__ = (one_of("status", *_ENDS),)

    job: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(primary_key=True)
    runs: Mapped[int] = mapped_column(BigInteger)
    milliseconds: Mapped[int] = mapped_column(BigInteger)


class PipelineFigures(Base):
    """The newest measurement; `name` is always `newest`."""

    __tablename__ = "pipeline_figures"

    name: Mapped[str] = mapped_column(primary_key=True)
    measured_at: Mapped[datetime]
    figures: Mapped[dict[str, Any]]


class Alert(Base):
    """Something that is wrong, from when it was first seen until it was gone. Of a subject one stands at a time."""

    __tablename__ = "alerts"
    __table_args__ = (
        Index(
            "uq_alerts_standing",
            "kind",
            "subject",
            unique=True,
            sqlite_where=IS_STANDING,
            postgresql_where=IS_STANDING,
        ),
        Index("ix_alerts_newest", "opened_at", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    subject: Mapped[str]
    summary: Mapped[str]
    detail: Mapped[dict[str, Any]]
    opened_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]


class AlertMessage(Base):
    """One message about an alert, as it is sent each time. `due_at` lies ahead while a sender holds it."""

    __tablename__ = "alert_messages"
    __table_args__ = (
        ForeignKeyConstraint(["alert_id"], ["alerts.id"]),
        one_of("event", "opened", "resolved"),
        one_of("state", "open", "sent", "logged", "failed"),
        Index("ix_alert_messages_due", "due_at", sqlite_where=IS_WAITING, postgresql_where=IS_WAITING),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    alert_id: Mapped[str]
    event: Mapped[str]
    body: Mapped[str]
    state: Mapped[str]
    attempts: Mapped[int]
    due_at: Mapped[datetime]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
