"""Use cases: final periods rated again with today's events, or by other prices, and chosen differences billed.

Looking changes nothing. What is then chosen becomes adjustments, on top of all that was billed of a line before: asked
for again, the difference is nothing. From then on events that come late are priced by what the line was rated by last.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final

import polars as pl
from sqlalchemy.orm import Session

from billing.errors import Conflict, InvalidInput
from billing.exact import EXACT, canonical
from billing.invoice import InvoiceStatus
from billing.line_adjustment import AdjustmentCause, Treatment
from billing.money import format_decimal
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, final_invoices, invoices, line_adjustments, prices, subscriptions
from ledger.store.final_invoices import FinalInvoice
from ledger.store.invoices import InvoiceRecord, LineRecord
from ledger.store.line_adjustments import AdjustmentRecord
from ledger.store.prices import PriceRecord
from pipelines.steps.isolation import Failure, each_alone, failure_of
from pipelines.steps.line_differences import Difference, adjustment_of
from pipelines.steps.read_quantities import Wanted, read_many
from pipelines.steps.recorded_parts import meter_of
from pipelines.steps.standing import RatedLine, billed_of, rated_again
from warehouse_sql.client import Warehouse
from warehouse_sql.late_events import Received, count_late
from warehouse_sql.usage import Quantity, safe_watermark

__all__ = [
    "INVOICES_AT_ONCE",
    "Applied",
    "Decision",
    "RatedDifference",
    "RerateWanted",
    "Rerated",
    "apply_rerate",
    "check_exists",
    "frame_of",
    "record_differences",
    "rerate",
    "rerate_invoices",
    "rows_of",
]

INVOICES_AT_ONCE: Final = 200


@dataclass(frozen=True)
class RerateWanted:
    """Finalized periods that end in [start, end), of a customer (our id), with a `meter_id` the lines that it counts.
    Each line is rated by its own version of the price (or by what it was adjusted by last), by the version in
    `versions` where its price is named, else by the one in force at `prices_at`.
    """

    start: datetime
    end: datetime
    subscription_id: str | None = None
    versions: Mapping[str, int] = field(default_factory=dict)
    prices_at: datetime | None = None
    customer_id: str | None = None
    meter_id: str | None = None


@dataclass(frozen=True)
class RatedDifference:
    """A line of a final invoice: what was billed of it up to now, adjustments included, and what it comes to."""

    invoice: InvoiceRecord
    customer_id: str
    line: LineRecord
    adjustments: tuple[AdjustmentRecord, ...]
    rated: RatedLine
    quantity: Quantity | None

    @property
    def billed(self) -> Decimal:
        return billed_of(self.line, self.adjustments)

    @property
    def amount(self) -> Decimal:
        """Due less billed, both less discounts, without taxes on top."""
        return EXACT.subtract(self.rated.due, self.billed)

    @property
    def billed_quantity(self) -> Decimal:
        return self.adjustments[-1].quantity if self.adjustments else self.line.quantity

    @property
    def billed_version(self) -> int | None:
        return self.adjustments[-1].price_version if self.adjustments else self.line.price_version

    @property
    def differs(self) -> bool:
        return bool(self.amount) or self.rated.quantity != self.billed_quantity


@dataclass(frozen=True)
class Rerated:
    """`differences` are the lines that come to something else; `invoices` and `lines` count all that were rated.
    Everything received up to `watermark` is in them."""

    differences: tuple[RatedDifference, ...]
    invoices: int
    lines: int
    watermark: datetime
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Decision:
    """Who says so, and why; both are kept. `invoice_ids` and `line_ids` choose (both empty: all differences);
    `treatment` None is the environment's."""

    person: str
    reason: str
    actor: str
    invoice_ids: Collection[str] = ()
    line_ids: Collection[str] = ()
    treatment: Treatment | None = None

    def takes(self, difference: RatedDifference) -> bool:
        if not self.invoice_ids and not self.line_ids:
            return True
        return difference.invoice.id in self.invoice_ids or difference.line.id in self.line_ids


@dataclass(frozen=True)
class Applied:
    """The adjustments that were recorded."""

    adjustments: tuple[AdjustmentRecord, ...]
    failures: tuple[Failure, ...]


def rerate(
    ledger: Ledger,
    warehouse: Warehouse,
    scope: Scope,
    wanted: RerateWanted,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Rerated:
    """What the chosen periods come to now, against what was billed. Reads only; `progress` is told of invoices done.

    InvalidInput `range_is_empty`; NotFound of the subscription or a price; Unavailable.
    """
    if wanted.end <= wanted.start:
        raise InvalidInput("range_is_empty", "the end must come after the start", field="to")
    with ledger.read() as session:
        check_exists(session, scope, wanted)
        chosen = final_invoices.final_between(
            session, scope, wanted.start, wanted.end, wanted.subscription_id, customer_id=wanted.customer_id
        )
    watermark = safe_watermark(warehouse)
    parts = []
    for start in range(0, len(chosen), INVOICES_AT_ONCE):
        some = chosen[start : start + INVOICES_AT_ONCE]
        parts.append(rerate_invoices(ledger, warehouse, scope, wanted, some, watermark))
        progress(min(start + INVOICES_AT_ONCE, len(chosen)), len(chosen))
    return Rerated(
        differences=tuple(each for part in parts for each in part.differences),
        invoices=len(chosen),
        lines=sum(part.lines for part in parts),
        watermark=watermark,
        failures=tuple(each for part in parts for each in part.failures),
    )


def check_exists(session: Session, scope: Scope, wanted: RerateWanted) -> None:
    """What is named is there. NotFound of the subscription or a price."""
    if wanted.subscription_id is not None:
        subscriptions.get_subscription(session, scope, wanted.subscription_id)
    for price_id, version in wanted.versions.items():
        prices.get_price(session, scope, price_id, version)


def rerate_invoices(
    ledger: Ledger,
    warehouse: Warehouse,
    scope: Scope,
    wanted: RerateWanted,
    some: Sequence[FinalInvoice],
    watermark: datetime,
) -> Rerated:
    """The same for these invoices, with what was received up to a watermark. Unavailable.

    A failure's subject is the invoice's id.
    """
    found: list[RatedDifference] = []
    failures: list[Failure] = []
    read = _read(ledger, warehouse, scope, some, watermark)
    with ledger.read() as session:
        for one in some:
            try:
                found += _differences(session, scope, wanted, one, read.get(one.id, {}))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this invoice's alone
                failures.append(failure_of(scope, one.id, one.period.start, error))
    differing = tuple(each for each in found if each.differs)
    return Rerated(differing, len(some), len(found), watermark, tuple(failures))


def apply_rerate(
    ledger: Ledger,
    warehouse: Warehouse,
    scope: Scope,
    wanted: RerateWanted,
    decision: Decision,
    now: datetime,
) -> Applied:
    """Rates again, and records the chosen differences as adjustments. How they are billed is for `settle_adjustments`
    and for the next invoice. Errors as in `rerate`.
    """
    looked = rerate(ledger, warehouse, scope, wanted)
    chosen = [each for each in looked.differences if decision.takes(each)]
    made = record_differences(ledger, warehouse, scope, chosen, decision, looked.watermark, now)
    return Applied(made.adjustments, (*looked.failures, *made.failures))


def record_differences(
    ledger: Ledger,
    warehouse: Warehouse,
    scope: Scope,
    chosen: Iterable[RatedDifference],
    decision: Decision,
    watermark: datetime,
    now: datetime,
    done: Callable[[Session, Sequence[AdjustmentRecord]], None] = lambda session, made: None,
) -> Applied:
    """Differences, as they were rated up to a watermark, as adjustments; each invoice's with an audit entry of who
    decided it and why. `done` is told of them in the transaction that records them.

    That transaction looks once more whether the line was adjusted since, so that a second call, or one at the same
    time, records nothing: it fails with `adjusted_meanwhile`.
    """
    by_invoice: dict[str, list[RatedDifference]] = {}
    for each in chosen:
        if each.amount != 0:
            by_invoice.setdefault(each.invoice.id, []).append(each)
    ordered = sorted(by_invoice.values(), key=lambda some: (some[0].invoice.subscription_id or "", some[0].invoice.id))
    late = {each.line.id: _late(warehouse, scope, each, watermark) for some in ordered for each in some}

    def record(session: Session, some: Sequence[RatedDifference]) -> list[AdjustmentRecord]:
        made = _record(session, some, scope=scope, decision=decision, late=late, watermark=watermark, now=now)
        done(session, made)
        return made

    recorded, failures = each_alone(ledger, ordered, record, partial(_failure, scope))
    return Applied(tuple(one for each in recorded for one in each), tuple(failures))


def frame_of(rerated: Rerated) -> pl.DataFrame:
    """One row for each line that differs; amounts as decimals, quantities as texts, which keep every digit."""
    return pl.DataFrame(rows_of(rerated), schema=_SCHEMA)


def rows_of(rerated: Rerated) -> list[dict[str, Any]]:
    """The same rows, each amount with the decimals of its currency."""
    return [
        {
            "invoice_number": each.invoice.number,
            "invoice_id": each.invoice.id,
            "line_id": each.line.id,
            "customer_id": each.customer_id,
            "subscription_id": each.invoice.subscription_id,
            "display_name": each.line.display_name,
            "period_start": each.line.period.start,
            "period_end": each.line.period.end,
            "price_id": each.line.price_id,
            "billed_version": each.billed_version,
            "price_version": each.rated.price.version,
            "billed_quantity": canonical(each.billed_quantity),
            "quantity": canonical(each.rated.quantity),
            "currency": each.invoice.currency,
            "billed": each.billed,
            "due": each.rated.due,
            "difference": each.amount,
        }
        for each in rerated.differences
    ]


_AMOUNT = pl.Decimal(38, 4)
_SCHEMA: Final[dict[str, type[pl.DataType] | pl.DataType]] = {
    "invoice_number": pl.String,
    "invoice_id": pl.String,
    "line_id": pl.String,
    "customer_id": pl.String,
    "subscription_id": pl.String,
    "display_name": pl.String,
    "period_start": pl.Datetime("us", "UTC"),
    "period_end": pl.Datetime("us", "UTC"),
    "price_id": pl.String,
    "billed_version": pl.Int64,
    "price_version": pl.Int64,
    "billed_quantity": pl.String,
    "quantity": pl.String,
    "currency": pl.String,
    "billed": _AMOUNT,
    "due": _AMOUNT,
    "difference": _AMOUNT,
}


def _read(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, chosen: Sequence[FinalInvoice], watermark: datetime
) -> dict[str, dict[str, Quantity | Exception]]:
    """Invoice id -> line id -> what the line counts up to the watermark, or why that cannot be read."""
    asked: dict[str, dict[str, Wanted]] = {}
    with ledger.read() as session:
        for one in chosen:
            invoice = invoices.get_invoice(session, scope, one.id)
            asked[one.id] = {
                line.id: Wanted(scope, meter, line.period, watermark, one.customer_id)
                for line in invoice.own_lines
                if (meter := meter_of(session, scope, line)) is not None
            }
    answers = read_many(warehouse, (one for lines in asked.values() for one in lines.values()), rollups=True)
    known: dict[Wanted, Quantity | Exception] = {**answers.found, **answers.errors}
    return {invoice_id: {line_id: known[one] for line_id, one in lines.items()} for invoice_id, lines in asked.items()}


def _differences(
    session: Session,
    scope: Scope,
    wanted: RerateWanted,
    one: FinalInvoice,
    read: Mapping[str, Quantity | Exception],
) -> list[RatedDifference]:
    for answer in read.values():
        if isinstance(answer, Exception):
            raise answer
    quantities = {line_id: answer for line_id, answer in read.items() if isinstance(answer, Quantity)}
    values = {
        line_id: Decimal(0) if each.value is None else Decimal(canonical(each.value))
        for line_id, each in quantities.items()
    }
    invoice = invoices.get_invoice(session, scope, one.id)
    known = line_adjustments.of_lines_of(session, scope, invoice.id)
    chosen = {
        line.id: price
        for line in invoice.own_lines
        if (price := _price(session, scope, wanted, line, known.get(line.id, ()))) is not None
    }
    return [
        RatedDifference(
            invoice, one.customer_id, rated.line, known.get(rated.line.id, ()), rated, quantities.get(rated.line.id)
        )
        for rated in rated_again(session, scope, invoice, values, chosen)
        if wanted.meter_id in {None, rated.line.meter_id}
    ]


def _price(
    session: Session, scope: Scope, wanted: RerateWanted, line: LineRecord, adjustments: Sequence[AdjustmentRecord]
) -> PriceRecord | None:
    """The price that a line is rated by, None for its own."""
    if line.price_id in wanted.versions:
        return prices.get_price(session, scope, line.price_id or "", wanted.versions[line.price_id or ""])
    if wanted.prices_at is not None and line.price_id is not None:
        return prices.version_at(session, scope, line.price_id, wanted.prices_at)
    return prices.price_of(session, scope, adjustments[-1]) if adjustments else None


def _late(warehouse: Warehouse, scope: Scope, each: RatedDifference, until: datetime) -> int:
    """How many events the adjustment is the first to see."""
    after = _seen_before(each)
    if each.rated.meter is None or after is None or until <= after:
        return 0
    received = Received(after, until)
    return count_late(warehouse, scope, each.rated.meter, each.line.period, each.customer_id, received)


def _seen_before(each: RatedDifference) -> datetime | None:
    return each.adjustments[-1].watermark if each.adjustments else each.line.watermark


def _record(
    session: Session,
    some: Sequence[RatedDifference],
    *,
    scope: Scope,
    decision: Decision,
    late: Mapping[str, int],
    watermark: datetime,
    now: datetime,
) -> list[AdjustmentRecord]:
    first = some[0]
    subscriptions.hold_subscription(session, scope, first.invoice.subscription_id or "")
    invoice = invoices.get_invoice(session, scope, first.invoice.id)
    known = line_adjustments.of_lines_of(session, scope, invoice.id)
    if invoice.status is not InvoiceStatus.FINALIZED or any(
        known.get(each.line.id, ()) != each.adjustments for each in some
    ):
        raise Conflict("adjusted_meanwhile", "the invoice was adjusted or voided meanwhile", hint="Rate it again.")
    made = []
    for each in some:
        difference = Difference(
            invoice=invoice,
            rated=each.rated,
            kept=each.adjustments,
            grown=None,
            seen_before=_seen_before(each),
            watermark=None if each.quantity is None else watermark,
            quantity_hash=None if each.quantity is None else each.quantity.quantity_hash,
            events=late[each.line.id],
        )
        record = adjustment_of(
            session,
            scope,
            difference,
            now,
            cause=AdjustmentCause.RERATE,
            treatment=decision.treatment,
            person=decision.person,
            reason=decision.reason,
        )
        line_adjustments.put_adjustment(session, scope, record, decision.treatment)
        made.append(record)
    said = {
        "person": decision.person,
        "reason": decision.reason,
        "adjustments": [
            {"id": one.id, "line_id": one.line_id, "amount": format_decimal(one.amount), "version": one.price_version}
            for one in made
        ],
    }
    audit.write(session, scope, decision.actor, "invoice.rerated", "invoice", invoice.id, said, now)
    return made


def _failure(scope: Scope, some: Sequence[RatedDifference], error: Exception) -> Failure:
    invoice = some[0].invoice
    return failure_of(scope, invoice.id, invoice.period.start, error)
