"""The parts that an invoice was made from, out of what its lines name: prices and meters in those versions."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from sqlalchemy.orm import Session

from billing.advance import Settlement, is_true_up
from billing.meter import Meter
from billing.period import Schedule
from billing.rating import Rated
from billing.scope import Scope
from ledger.store import meters
from ledger.store.invoices import InvoiceRecord, LineRecord
from pipelines.steps.billing_day import Due
from pipelines.steps.facts import Facts
from pipelines.steps.invoice_parts import settlements
from pipelines.steps.plan_prices import DuePrice, Part
from pipelines.steps.rate_parts import rate_parts

__all__ = ["meter_of", "rated_lines", "recorded_parts"]

_ONE = Decimal(1)
_NOTHING = Settlement((), ())


def recorded_parts(facts: Facts, due: Due, invoice: InvoiceRecord) -> tuple[Part, ...]:
    """One part per line of a subscription's invoice that bills its own period. NotFound `price_not_found` where a line
    has no price.

    What a line settles is asked of the history and the invoice before, which both keep what they say of a period whose
    invoice is final.
    """
    settled = settlements(facts, due) if any(is_true_up(line.key) for line in invoice.own_lines) else {}
    return tuple(_part(facts, line, settled) for line in invoice.own_lines)


def _part(facts: Facts, line: LineRecord, settled: Mapping[str, Settlement]) -> Part:
    session, scope, catalog = facts.session, facts.scope, facts.catalog
    price = catalog.recorded_price(session, scope, line.price_id or "", line.price_version)
    meter = None
    if line.meter_id is not None:
        meter = catalog.recorded_meter(session, scope, line.meter_id, line.meter_version)
    return Part(
        key=line.key,
        period=line.period,
        price=DuePrice(price, meter, catalog.continues(session, scope, price.plan_id)),
        quantity=line.quantity if line.price_type == "fixed" else _ONE,
        settles=settled.get(line.price_id or "", _NOTHING) if is_true_up(line.key) else None,
    )


def rated_lines(invoice: InvoiceRecord, parts: Sequence[Part], schedule: Schedule) -> list[Rated]:
    """What the quantities of its own lines come to by their parts; `schedule` is the subscription's."""
    return rate_parts(parts, [line.quantity for line in invoice.own_lines], invoice.currency, schedule)


def meter_of(session: Session, scope: Scope, line: LineRecord) -> Meter | None:
    """The meter of a line in the version that it names."""
    return None if line.meter_id is None else meters.get_meter(session, scope, line.meter_id, line.meter_version)
