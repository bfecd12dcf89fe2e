"""Results of the checks that an invoice must pass before it is finalized, kept so that they can be verified then."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, select
from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.models import GateResult
from ledger.store.bulk import insert_rows, upsert_rows
from ledger.store.rows import among, in_scope, scoped


@dataclass(frozen=True, slots=True)
class GateRecord:
    """`subject` is an invoice id or a day; `subject_hash` stands for what the gate looked at."""

    gate: str
    subject: str
    subject_hash: str
    passed: bool
    detail: dict[str, Any]
    checked_at: datetime


_NAMES = [item.name for item in fields(GateRecord)]


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
    put_results(session, scope, [GateRecord(gate, subject, subject_hash, passed, dict(detail), now)])


def put_results(session: Session, scope: Scope, results: Sequence[GateRecord]) -> None:
    """The same for many; no two of the same gate and subject."""
    upsert_rows(session, GateResult, [_row_of(scope, each) for each in results])


def add_results(session: Session, scope: Scope, results: Sequence[GateRecord]) -> None:
    """The same where none of them is there yet, which is quicker. IntegrityError where one is."""
    insert_rows(session, GateResult, [_row_of(scope, each) for each in results])


def results_of(
    session: Session, scope: Scope, gates: Collection[str], subjects: Collection[str]
) -> dict[str, dict[str, GateRecord]]:
    """Subject -> gate -> the newest result, of those gates and subjects; those that have one."""
    found: defaultdict[str, dict[str, GateRecord]] = defaultdict(dict)
    these = and_(among(session, GateResult.gate, gates), among(session, GateResult.subject, subjects))
    for row in session.execute(_rows().where(in_scope(GateResult, scope), these)):
        record = GateRecord(*row)
        found[record.subject][record.gate] = record
    return found


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
    rows = _rows().where(in_scope(GateResult, scope))
    if gate is not None:
        rows = rows.where(GateResult.gate == gate)
    if subject is not None:
        rows = rows.where(GateResult.subject == subject)
    return [GateRecord(*row) for row in session.execute(rows.order_by(GateResult.gate, GateResult.subject))]


def _row_of(scope: Scope, record: GateRecord) -> dict[str, Any]:
    return scoped(scope, **{name: getattr(record, name) for name in _NAMES})


def _rows() -> Select[Any]:
    return select(*(getattr(GateResult, name) for name in _NAMES))
