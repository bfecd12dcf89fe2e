"""Prices the drafts: the prices in force and the recorded quantities in, lines out.

A pure function of what is recorded (M3): no usage is read here, and the same inputs give the same lines, so that a
second run finds nothing to write.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from sqlalchemy.orm import Session

from billing.errors import NotFound
from billing.invoice import LineDraft, content_hash, total
from billing.price import price_to_json
from billing.proration import share
from billing.rating import rate
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import invoices, quantities
from ledger.store.invoices import InvoiceRecord
from ledger.store.quantities import QuantityRecord
from pipelines.steps.billing_day import Due, hold_if_open
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.drafts import Draft, draft_failure, drafts_of, due_of_draft
from pipelines.steps.isolation import Failure, each_alone
from pipelines.steps.plan_prices import Catalog, DuePrice

__all__ = ["Priced", "PricedInvoice", "inputs_hash_of", "lines_for", "price_invoices"]


@dataclass(frozen=True)
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
    catalog = Catalog()

    def price(session: Session, item: Draft) -> PricedInvoice | None:
        return _price(session, catalog, *item, now, code_version)

    priced, failures = each_alone(ledger, drafts, price, draft_failure)
    return Priced(tuple(invoice for invoice in priced if invoice is not None), tuple(failures))


def lines_for(due: Due, prices: Sequence[DuePrice], recorded: Sequence[QuantityRecord]) -> tuple[LineDraft, ...]:
    """The lines of a period: one per price of the plan, in its order, each keyed by its price.

    NotFound `quantity_missing` where a metered price has no quantity, or one of another version of price or meter.
    """
    known = {quantity.price_id: quantity for quantity in recorded}
    return tuple(
        _fixed_line(due, price) if price.meter is None else _usage_line(due, price, known.get(price.record.id))
        for price in prices
    )


def inputs_hash_of(due: Due, prices: Sequence[DuePrice], lines: Sequence[LineDraft], code_version: str) -> str:
    """Stands for everything that the lines of a period were made from (M3); `prices` and `lines` in the same order."""
    subscription = due.subscription
    return content_hash(
        {
            "code_version": code_version,
            "subscription": {
                "id": subscription.id,
                "plan_id": subscription.plan_id,
                "currency": subscription.currency,
                "interval": subscription.interval,
                "billing_anchor": subscription.billing_anchor,
                "timezone": subscription.timezone,
            },
            "period": due.period,
            "service": due.service,
            "full": due.full,
            "prices": [
                {
                    "id": price.record.id,
                    "version": price.record.version,
                    "spec": price_to_json(price.record.price),
                    "meter": None if price.meter is None else {"id": price.meter.id, "version": price.meter.version},
                    "quantity": line.quantity,
                    "quantity_hash": line.quantity_hash,
                }
                for price, line in zip(prices, lines, strict=True)
            ],
        }
    )


def _price(
    session: Session, catalog: Catalog, scope: Scope, draft: InvoiceRecord, now: datetime, code_version: str
) -> PricedInvoice | None:
    due = due_of_draft(session, scope, draft)
    if not hold_if_open(session, due):
        # Another run finalized it since the drafts were listed.
        return None
    draft = invoices.get_invoice(session, scope, draft.id)
    prices = catalog.prices_of(session, due)
    recorded = quantities.quantities_of(session, scope, due.subscription.id, draft.period.start)
    lines = lines_for(due, prices, recorded)
    inputs = inputs_hash_of(due, prices, lines, code_version)
    changed = inputs != draft.inputs_hash or lines != _as_drafts(draft)
    if changed:
        watermark = min((line.watermark for line in lines if line.watermark is not None), default=None)
        invoices.replace_lines(session, scope, draft.id, lines, inputs, watermark, code_version, now)
    amount = total(lines, draft.currency)
    return PricedInvoice(scope, draft.id, due.subscription.id, draft.currency, amount, len(lines), changed)


def _fixed_line(due: Due, price: DuePrice) -> LineDraft:
    record = price.record
    part = share(due.service, due.full)
    rated = rate(record.price, Decimal(1), due.subscription.currency, None if part == Fraction(1) else part)
    return LineDraft(
        key=record.id,
        display_name=record.display_name,
        price_type="fixed",
        quantity=Decimal(1),
        amount=rated.total,
        unrounded=rated.unrounded,
        period=due.service,
        price_id=record.id,
        price_version=record.version,
        meter_id=None,
        meter_version=None,
        breakdown=rated.breakdown,
        watermark=None,
        quantity_hash=None,
    )


def _usage_line(due: Due, price: DuePrice, quantity: QuantityRecord | None) -> LineDraft:
    record, meter = price.record, price.meter
    if (
        quantity is None
        or meter is None
        or (quantity.price_version, quantity.meter_id, quantity.meter_version)
        != (record.version, meter.id, meter.version)
    ):
        raise NotFound(
            "quantity_missing",
            f"there is no quantity for {record.id} version {record.version}",
            hint="Run billable_quantities for this billing day.",
        )
    rated = rate(record.price, quantity.quantity, due.subscription.currency)
    return LineDraft(
        key=record.id,
        display_name=record.display_name,
        price_type="usage",
        quantity=quantity.quantity,
        amount=rated.total,
        unrounded=rated.unrounded,
        period=due.service,
        price_id=record.id,
        price_version=record.version,
        meter_id=meter.id,
        meter_version=meter.version,
        breakdown=rated.breakdown,
        watermark=quantity.watermark,
        quantity_hash=quantity.quantity_hash,
    )


def _as_drafts(invoice: InvoiceRecord) -> tuple[LineDraft, ...]:
    names = [item.name for item in fields(LineDraft)]
    return tuple(LineDraft(**{name: getattr(line, name) for name in names}) for line in invoice.lines)
