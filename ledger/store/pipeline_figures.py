"""What the ledger tells of the pipeline, over all environments: what waits, what is held, what was given up.

Each figure is a count over an index of what is open or recent, so that it costs the same however old a ledger is.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from billing.invoice import InvoiceStatus
from billing.scope import Scope
from ledger.models import (
    AuditEntry,
    Connection,
    EventCorrection,
    GateResult,
    InboxEvent,
    Invoice,
    OutboxItem,
    PipelineFigures,
    Run,
)
from ledger.models.run import IS_UNFINISHED
from ledger.store.invoice_queries import not_at_provider
from ledger.store.rows import upsert

_NEWEST = "newest"


@dataclass(frozen=True)
class Queue:
    """Work that waits: how much, since when the oldest of it, and how much was given up."""

    waiting: int
    oldest_at: datetime | None
    given_up: int = 0


@dataclass(frozen=True)
class HeldDraft:
    """A draft that finalizing has looked at and refused, and why; its period ended at `period_end`."""

    scope: Scope
    invoice_id: str
    subscription_id: str | None
    period_end: datetime
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Unsent:
    """Finalized invoices that an active connection has not been told of in full; the oldest was finalized then."""

    invoices: int
    oldest_at: datetime | None


def invoices_by_state(session: Session, since: datetime) -> dict[tuple[str, str], int]:
    """How many invoices of periods that ended since then there are, by status and payment status."""
    rows = select(Invoice.status, Invoice.payment_status, func.count()).where(Invoice.period_end >= since)
    grouped = rows.group_by(Invoice.status, Invoice.payment_status)
    return {(status, payment_status): count for status, payment_status, count in session.execute(grouped)}


def held_drafts(session: Session, since: datetime, until: datetime, limit: int) -> list[HeldDraft]:
    """Drafts of periods that ended in [since, until) whose newest verdict is a refusal, oldest period first."""
    verdict = and_(
        GateResult.tenant_id == Invoice.tenant_id,
        GateResult.environment_id == Invoice.environment_id,
        GateResult.gate == "finalize",
        GateResult.subject == Invoice.id,
        GateResult.passed.is_(False),
    )
    ended = and_(Invoice.period_end >= since, Invoice.period_end < until)
    rows = select(Invoice, GateResult.detail).join(GateResult, verdict)
    rows = rows.where(ended, Invoice.status == InvoiceStatus.DRAFT.value)
    return [
        HeldDraft(
            Scope(row.tenant_id, row.environment_id),
            row.id,
            row.subscription_id,
            row.period_end,
            tuple(str(problem) for problem in detail.get("problems", ())),
        )
        for row, detail in session.execute(rows.order_by(Invoice.period_end, Invoice.id).limit(limit))
    ]


def sync_configs(session: Session) -> dict[Scope, dict[str, Any]]:
    """The settings of every active connection."""
    rows = select(Connection).where(Connection.status == "active", Connection.deleted_at.is_(None))
    return {Scope(row.tenant_id, row.environment_id): row.sync_config for row in session.scalars(rows)}


def unsent_invoices(session: Session, since: datetime) -> dict[Scope, Unsent]:
    """Of periods that ended since then. Whether the environment's connection wants them is for the caller to say."""
    rows = select(Invoice.tenant_id, Invoice.environment_id, func.count(), func.min(Invoice.finalized_at)).where(
        Invoice.period_end >= since, Invoice.status == InvoiceStatus.FINALIZED.value, not_at_provider()
    )
    return {
        Scope(tenant_id, environment_id): Unsent(count, oldest_at)
        for tenant_id, environment_id, count, oldest_at in session.execute(
            rows.group_by(Invoice.tenant_id, Invoice.environment_id)
        )
    }


def queues(session: Session, now: datetime) -> dict[str, Queue]:
    """Inbox, outbox, corrections of events, runs that were asked for. What is put off for later does not wait yet."""
    return {
        "inbox": _queue(session, InboxEvent, InboxEvent.received_at, now),
        "outbox": _queue(session, OutboxItem, OutboxItem.created_at, now),
        "corrections": Queue(
            *session.execute(
                select(func.count(), func.min(EventCorrection.requested_at)).where(EventCorrection.applied_at.is_(None))
            ).one()
        ),
        "runs": Queue(*session.execute(select(func.count(), func.min(Run.requested_at)).where(IS_UNFINISHED)).one()),
    }


def given_up(session: Session, limit: int) -> dict[str, dict[Scope, int]]:
    """By queue and environment: what will not be tried again by itself; `limit` environments of each queue."""
    return {
        name: {
            Scope(tenant_id, environment_id): count
            for tenant_id, environment_id, count in session.execute(
                select(table.tenant_id, table.environment_id, func.count())
                .where(table.state == "failed")
                .group_by(table.tenant_id, table.environment_id)
                .order_by(func.count().desc())
                .limit(limit)
            )
        }
        for name, table in (("inbox", InboxEvent), ("outbox", OutboxItem))
    }


def newest_comparisons(session: Session, scopes: Collection[Scope]) -> dict[Scope, tuple[datetime, int]]:
    """When each environment's books were last compared with the provider's, and how many differences were left."""
    found: dict[Scope, tuple[datetime, int]] = {}
    for scope in scopes:
        rows = select(AuditEntry).where(
            AuditEntry.tenant_id == scope.tenant_id,
            AuditEntry.environment_id == scope.environment_id,
            AuditEntry.entity == "connection",
            AuditEntry.action == "stripe.reconciled",
        )
        newest = session.scalar(rows.order_by(AuditEntry.at.desc(), AuditEntry.id.desc()).limit(1))
        if newest is not None:
            found[scope] = (newest.at, int(newest.detail.get("left", 0)))
    return found


def keep_figures(session: Session, figures: dict[str, Any], now: datetime) -> None:
    """The newest measurement, over the one before."""
    upsert(session, PipelineFigures, {"name": _NEWEST, "measured_at": now, "figures": figures})


def newest_figures(session: Session) -> tuple[datetime, dict[str, Any]] | None:
    """The newest measurement and when it was made; None before the first."""
    row = session.get(PipelineFigures, _NEWEST)
    return None if row is None else (row.measured_at, row.figures)


def _queue(session: Session, table: type[InboxEvent | OutboxItem], since: Any, now: datetime) -> Queue:
    waiting = select(func.count(), func.min(since)).where(table.state == "open", table.due_at <= now)
    dead = session.scalar(select(func.count()).where(table.state == "failed"))
    count, oldest_at = session.execute(waiting).one()
    return Queue(count, oldest_at, dead or 0)
