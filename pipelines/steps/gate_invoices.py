"""The gates before an invoice is final (M6): what each of them looked at, how results are kept, and the verdict.

A blocking asset check only stops its own run. So every gate stores its result with a hash of what it looked at, and
finalizing asks for a passed result of each of them with the hash that holds at that moment.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from billing.advance import true_up
from billing.invoice import content_hash
from billing.line_adjustment import adjustment_line, as_priced
from billing.scope import Scope
from ledger.store import gates
from ledger.store.gates import GateRecord
from ledger.store.invoices import InvoiceRecord
from ledger.store.quantities import QuantityRecord
from pipelines.steps.billing_day import Due
from pipelines.steps.facts import Facts
from pipelines.steps.invoice_parts import advance_is_open, parts_of_invoice
from pipelines.steps.invoice_terms import terms_of
from pipelines.steps.isolation import Failure
from pipelines.steps.plan_prices import Part

__all__ = [
    "QUANTITY_GATES",
    "Corrections",
    "Gate",
    "GateReport",
    "Outcome",
    "expect_reasons",
    "override_hash",
    "override_of",
    "quantities_hash",
    "reasons_to_hold",
    "reasons_to_hold_one_off",
    "store_outcomes",
]


class Gate(StrEnum):
    """Four look at a period's quantities, one at its invoice; `finalize` is the verdict of them all."""

    QUANTITIES_MATCH_RAW = "quantities_match_raw"
    IDENTITIES_COUNT_ONCE = "identities_count_once"
    EVENTS_ARE_USABLE = "usage_events_are_usable"
    AS_EXPECTED = "quantities_as_expected"
    TOTALS_MATCH_LINES = "totals_match_lines"
    FINALIZE = "finalize"


QUANTITY_GATES = tuple(map(Gate, gates.QUANTITY_GATES))


@dataclass(frozen=True)
class Outcome:
    """One gate's result on a period (`Due.subject`) or an invoice; `subject_hash` stands for what it looked at."""

    gate: Gate
    scope: Scope
    subject: str
    subject_hash: str
    passed: bool
    detail: dict[str, Any]


@dataclass(frozen=True)
class GateReport:
    """What gates said about a billing day; stored by then. `failures` could not be looked at: not passed."""

    outcomes: tuple[Outcome, ...]
    failures: tuple[Failure, ...]

    def of(self, gate: Gate) -> "GateReport":
        """One gate's part."""
        return GateReport(tuple(outcome for outcome in self.outcomes if outcome.gate == gate), self.failures)

    @property
    def refused(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if not outcome.passed)

    @property
    def passed(self) -> bool:
        return not self.refused and not self.failures


@dataclass(frozen=True)
class Corrections:
    """How many events that may weigh in a period were voided or amended, and how many of these are applied."""

    decided: int = 0
    applied: int = 0

    @classmethod
    def of(cls, facts: Facts, due: Due) -> "Corrections":
        found = facts.corrections_before(due)
        return cls(len(found), sum(each.applied for each in found))


class _Counted(NamedTuple):
    """What gates look at of a quantity."""

    price_id: str
    price_version: int
    meter_id: str
    meter_version: int
    segment_start: datetime
    segment_end: datetime
    quantity: Decimal
    quantity_hash: str


def quantities_hash(recorded: Sequence[QuantityRecord], corrections: Corrections) -> str:
    """Stands for all quantities of a period, and for the corrections that events had seen when they were looked at."""
    return content_hash(
        [
            [corrections.decided, corrections.applied],
            *(
                _Counted(
                    quantity.price_id,
                    quantity.price_version,
                    quantity.meter_id,
                    quantity.meter_version,
                    quantity.segment_start,
                    quantity.segment_end,
                    quantity.quantity,
                    quantity.quantity_hash,
                )
                for quantity in sorted(recorded, key=lambda quantity: (quantity.price_id, quantity.segment_start))
            ),
        ]
    )


def override_of(gate: Gate) -> str:
    """The name under which a person's word about a gate is kept, like a gate's result."""
    return f"override:{gate.value}"


def override_hash(outcome: Outcome) -> str:
    """Stands for what a person has overridden: exactly these problems, found on exactly this."""
    return content_hash([outcome.subject_hash, outcome.detail.get("problems", [])])


def store_outcomes(session: Session, scope: Scope, outcomes: Sequence[Outcome], now: datetime) -> list[Outcome]:
    """Keep results of one environment, each over an earlier one of the same gate and subject; those are passed that a
    person has overridden. One that says what is kept already is not written again."""
    named = {outcome.gate.value for outcome in outcomes}
    asked = named | {override_of(outcome.gate) for outcome in outcomes if not outcome.passed}
    known = gates.results_of(session, scope, asked, {outcome.subject for outcome in outcomes})
    kept = [_overridden(outcome, known.get(outcome.subject, {}).get(override_of(outcome.gate))) for outcome in outcomes]
    records = [
        GateRecord(each.gate.value, each.subject, each.subject_hash, each.passed, each.detail, now) for each in kept
    ]
    before = [known.get(each.subject, {}).get(each.gate) for each in records]
    pairs = list(zip(records, before, strict=True))
    gates.add_results(session, scope, [new for new, old in pairs if old is None])
    # What is kept with others is written with them.
    changed = {new.subject for new, old in pairs if old is not None and not _says_the_same(new, old)}
    gates.put_results(session, scope, [new for new, old in pairs if old is not None and new.subject in changed])
    return kept


def _overridden(outcome: Outcome, override: GateRecord | None) -> Outcome:
    if outcome.passed or override is None or override.subject_hash != override_hash(outcome):
        return outcome
    said = {"overridden_by": override.detail["person"], "reason": override.detail["reason"]}
    return replace(outcome, passed=True, detail={**outcome.detail, **said})


def _says_the_same(new: GateRecord, old: GateRecord) -> bool:
    return (old.subject_hash, old.passed, old.detail) == (new.subject_hash, new.passed, new.detail)


def reasons_to_hold(facts: Facts, due: Due, invoice: InvoiceRecord) -> list[str]:
    """Why the invoice may not be finalized now; none when every gate has passed on exactly what it says now."""
    if invoice.inputs_hash is None:
        return ["the draft is not priced"]
    reasons = _reasons_of_parts(facts, due, invoice)
    if not _carries_adjustments(facts, invoice):
        reasons.append("what earlier invoices have come to since has changed since the draft was priced")
    if terms_of(facts, invoice) != invoice.terms:
        reasons.append("the discounts or taxes have changed since the draft was priced")
    wanted = [(Gate.TOTALS_MATCH_LINES, invoice.id, facts.hash_of(invoice))]
    if not due.is_start:
        recorded = facts.quantities_of(due)
        if not _lines_use(invoice, recorded):
            reasons.append("the quantities have changed since the draft was priced")
        corrections = Corrections.of(facts, due)
        if corrections.applied < corrections.decided:
            reasons.append("a correction of the customer's events is not applied yet")
        looked_at = quantities_hash(recorded, corrections)
        wanted = [*((gate, due.subject, looked_at) for gate in QUANTITY_GATES), *wanted]
    for gate, subject, subject_hash in wanted:
        reason = _reason(gate, facts.result_of(gate.value, subject), subject_hash)
        if reason is not None:
            reasons.append(reason)
    return reasons


def expect_reasons(facts: Facts, dues: Sequence[Due], invoice_ids: Collection[str]) -> None:
    """Reads what `reasons_to_hold` asks for about these periods and their invoices."""
    facts.expect(dues)
    facts.expect_corrections({due.subscription.customer_id for due in dues if not due.is_start})
    facts.expect_results([gate.value for gate in QUANTITY_GATES], {due.subject for due in dues if not due.is_start})
    facts.expect_results([Gate.TOTALS_MATCH_LINES.value], invoice_ids)
    facts.expect_adjustments(invoice_ids)


def _reasons_of_parts(facts: Facts, due: Due, invoice: InvoiceRecord) -> list[str]:
    reasons = []
    parts = parts_of_invoice(facts, due)
    if not _lines_are_priced_by(invoice, parts):
        reasons.append("the prices have changed since the draft was priced")
    elif invoice.period != due.period or not _lines_are_of(invoice, parts):
        reasons.append("the subscription has changed since the draft was priced")
    elif not _lines_settle(invoice, parts):
        reasons.append("what was billed in advance has changed since the draft was priced")
    if advance_is_open(facts, due):
        reasons.append("the invoice that bills a part of this period in advance is not final yet")
    return reasons


def reasons_to_hold_one_off(facts: Facts, invoice: InvoiceRecord) -> list[str]:
    """The same for an invoice that was made by hand: of the gates only the one that looks at totals applies."""
    result = facts.result_of(Gate.TOTALS_MATCH_LINES.value, invoice.id)
    reason = _reason(Gate.TOTALS_MATCH_LINES, result, facts.hash_of(invoice))
    reasons = [] if reason is None else [reason]
    if not _carries_adjustments(facts, invoice):
        reasons.append("what earlier invoices have come to since has changed since the draft was made")
    return reasons


def _lines_use(invoice: InvoiceRecord, recorded: Sequence[QuantityRecord]) -> bool:
    known = {(quantity.price_id, quantity.segment_start): quantity for quantity in recorded}
    return all(
        (found := known.get((line.price_id or "", line.period.start))) is not None
        and (line.quantity, line.quantity_hash) == (found.quantity, found.quantity_hash)
        for line in invoice.lines
        if line.price_type == "usage"
    )


def _lines_are_priced_by(invoice: InvoiceRecord, parts: Sequence[Part]) -> bool:
    priced = {(part.price.record.id, part.price.record.version) for part in parts}
    return {(line.price_id, line.price_version) for line in invoice.own_lines} == priced


def _lines_are_of(invoice: InvoiceRecord, parts: Sequence[Part]) -> bool:
    wanted = [(part.key, part.period, part.quantity if part.price.meter is None else None) for part in parts]
    return wanted == [
        (line.key, line.period, line.quantity if line.price_type == "fixed" else None) for line in invoice.own_lines
    ]


def _lines_settle(invoice: InvoiceRecord, parts: Sequence[Part]) -> bool:
    return all(
        part.settles is None or true_up(part.settles, invoice.currency).breakdown == line.breakdown
        for part, line in zip(parts, invoice.own_lines, strict=True)
    )


def _carries_adjustments(facts: Facts, invoice: InvoiceRecord) -> bool:
    """Whether the invoice's adjustments are those that it has claimed, as they are now; it carries none twice so."""
    claimed = facts.adjustments_of(invoice.id)
    return [as_priced(line) for line in invoice.adjustment_lines] == [adjustment_line(each) for each in claimed]


def _reason(gate: Gate, result: GateRecord | None, subject_hash: str) -> str | None:
    if result is None:
        return f"{gate} has not run"
    if result.subject_hash != subject_hash:
        return f"{gate} has not run since something changed"
    if result.passed:
        return None
    problems = result.detail.get("problems") or ["did not pass"]
    return f"{gate}: {'; '.join(str(problem) for problem in problems)}"
