"""Results of the checks that an invoice must pass before it is finalized, kept so that they can be verified then."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, and_, select
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
# The gates that look at a period's quantities, always all at once and at the same: their results are one row.
QUANTITY_GATES = (
    "quantities_match_raw",
    "identities_count_once",
    "usage_events_are_usable",
    "quantities_as_expected",
)
_QUANTITIES = "quantities"


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
    """The newest result of a gate on a subject, over an earlier one. Of one that is kept with others the caller has
    their results, and puts them all."""
    put_results(session, scope, [GateRecord(gate, subject, subject_hash, passed, dict(detail), now)])


def put_results(session: Session, scope: Scope, results: Sequence[GateRecord]) -> None:
    """The same for many; no two of the same gate and subject."""
    upsert_rows(session, GateResult, _rows_of(scope, results))


def add_results(session: Session, scope: Scope, results: Sequence[GateRecord]) -> None:
    """The same where none of them is there yet, which is quicker. IntegrityError where one is."""
    insert_rows(session, GateResult, _rows_of(scope, results))


def results_of(
    session: Session, scope: Scope, gates: Collection[str], subjects: Collection[str]
) -> dict[str, dict[str, GateRecord]]:
    """Subject -> gate -> the newest result, of those gates and subjects; those that have one."""
    found: defaultdict[str, dict[str, GateRecord]] = defaultdict(dict)
    these = and_(among(session, GateResult.gate, _kept_as(gates)), among(session, GateResult.subject, subjects))
    for row in session.execute(_rows().where(in_scope(GateResult, scope), these)):
        for record in _records(row):
            if record.gate in gates:
                found[record.subject][record.gate] = record
    return found


def passed(session: Session, scope: Scope, gate: str, subject: str, subject_hash: str) -> bool:
    """Whether the newest result passed and was about exactly this."""
    found = results_of(session, scope, [gate], [subject]).get(subject, {}).get(gate)
    return found is not None and found.passed and found.subject_hash == subject_hash


def list_results(
    session: Session, scope: Scope, *, gate: str | None = None, subject: str | None = None
) -> list[GateRecord]:
    """Newest results by gate and subject."""
    rows = _rows().where(in_scope(GateResult, scope))
    if gate is not None:
        rows = rows.where(GateResult.gate.in_(_kept_as([gate])))
    if subject is not None:
        rows = rows.where(GateResult.subject == subject)
    every = [record for row in session.execute(rows) for record in _records(row) if gate in {None, record.gate}]
    return sorted(every, key=lambda record: (record.gate, record.subject))


def _kept_as(gates: Iterable[str]) -> set[str]:
    return {_QUANTITIES if gate in QUANTITY_GATES else gate for gate in gates}


def _rows_of(scope: Scope, results: Sequence[GateRecord]) -> list[dict[str, Any]]:
    rows = [_row_of(scope, each) for each in results if each.gate not in QUANTITY_GATES]
    together: defaultdict[str, list[GateRecord]] = defaultdict(list)
    for each in results:
        if each.gate in QUANTITY_GATES:
            together[each.subject].append(each)
    # Nearly all say the same, and what is the same object is written out once.
    details: dict[tuple[Any, ...], dict[str, Any]] = {}
    for of_subject in together.values():
        first = of_subject[0]
        if {each.gate for each in of_subject} != set(QUANTITY_GATES) or any(
            each.subject_hash != first.subject_hash for each in of_subject
        ):
            raise ValueError("the gates of the quantities are kept together, on what all of them looked at")
        key = tuple((each.gate, each.passed, id(each.detail)) for each in of_subject)
        if key not in details:
            details[key] = {each.gate: {"passed": each.passed, "detail": each.detail} for each in of_subject}
        passed = all(each.passed for each in of_subject)
        rows.append(_row_of(scope, replace(first, gate=_QUANTITIES, passed=passed, detail=details[key])))
    return rows


def _row_of(scope: Scope, record: GateRecord) -> dict[str, Any]:
    return scoped(scope, **{name: getattr(record, name) for name in _NAMES})


def _records(row: Row[Any]) -> Iterator[GateRecord]:
    record = GateRecord(*tuple(row))
    if record.gate != _QUANTITIES:
        yield record
        return
    for gate, said in record.detail.items():
        yield GateRecord(gate, record.subject, record.subject_hash, said["passed"], said["detail"], record.checked_at)


def _rows() -> Select[Any]:
    return select(*(getattr(GateResult, name) for name in _NAMES))
