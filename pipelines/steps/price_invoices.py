"""Prices the drafts: the prices in force and the recorded quantities in, lines out.

A pure function of what is recorded (M3): no usage is read here, and the same inputs give the same lines, so that a
second run finds nothing to write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from sqlalchemy.orm import Session

from billing.adjustments.adjust import adjust
from billing.advance import Settlement
from billing.errors import NotFound
from billing.invoice import InvoiceStatus, LineDraft, content_hash
from billing.line_adjustment import LineAdjustment, adjustment_line
from billing.money import nothing_in
from billing.rating import Rated
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import invoices, line_adjustments
from ledger.store.invoice_lines import lines_with_ids
from ledger.store.invoices import DraftRecord, InvoiceRecord
from ledger.store.quantities import QuantityRecord
from pipelines.steps.billing_day import Due
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.drafts import Draft, customer_of_draft, draft_failure, drafts_of, due_of_draft, scope_of_draft
from pipelines.steps.facts import Facts
from pipelines.steps.invoice_parts import parts_of_invoice
from pipelines.steps.invoice_terms import terms_of, with_terms
from pipelines.steps.isolation import Failure, Worked, apart, in_batches
from pipelines.steps.plan_prices import Catalog, Part
from pipelines.steps.rate_parts import rate_parts
from pipelines.steps.terms_hash import terms_hash

__all__ = [
    "Priced",
    "PricedInvoice",
    "inputs_hash_of",
    "lines_for",
    "price_draft",
    "price_invoices",
    "with_adjustments",
]


_NAMES = [item.name for item in fields(LineDraft)]


class _Number(NamedTuple):
    """What goes into a line beside its price."""

    quantity: Decimal
    quantity_hash: str | None
    settles: Settlement | None


@dataclass(frozen=True, slots=True)
class PricedInvoice:
    """`changed` is false where the draft had these very lines already."""

    scope: Scope
    invoice_id: str
    subscription_id: str
    currency: str
    total: Decimal
    lines: int
    changed: bool


@dataclass(frozen=True)
class Priced:
    invoices: tuple[PricedInvoice, ...]
    failures: tuple[Failure, ...]


def price_invoices(
    ledger: Ledger, start: datetime, end: datetime, now: datetime, code_version: str, chosen: Chosen = EVERYTHING
) -> Priced:
    """Price every draft whose period ends in [start, end). Raises Unavailable when the ledger is.

    A draft without its quantities is a failure `quantity_missing`; it stays as it is and no other one waits for it.
    """
    with ledger.read() as session:
        drafts = drafts_of(session, start, end, now, chosen)
    # The earlier period first: a coupon that counts once goes to the first invoice.
    drafts.sort(key=lambda item: (item[0], item[1].period.end, item[1].period.start, item[1].subscription_id or ""))

    def price(session: Session, scope: Scope, items: Sequence[Draft]) -> Worked[PricedInvoice]:
        return _price_drafts(Facts(session, scope, Catalog()), [draft for _, draft in items], now, code_version)

    priced, failures = in_batches(ledger, drafts, scope_of_draft, price, draft_failure, customer_of_draft)
    return Priced(tuple(priced), tuple(failures))


def lines_for(due: Due, parts: Sequence[Part], recorded: Sequence[QuantityRecord]) -> tuple[LineDraft, ...]:
    """The lines of an invoice: one per part, in their order.

    NotFound `quantity_missing` where a metered part has no quantity, or one of another version of price or meter.
    """
    known = {(quantity.price_id, quantity.segment_start): quantity for quantity in recorded}
    read = [_quantity_of(part, known) for part in parts]
    numbers = [part.quantity if found is None else found.quantity for part, found in zip(parts, read, strict=True)]
    rated = rate_parts(parts, numbers, due.subscription.currency, due.subscription.schedule())
    nothing = nothing_in(due.subscription.currency)
    return tuple(_line(*three, nothing) for three in zip(parts, read, rated, strict=True))


def inputs_hash_of(due: Due, parts: Sequence[Part], lines: Sequence[LineDraft], code_version: str) -> str:
    """Stands for everything that the lines of a period were made from (M3); `parts` and `lines` in the same order."""
    numbers = [
        _Number(line.quantity, line.quantity_hash, part.settles) for part, line in zip(parts, lines, strict=True)
    ]
    return content_hash([due.subscription.id, terms_hash(due, parts, code_version), numbers])


def with_adjustments(inputs_hash: str, adjustments: Sequence[LineAdjustment]) -> str:
    """Stands for the inputs of an invoice that adjusts lines of earlier ones as well."""
    if not adjustments:
        return inputs_hash
    lines = [[adjustment_line(each), each.quantity, each.quantity_before] for each in adjustments]
    return content_hash({"lines": inputs_hash, "adjustments": lines})


def _price_drafts(
    facts: Facts, drafts: Sequence[DraftRecord], now: datetime, code_version: str
) -> Worked[PricedInvoice]:
    """Drafts of subscriptions, in this order, so that a later one sees what an earlier one says; without those that are
    no drafts any more. Failures are those of `due_of_draft` and `lines_for`.
    """
    session, scope = facts.session, facts.scope
    held = invoices.hold_invoices(session, scope, {draft.id for draft in drafts})
    # Another run may have finalized some since they were listed.
    opened = [held[each.id] for each in drafts if each.id in held and held[each.id].status == InvoiceStatus.DRAFT]
    facts.expect_subscriptions({draft.subscription_id for draft in opened if draft.subscription_id is not None})
    dues, failures = apart(opened, partial(due_of_draft, facts), partial(_failure, scope))
    for draft in opened:
        facts.put_invoice(draft)
    facts.expect([due for _, due in dues])
    _claim_adjustments(facts, dues)
    priced, not_priced = apart(dues, partial(_price, facts, now, code_version), partial(_due_failure, scope))
    changed = [(draft, new) for (draft, _), new in priced if new is not draft]
    invoices.replace_lines_of(session, scope, changed, now)
    return [
        PricedInvoice(
            scope, new.id, due.subscription.id, new.currency, new.total, len(new.lines), changed=new is not draft
        )
        for (draft, due), new in priced
    ], [*failures, *not_priced]


def price_draft(facts: Facts, invoice_id: str, now: datetime, code_version: str) -> None:
    """One draft of a subscription, where it still is one. NotFound `invoice_not_found`; errors as for `due_of_draft`,
    `lines_for`.
    """
    draft = invoices.hold(facts.session, facts.scope, invoice_id)
    if draft.status == InvoiceStatus.DRAFT:
        facts.put_invoice(draft)
        due = due_of_draft(facts, draft)
        _claim_adjustments(facts, [(draft, due)])
        new = _price(facts, now, code_version, (draft, due))
        if new is not draft:
            invoices.replace_lines_of(facts.session, facts.scope, [(draft, new)], now)


def _claim_adjustments(facts: Facts, dues: Sequence[tuple[InvoiceRecord, Due]]) -> None:
    drafts = [(due.subscription.id, draft.id) for draft, due in dues]
    facts.put_adjustments(line_adjustments.claim(facts.session, facts.scope, drafts))


def _failure(scope: Scope, draft: InvoiceRecord, error: Exception) -> Failure:
    return draft_failure((scope, draft), error)


def _due_failure(scope: Scope, drafted: tuple[InvoiceRecord, Due], error: Exception) -> Failure:
    return draft_failure((scope, drafted[0]), error)


def _price(facts: Facts, now: datetime, code_version: str, drafted: tuple[InvoiceRecord, Due]) -> InvoiceRecord:
    """The draft as it is priced now; itself where it is priced like that."""
    draft, due = drafted
    parts = parts_of_invoice(facts, due)
    own, adjustments = lines_for(due, parts, facts.quantities_of(due)), facts.adjustments_of(draft.id)
    lines = (*own, *map(adjustment_line, adjustments))
    terms = terms_of(facts, draft)
    adjusted = adjust(lines, terms, draft.currency)
    inputs = with_terms(with_adjustments(inputs_hash_of(due, parts, own, code_version), adjustments), terms)
    if inputs == draft.inputs_hash and adjusted.lines == _as_drafts(draft):
        return draft
    watermark = min((line.watermark for line in own if line.watermark is not None), default=None)
    new = draft.priced(adjusted, inputs, watermark, code_version, lines_with_ids(adjusted.lines, draft.lines, now))
    facts.put_invoice(new)
    return new


def _quantity_of(part: Part, known: Mapping[tuple[str, datetime], QuantityRecord]) -> QuantityRecord | None:
    record, meter = part.price.record, part.price.meter
    if meter is None:
        return None
    found = known.get((record.id, part.period.start))
    if found is None or (
        (found.price_version, found.meter_id, found.meter_version, found.segment_end)
        != (record.version, meter.id, meter.version, part.period.end)
    ):
        raise NotFound(
            "quantity_missing",
            f"there is no quantity for {record.id} version {record.version}",
            hint="Run billable_quantities for this billing day.",
        )
    return found


def _line(part: Part, quantity: QuantityRecord | None, rated: Rated, nothing: Decimal) -> LineDraft:
    record = part.price.record
    return LineDraft(
        key=part.key,
        display_name=record.display_name,
        price_type="fixed" if quantity is None else "usage",
        quantity=part.quantity if quantity is None else quantity.quantity,
        amount=rated.total,
        unrounded=rated.unrounded,
        period=part.period,
        price_id=record.id,
        price_version=record.version,
        meter_id=None if quantity is None else quantity.meter_id,
        meter_version=None if quantity is None else quantity.meter_version,
        breakdown=rated.breakdown,
        watermark=None if quantity is None else quantity.watermark,
        quantity_hash=None if quantity is None else quantity.quantity_hash,
        discount=nothing,
        tax=nothing,
    )


def _as_drafts(invoice: InvoiceRecord) -> tuple[LineDraft, ...]:
    return tuple(LineDraft(**{name: getattr(line, name) for name in _NAMES}) for line in invoice.lines)
