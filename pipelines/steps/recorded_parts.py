"""The parts that an invoice was made from, out of what its lines name: prices and meters in those versions."""

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy.orm import Session

from billing.meter import Meter
from billing.period import Period
from billing.rating import Rated
from billing.scope import Scope
from ledger.store import meters, plans, prices
from ledger.store.invoices import InvoiceRecord, LineRecord
from pipelines.steps.plan_prices import DuePrice, Part
from pipelines.steps.rate_parts import rate_parts

__all__ = ["meter_of", "rated_lines", "recorded_parts"]

_ONE = Decimal(1)


def recorded_parts(session: Session, scope: Scope, invoice: InvoiceRecord) -> tuple[Part, ...]:
    """One part per line of a subscription's invoice. NotFound `price_not_found` where a line has no price."""
    found = [prices.price_of(session, scope, line) for line in invoice.lines]
    terms = plans.terms_of(session, scope, {price.plan_id for price in found})
    return tuple(
        Part(
            key=line.key,
            period=line.period,
            price=DuePrice(price, meter_of(session, scope, line), terms[price.plan_id].tier_progress == "continue"),
            quantity=line.quantity if line.price_type == "fixed" else _ONE,
        )
        for line, price in zip(invoice.lines, found, strict=True)
    )


def rated_lines(invoice: InvoiceRecord, parts: Sequence[Part], full: Period) -> list[Rated]:
    """What the lines' own quantities come to by their parts; `full` is the whole period of the calendar."""
    return rate_parts(parts, [line.quantity for line in invoice.lines], invoice.currency, full)


def meter_of(session: Session, scope: Scope, line: LineRecord) -> Meter | None:
    """The meter of a line in the version that it names."""
    return None if line.meter_id is None else meters.get_meter(session, scope, line.meter_id, line.meter_version)
