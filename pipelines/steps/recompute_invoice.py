"""Use case: an invoice made again from what it records and from the events as they are now, and compared (M3).

Nothing is written. The steps are those of the real run: quantities are read from the events up to each line's
watermark, then priced by the versions that the line names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from billing.adjustments.adjust import adjust
from billing.errors import Conflict
from billing.exact import canonical
from billing.invoice import LineDraft
from billing.meter import Meter
from billing.money import format_decimal
from billing.period import Period
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import customers, gates, invoices, quantities, subscriptions
from ledger.store.invoices import InvoiceRecord, LineRecord
from ledger.store.quantities import QuantityRecord
from pipelines.steps.adjustments_again import adjustments_again
from pipelines.steps.billing_day import Due, due_of
from pipelines.steps.code_version import CODE_VERSION
from pipelines.steps.collect_quantities import quantity_record
from pipelines.steps.facts import Facts
from pipelines.steps.gate_invoices import Gate
from pipelines.steps.invoice_hash import invoice_hash
from pipelines.steps.invoice_terms import with_terms
from pipelines.steps.one_off_invoice import one_off_inputs_hash, one_off_lines_again
from pipelines.steps.plan_prices import Catalog, Part
from pipelines.steps.price_invoices import inputs_hash_of, lines_for, with_adjustments
from pipelines.steps.read_quantities import Wanted, read_many
from pipelines.steps.recorded_parts import recorded_parts
from warehouse_sql.client import Warehouse
from warehouse_sql.instants import FAR_FUTURE
from warehouse_sql.usage import Quantity

__all__ = ["Reason", "RecomputedInvoice", "RecomputedLine", "recompute_invoice"]

_AMOUNTS = ("subtotal", "discounts", "discount_total", "taxes", "tax_total", "total", "credits_applied", "amount_due")


@dataclass(frozen=True)
class Reason:
    """Why something differs; `code` is stable."""

    code: str
    detail: str


@dataclass(frozen=True)
class RecomputedLine:
    """A line as it is stored and as it comes out now. `late_events` came after its watermark and are in neither;
    `quantity_with_late_events` is what it would be with them. Both are None where the line counts no events.
    """

    stored: LineRecord
    again: LineDraft
    reasons: tuple[Reason, ...]
    late_events: int | None
    quantity_with_late_events: Decimal | None

    @property
    def same(self) -> bool:
        return not self.reasons


@dataclass(frozen=True)
class RecomputedInvoice:
    """`reasons` are those of the invoice as a whole. `code_version` is the code that compared, not the recorded one."""

    stored: InvoiceRecord
    again: InvoiceRecord
    lines: tuple[RecomputedLine, ...]
    reasons: tuple[Reason, ...]
    content_hash: str
    recomputed_content_hash: str
    code_version: str

    @property
    def same(self) -> bool:
        """Whether it is the same to the byte."""
        return self.content_hash == self.recomputed_content_hash and not self.reasons

    @property
    def late_events(self) -> int:
        return sum(line.late_events or 0 for line in self.lines)


@dataclass(frozen=True)
class _Recorded:
    """What the invoice names: its period, and for each line its part and what to read."""

    invoice: InvoiceRecord
    due: Due
    parts: tuple[Part, ...]
    wanted: tuple[Wanted | None, ...]
    counted: tuple[QuantityRecord | None, ...]


def recompute_invoice(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, invoice_id: str, now: datetime
) -> RecomputedInvoice:
    """The invoice made again, of any status. Reads only.

    NotFound `invoice_not_found`; Conflict `invoice_not_priced`; Unavailable.
    """
    with ledger.read() as session:
        stored = invoices.get_invoice(session, scope, invoice_id)
        finalized_hash = _finalized_hash(session, scope, stored)
        if stored.inputs_hash is None:
            raise Conflict(
                "invoice_not_priced",
                "The invoice has no lines yet that could be made again.",
                hint="Run priced_invoices for its billing day.",
            )
        recorded = None if stored.subscription_id is None else _recorded(session, scope, stored, stored.subscription_id)
    adjusted = adjustments_again(ledger, warehouse, scope, stored)
    if recorded is None:
        lines = one_off_lines_again(replace(stored, lines=stored.own_lines))
        compared = [_compared(stored, *pair, None, None, None) for pair in zip(stored.own_lines, lines, strict=True)]
        all_lines = (*lines, *(each.line for each in adjusted))
        inputs = one_off_inputs_hash(stored, all_lines, stored.code_version or "")
    else:
        lines, compared = _from_events(warehouse, recorded, now)
        all_lines = (*lines, *(each.line for each in adjusted))
        inputs = inputs_hash_of(recorded.due, recorded.parts, lines, stored.code_version or "")
        inputs = with_adjustments(inputs, [each.record for each in adjusted if each.record is not None])
    compared += [_compared(stored, each.stored, each.line, None, each.read, None) for each in adjusted]
    again = _again(stored, all_lines, with_terms(inputs, stored.terms))
    return RecomputedInvoice(
        stored=stored,
        again=again,
        lines=tuple(compared),
        reasons=tuple(_reasons(stored, again, finalized_hash)),
        content_hash=invoice_hash(stored),
        recomputed_content_hash=invoice_hash(again),
        code_version=CODE_VERSION,
    )


def _from_events(
    warehouse: Warehouse, recorded: _Recorded, now: datetime
) -> tuple[tuple[LineDraft, ...], list[RecomputedLine]]:
    """The lines of a subscription's period as the events give them now, each compared with the stored one."""
    # Late events once more beside those up to the watermark: the difference is what came since.
    wanted = [one for one in recorded.wanted if one is not None]
    answers = read_many(warehouse, [*wanted, *map(_with_late_ones, wanted)], rollups=False)
    for error in answers.errors.values():
        raise error
    read = tuple(None if one is None else answers.found[one] for one in recorded.wanted)
    with_late = tuple(None if one is None else answers.found[_with_late_ones(one)] for one in recorded.wanted)
    lines = lines_for(recorded.due, recorded.parts, list(_quantities(recorded, read, now)))
    return lines, [
        _compared(recorded.invoice, *five)
        for five in zip(recorded.invoice.own_lines, lines, recorded.counted, read, with_late, strict=True)
    ]


def _finalized_hash(session: Session, scope: Scope, invoice: InvoiceRecord) -> str | None:
    """What the invoice said when it passed the gates; None for a draft, or one that came to the ledger otherwise."""
    verdict = gates.list_results(session, scope, gate=Gate.FINALIZE.value, subject=invoice.id)
    return verdict[0].subject_hash if invoice.number is not None and verdict and verdict[0].passed else None


def _recorded(session: Session, scope: Scope, invoice: InvoiceRecord, subscription_id: str) -> _Recorded:
    subscription = subscriptions.get_subscription(session, scope, subscription_id)
    due = due_of(scope, subscription, invoice.period, invoice.billing_reason)
    external_id = customers.get_customer(session, scope, invoice.customer_id).external_id
    known = {
        (each.price_id, each.segment_start, each.quantity_hash): each
        for each in quantities.quantities_of(session, scope, subscription.id, invoice.period.start)
    }
    parts = recorded_parts(Facts(session, scope, Catalog()), due, invoice)
    return _Recorded(
        invoice=invoice,
        due=due,
        parts=parts,
        wanted=tuple(
            _wanted(scope, part.price.meter, line, external_id)
            for part, line in zip(parts, invoice.own_lines, strict=True)
        ),
        counted=tuple(
            known.get((line.price_id or "", line.period.start, line.quantity_hash or "")) for line in invoice.own_lines
        ),
    )


def _wanted(scope: Scope, meter: Meter | None, line: LineRecord, external_id: str) -> Wanted | None:
    if meter is None or line.watermark is None:
        return None
    return Wanted(scope, meter, Period(line.period.start, line.period.end), line.watermark, external_id)


def _with_late_ones(wanted: Wanted) -> Wanted:
    return replace(wanted, watermark=FAR_FUTURE)


def _quantities(recorded: _Recorded, read: Sequence[Quantity | None], now: datetime) -> Iterator[QuantityRecord]:
    for part, quantity in zip(recorded.parts, read, strict=True):
        if part.price.meter is not None and quantity is not None:
            yield quantity_record(recorded.due, part, part.price.meter, quantity, now)


def _again(invoice: InvoiceRecord, lines: Sequence[LineDraft], inputs_hash: str) -> InvoiceRecord:
    """The stored invoice with everything in it that pricing works out."""
    again = replace(
        invoice,
        inputs_hash=inputs_hash,
        lines=tuple(
            LineRecord(id=stored.id, **{item.name: getattr(line, item.name) for item in fields(LineDraft)})
            for stored, line in zip(invoice.lines, lines, strict=True)
        ),
    )
    return again.adjusted(adjust(lines, invoice.terms, invoice.currency))


def _compared(
    invoice: InvoiceRecord,
    stored: LineRecord,
    again: LineDraft,
    counted: QuantityRecord | None,
    read: Quantity | None,
    with_late: Quantity | None,
) -> RecomputedLine:
    reasons = tuple(_line_reasons(invoice, stored, again, counted, read))
    if read is None or with_late is None:
        return RecomputedLine(stored, again, reasons, None, None)
    late_value = Decimal(0) if with_late.value is None else Decimal(canonical(with_late.value))
    return RecomputedLine(stored, again, reasons, with_late.events - read.events, late_value)


def _line_reasons(
    invoice: InvoiceRecord,
    stored: LineRecord,
    again: LineDraft,
    counted: QuantityRecord | None,
    read: Quantity | None,
) -> Iterator[Reason]:
    if stored.quantity_hash != again.quantity_hash:
        then = "others" if counted is None else str(counted.events)
        yield Reason(
            "events_differ",
            f"up to the watermark there are {0 if read is None else read.events} events that count, "
            f"the line was made from {then}",
        )
    if stored.quantity != again.quantity:
        yield Reason(
            "quantity_differs",
            f"the quantity is {format_decimal(again.quantity)}, the line says {format_decimal(stored.quantity)}",
        )
    priced = [(line.amount, line.unrounded, line.breakdown) for line in (stored, again)]
    if priced[0] != priced[1]:
        if stored.quantity == again.quantity:
            by = (
                "its own terms give"
                if stored.price_id is None
                else f"version {stored.price_version} of the price gives"
            )
            yield Reason(
                "amount_differs",
                f"{by} {format_decimal(again.amount)} for this quantity, the line says {format_decimal(stored.amount)}",
            )
        if invoice.code_version != CODE_VERSION:
            yield Reason(
                "other_code_version",
                f"the line was priced by version {invoice.code_version} of the code, this is {CODE_VERSION}",
            )
    elif any(getattr(stored, item.name) != getattr(again, item.name) for item in fields(LineDraft)) and (
        stored.quantity_hash == again.quantity_hash
    ):
        yield Reason("line_differs", "the line's key, name or versions are not those that its price gives")


def _reasons(stored: InvoiceRecord, again: InvoiceRecord, finalized_hash: str | None) -> Iterator[Reason]:
    if finalized_hash is not None and finalized_hash != invoice_hash(stored):
        yield Reason("record_changed", "the stored invoice is not the one that was finalized")
    if any(getattr(stored, name) != getattr(again, name) for name in _AMOUNTS):
        yield Reason(
            "total_differs",
            f"the lines make {format_decimal(again.total)}, the invoice says {format_decimal(stored.total)}",
        )
    elif stored.inputs_hash != again.inputs_hash and stored.lines == again.lines:
        yield Reason("inputs_differ", "the subscription's terms, or the price or period behind a line, are others now")
