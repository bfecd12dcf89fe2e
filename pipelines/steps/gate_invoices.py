"""The gates before an invoice is final (M6): what each of them looked at, how results are kept, and the verdict.

A blocking asset check only stops its own run. So every gate stores its result with a hash of what it looked at, and
finalizing asks for a passed result of each of them with the hash that holds at that moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

from billing.advance import true_up
from billing.invoice import content_hash
from billing.line_adjustment import adjustment_line, as_priced
from billing.scope import Scope
from ledger.store import customers, event_corrections, gates, line_adjustments, quantities
from ledger.store.gates import GateRecord
from ledger.store.invoices import InvoiceRecord
from ledger.store.quantities import QuantityRecord
from pipelines.steps.billing_day import Due
from pipelines.steps.invoice_parts import advance_is_open, parts_of_invoice
from pipelines.steps.invoice_terms import terms_of
from pipelines.steps.isolation import Failure
from pipelines.steps.plan_prices import Catalog, Part

__all__ = [
    "QUANTITY_GATES",
    "Corrections",
    "Gate",
    "GateReport",
    "Outcome",
    "invoice_hash",
    "override_hash",
    "override_of",
    "quantities_hash",
    "reasons_to_hold",
    "reasons_to_hold_one_off",
    "store_outcome",
]


class Gate(StrEnum):
    """Four look at a period's quantities, one at its invoice; `finalize` is the verdict of them all."""

    QUANTITIES_MATCH_RAW = "quantities_match_raw"
    IDENTITIES_COUNT_ONCE = "identities_count_once"
    EVENTS_ARE_USABLE = "usage_events_are_usable"
    AS_EXPECTED = "quantities_as_expected"
    TOTALS_MATCH_LINES = "totals_match_lines"
    FINALIZE = "finalize"


QUANTITY_GATES = (Gate.QUANTITIES_MATCH_RAW, Gate.IDENTITIES_COUNT_ONCE, Gate.EVENTS_ARE_USABLE, Gate.AS_EXPECTED)


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
    def of(cls, session: Session, due: Due) -> "Corrections":
        customer = customers.get_customer(session, due.scope, due.subscription.customer_id)
        return cls(*event_corrections.state_of(session, due.scope, customer.external_id, due.period.end))


def quantities_hash(recorded: Sequence[QuantityRecord], corrections: Corrections) -> str:
    """Stands for all quantities of a period, and for the corrections that events had seen when they were looked at."""
    return content_hash(
        [
            {"corrections": [corrections.decided, corrections.applied]},
            *(
                {
                    "price": [quantity.price_id, quantity.price_version],
                    "meter": [quantity.meter_id, quantity.meter_version],
                    "segment": [quantity.segment_start, quantity.segment_end],
                    "quantity": quantity.quantity,
                    "events": quantity.quantity_hash,
                }
                for quantity in sorted(recorded, key=lambda quantity: (quantity.price_id, quantity.segment_start))
            ),
        ]
    )


def invoice_hash(invoice: InvoiceRecord) -> str:
    """Stands for what an invoice says: its amounts, its lines, and what they were made from."""
    return content_hash(
        {
            "inputs_hash": invoice.inputs_hash,
            "code_version": invoice.code_version,
            "currency": invoice.currency,
            "subtotal": invoice.subtotal,
            "discounts": invoice.discounts,
            "discount_total": invoice.discount_total,
            "taxes": invoice.taxes,
            "tax_total": invoice.tax_total,
            "total": invoice.total,
            "credits": invoice.credits,
            "credits_applied": invoice.credits_applied,
            "amount_due": invoice.amount_due,
            "lines": invoice.lines,
        }
    )


def override_of(gate: Gate) -> str:
    """The name under which a person's word about a gate is kept, like a gate's result."""
    return f"override:{gate.value}"


def override_hash(outcome: Outcome) -> str:
    """Stands for what a person has overridden: exactly these problems, found on exactly this."""
    return content_hash([outcome.subject_hash, outcome.detail.get("problems", [])])


def store_outcome(session: Session, outcome: Outcome, now: datetime) -> Outcome:
    """Keep a result, over an earlier one of the same gate and subject; passed where a person has overridden it."""
    if not outcome.passed:
        found = gates.list_results(session, outcome.scope, gate=override_of(outcome.gate), subject=outcome.subject)
        if found and found[0].subject_hash == override_hash(outcome):
            said = {"overridden_by": found[0].detail["person"], "reason": found[0].detail["reason"]}
            outcome = replace(outcome, passed=True, detail={**outcome.detail, **said})
    gates.put_result(
        session,
        outcome.scope,
        outcome.gate.value,
        outcome.subject,
        outcome.subject_hash,
        outcome.passed,
        outcome.detail,
        now,
    )
    return outcome


def reasons_to_hold(session: Session, due: Due, invoice: InvoiceRecord, catalog: Catalog) -> list[str]:
    """Why the invoice may not be finalized now; none when every gate has passed on exactly what it says now.

    The prices are read anew, whatever `catalog` has read before.
    """
    if invoice.inputs_hash is None:
        return ["the draft is not priced"]
    reasons = _reasons_of_parts(session, due, invoice, catalog)
    if not _carries_adjustments(session, due.scope, invoice):
        reasons.append("what earlier invoices have come to since has changed since the draft was priced")
    if terms_of(session, due.scope, invoice) != invoice.terms:
        reasons.append("the discounts or taxes have changed since the draft was priced")
    wanted = [(Gate.TOTALS_MATCH_LINES, invoice.id, invoice_hash(invoice))]
    if not due.is_start:
        recorded = quantities.quantities_of(session, due.scope, due.subscription.id, due.period.start)
        if not _lines_use(invoice, recorded):
            reasons.append("the quantities have changed since the draft was priced")
        corrections = Corrections.of(session, due)
        if corrections.applied < corrections.decided:
            reasons.append("a correction of the customer's events is not applied yet")
        looked_at = quantities_hash(recorded, corrections)
        wanted = [*((gate, due.subject, looked_at) for gate in QUANTITY_GATES), *wanted]
    for gate, subject, subject_hash in wanted:
        found = gates.list_results(session, due.scope, gate=gate.value, subject=subject)
        reason = _reason(gate, found[0] if found else None, subject_hash)
        if reason is not None:
            reasons.append(reason)
    return reasons


def _reasons_of_parts(session: Session, due: Due, invoice: InvoiceRecord, catalog: Catalog) -> list[str]:
    reasons = []
    catalog.forget_prices()
    parts = parts_of_invoice(session, catalog, due)
    if not _lines_are_priced_by(invoice, parts):
        reasons.append("the prices have changed since the draft was priced")
    elif invoice.period != due.period or not _lines_are_of(invoice, parts):
        reasons.append("the subscription has changed since the draft was priced")
    elif not _lines_settle(invoice, parts):
        reasons.append("what was billed in advance has changed since the draft was priced")
    if advance_is_open(session, due):
        reasons.append("the invoice that bills a part of this period in advance is not final yet")
    return reasons


def reasons_to_hold_one_off(session: Session, scope: Scope, invoice: InvoiceRecord) -> list[str]:
    """The same for an invoice that was made by hand: of the gates only the one that looks at totals applies."""
    found = gates.list_results(session, scope, gate=Gate.TOTALS_MATCH_LINES.value, subject=invoice.id)
    reason = _reason(Gate.TOTALS_MATCH_LINES, found[0] if found else None, invoice_hash(invoice))
    reasons = [] if reason is None else [reason]
    if not _carries_adjustments(session, scope, invoice):
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


def _carries_adjustments(session: Session, scope: Scope, invoice: InvoiceRecord) -> bool:
    """Whether the invoice's adjustments are those that it has claimed, as they are now; it carries none twice so."""
    claimed = line_adjustments.carried(session, scope, [invoice.id])[invoice.id]
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
