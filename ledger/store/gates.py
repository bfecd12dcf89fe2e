"""Results of the checks that an invoice must pass before it is finalized, kept so that they can be verified then."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.models import GateResult
from ledger.store.rows import in_scope, scoped, upsert


@dataclass(frozen=True)
class GateRecord:
    """`subject` is an invoice id or a day; `subject_hash` stands for what the gate looked at."""

    gate: str
    subject: str
    subject_hash: str
    passed: bool
    detail: dict[str, Any]
    checked_at: datetime


def put_result(
    session: Session,
    scope: Scope,
    gate: str,
    subject: str,
    subject_hash: str,
    passed: bool,
    detail: Mapping[str, Any],
    now: datetime,
) -> None:
    """The newest result of a gate on a subject, over an earlier one."""
    values = scoped(
        scope,
        gate=gate,
        subject=subject,
        subject_hash=subject_hash,
        passed=passed,
        detail=dict(detail),
        checked_at=now,
    )
    upsert(session, GateResult, values)


def passed(session: Session, scope: Scope, gate: str, subject: str, subject_hash: str) -> bool:
    """Whether the newest result passed and was about exactly this."""
    row = session.scalar(
        select(GateResult).where(in_scope(GateResult, scope), GateResult.gate == gate, GateResult.subject == subject)
    )
    return row is not None and row.passed and row.subject_hash == subject_hash


def list_results(
    session: Session, scope: Scope, *, gate: str | None = None, subject: str | None = None
) -> list[GateRecord]:
    """Newest results by gate and subject."""
    rows = select(GateResult).where(in_scope(GateResult, scope))
    if gate is not None:
        rows = rows.where(GateResult.gate == gate)
    if subject is not None:
        rows = rows.where(GateResult.subject == subject)
    return [_record(row) for row in session.scalars(rows.order_by(GateResult.gate, GateResult.subject))]


def _record(row: GateResult) -> GateRecord:
    return GateRecord(row.gate, row.subject, row.subject_hash, row.passed, row.detail, row.checked_at)
