"""Use case: how a line of an invoice came about (M4): its arithmetic, its versions, and the events behind it."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from billing import explain
from billing.advance import is_true_up
from billing.errors import NotFound
from billing.line_adjustment import adjustment_line
from billing.meter import Meter
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import customers, invoices, line_adjustments, prices, quantities, subscriptions
from ledger.store.invoices import InvoiceRecord, LineRecord
from ledger.store.line_adjustments import AdjustmentRecord
from ledger.store.prices import PriceRecord
from pipelines.steps.billing_day import due_of
from pipelines.steps.facts import Facts
from pipelines.steps.plan_prices import Catalog
from pipelines.steps.recorded_parts import meter_of, rated_lines, recorded_parts
from warehouse_sql.client import Warehouse
from warehouse_sql.late_events import LateEvent, Received, late_events
from warehouse_sql.metered_events import MeteredEvent, MeteredPage, metered_events

__all__ = ["LineExplanation", "explain_line", "line_events"]


@dataclass(frozen=True)
class LineExplanation:
    """`text` is the arithmetic, one step a line. `events` were counted; None where the line counts none. A one-off line
    has no price."""

    invoice: InvoiceRecord
    line: LineRecord
    text: str
    price: PriceRecord | None
    meter: Meter | None
    events: int | None


def explain_line(ledger: Ledger, scope: Scope, invoice_id: str, line_id: str) -> LineExplanation:
    """How the line came about, in the versions of price and meter that it names.

    NotFound `invoice_not_found`, `line_not_found`.
    """
    with ledger.read() as session:
        invoice, line = _line_of(session, scope, invoice_id, line_id)
        price = None if line.price_id is None else prices.price_of(session, scope, line)
        return LineExplanation(
            invoice=invoice,
            line=line,
            text=_arithmetic(session, scope, invoice, line, price),
            price=price,
            meter=meter_of(session, scope, line),
            events=_events_counted(session, scope, invoice, line),
        )


def line_events(
    ledger: Ledger,
    warehouse: Warehouse,
    scope: Scope,
    invoice_id: str,
    line_id: str,
    cursor: str | None,
    limit: int,
) -> MeteredPage:
    """A page of the events that are in the line's quantity: those of its meter version, period and watermark that
    count; for an adjustment those that were late together. A line that counts nothing has none.

    NotFound `invoice_not_found`, `line_not_found`; InvalidInput `bad_cursor`; Unavailable.
    """
    with ledger.read() as session:
        invoice, line = _line_of(session, scope, invoice_id, line_id)
        meter = meter_of(session, scope, line)
        customer = customers.get_customer(session, scope, invoice.customer_id)
        adjustment = _adjustment_of(session, scope, invoice, line)
    if meter is None or line.watermark is None:
        return MeteredPage([], None)
    if line.is_adjustment:
        if adjustment is None or adjustment.seen_before is None:
            return MeteredPage([], None)
        received = Received(adjustment.seen_before, line.watermark)
        late = late_events(
            warehouse, scope, meter, line.period, customer.external_id, received, cursor=cursor, limit=limit
        )
        return MeteredPage(
            [_metered(event, customer.external_id) for event in late.items if event.counts], late.next_cursor
        )
    return metered_events(
        warehouse, scope, meter, line.period, customer.external_id, until=line.watermark, cursor=cursor, limit=limit
    )


def _line_of(session: Session, scope: Scope, invoice_id: str, line_id: str) -> tuple[InvoiceRecord, LineRecord]:
    invoice = invoices.get_invoice(session, scope, invoice_id)
    line = next((line for line in invoice.lines if line.id == line_id), None)
    if line is None:
        raise NotFound(
            "line_not_found",
            "the invoice has no such line",
            field="line_id",
            hint="GET /api/v1/invoices/{invoice_id} lists its lines.",
        )
    return invoice, line


def _adjustment_of(session: Session, scope: Scope, invoice: InvoiceRecord, line: LineRecord) -> AdjustmentRecord | None:
    """What an adjustment line bills; None for other lines, and where another invoice carries it now."""
    if not line.is_adjustment:
        return None
    carried = line_adjustments.carried(session, scope, [invoice.id])[invoice.id]
    return next((one for one in carried if adjustment_line(one).key == line.key), None)


def _metered(event: LateEvent, customer_id: str) -> MeteredEvent:
    return MeteredEvent(
        customer_id, event.event_id, event.idempotency_key, event.timestamp, event.ingested_at, event.text
    )


def _arithmetic(
    session: Session, scope: Scope, invoice: InvoiceRecord, line: LineRecord, price: PriceRecord | None
) -> str:
    if line.is_adjustment:
        return explain.explain_adjustment(line, invoice.currency)
    if price is None or invoice.subscription_id is None:
        return explain.explain_line(line, invoice.currency)
    if is_true_up(line.key):
        return explain.explain_true_up(line, invoice.currency)
    subscription = subscriptions.get_subscription(session, scope, invoice.subscription_id)
    due = due_of(scope, subscription, invoice.period, invoice.billing_reason)
    parts = recorded_parts(Facts(session, scope, Catalog()), due, invoice)
    again = rated_lines(invoice, parts, subscription.schedule())
    rated = again[invoice.own_lines.index(line)]
    if (rated.total, rated.unrounded, rated.breakdown) == (line.amount, line.unrounded, line.breakdown):
        return explain.explain(price.price, rated, invoice.currency)
    # Other code has priced it: what it has left in the line is what was charged.
    return explain.explain_line(line, invoice.currency)


def _events_counted(session: Session, scope: Scope, invoice: InvoiceRecord, line: LineRecord) -> int | None:
    if line.is_adjustment:
        adjustment = _adjustment_of(session, scope, invoice, line)
        return None if adjustment is None else adjustment.events
    if line.quantity_hash is None or invoice.subscription_id is None:
        return None
    recorded = quantities.quantities_of(session, scope, invoice.subscription_id, invoice.period.start)
    of_line = (line.price_id, line.period.start, line.quantity_hash)
    counted = [each for each in recorded if (each.price_id, each.segment_start, each.quantity_hash) == of_line]
    return counted[0].events if counted else None
