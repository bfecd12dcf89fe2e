"""The gates that read the warehouse: recorded quantities against the events themselves, as of the same watermark.

An event that arrives after the watermark changes nothing here: it is late, and a later run or invoice is for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby, islice
from typing import Any, Final

from sqlalchemy.orm import Session

from billing.exact import canonical
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import quantities
from ledger.store.quantities import QuantityRecord
from pipelines.steps.billing_day import Due, billing_day, scope_of_due
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.expected_quantities import EXPECTED, Expected, surprises
from pipelines.steps.facts import Facts
from pipelines.steps.gate_invoices import (
    Corrections,
    Gate,
    GateReport,
    Outcome,
    quantities_hash,
    store_outcomes,
)
from pipelines.steps.isolation import Failure, Worked, apart, in_batches
from pipelines.steps.plan_prices import Catalog
from pipelines.steps.read_quantities import Ahead, Wanted, reading_ahead
from warehouse_sql.client import Warehouse
from warehouse_sql.reconcile import reconciled_watermark
from warehouse_sql.usage import Quantity

__all__ = ["gate_quantities"]


_CLEAR: Final[dict[str, Any]] = {"problems": [], "unusable": {}}


@dataclass(frozen=True)
class _Looked:
    """A period: its quantities by the key of their part, what to read for each, the parts that have none, and what was
    corrected. `recorded` are all quantities of the period."""

    due: Due
    recorded: tuple[QuantityRecord, ...]
    known: Mapping[str, QuantityRecord]
    wanted: Mapping[str, Wanted]
    missing: tuple[str, ...]
    corrections: Corrections


def gate_quantities(
    ledger: Ledger,
    warehouse: Warehouse,
    start: datetime,
    end: datetime,
    now: datetime,
    chosen: Chosen = EVERYTHING,
    expected: Expected = EXPECTED,
) -> GateReport:
    """Check the quantities of the open periods that end in [start, end), and keep four results for each.

    `quantities_match_raw`: counting the events without rollups gives the recorded quantity, from the same events.
    `identities_count_once`: everything received before the quantity was read has been compared for duplicates.
    `usage_events_are_usable`: no event that fits a meter was left out for its value.
    `quantities_as_expected`: no quantity is far from those of the periods before.
    What a person has overridden is passed.
    Raises Unavailable when warehouse or ledger is.
    """
    with ledger.read() as session:
        day = billing_day(session, start, end, now, chosen)
        looked, failures = _looked(session, day.open)
    reconciled = reconciled_watermark(warehouse)

    def prepare(periods: Sequence[_Looked]) -> None:
        ahead.await_for(one for period in periods for one in period.wanted.values())

    def check(session: Session, scope: Scope, periods: Sequence[_Looked]) -> Worked[tuple[Outcome, ...]]:
        before = quantities.quantities_before(
            session,
            scope,
            {period.due.subscription.id for period in periods},
            max(period.due.period.start for period in periods),
        )

        def outcomes(period: _Looked) -> tuple[Outcome, ...]:
            known = before.get(period.due.subscription.id, ())
            return _outcomes(period, ahead, reconciled, list(surprises(period.due, period.recorded, known, expected)))

        checked, failures = apart(periods, outcomes, _failure)
        kept = iter(store_outcomes(session, scope, [one for _, found in checked for one in found], now))
        return [tuple(islice(kept, len(found))) for _, found in checked], failures

    wanted = (one for period in looked for one in period.wanted.values())
    with reading_ahead(warehouse, wanted, rollups=False) as ahead:
        checked, not_checked = in_batches(ledger, looked, _scope_of, check, _failure, _customer_of, prepare)
    report = tuple(outcome for outcomes in checked for outcome in outcomes)
    return GateReport(report, (*day.failures, *failures, *not_checked))


def _looked(session: Session, dues: Sequence[Due]) -> tuple[list[_Looked], list[Failure]]:
    catalog = Catalog()
    found: list[_Looked] = []
    failures: list[Failure] = []
    for scope, some in groupby(dues, scope_of_due):
        of_scope = list(some)
        facts = Facts(session, scope, catalog)
        facts.expect_customers({due.subscription.customer_id for due in of_scope})
        facts.expect_corrections({due.subscription.customer_id for due in of_scope})
        facts.expect_quantities(of_scope)
        # As they are read, so that the first are looked at while the others are.
        of_scope.sort(key=lambda due: facts.customer(due.subscription.customer_id).external_id)
        looked, failed = apart(of_scope, partial(_look, facts), Due.failure)
        found += [period for _, period in looked]
        failures += failed
    return found, failures


def _scope_of(period: _Looked) -> Scope:
    return period.due.scope


def _customer_of(period: _Looked) -> str:
    return period.due.subscription.customer_id


def _failure(period: _Looked, error: Exception) -> Failure:
    return period.due.failure(error)


def _look(facts: Facts, due: Due) -> _Looked:
    external_id = facts.customer(due.subscription.customer_id).external_id
    recorded = facts.quantities_of(due)
    by_start = {(record.price_id, record.segment_start): record for record in recorded}
    known: dict[str, QuantityRecord] = {}
    wanted: dict[str, Wanted] = {}
    missing: list[str] = []
    for part in facts.catalog.parts_of(facts.session, due):
        meter = part.price.meter
        record = by_start.get((part.price.record.id, part.period.start))
        if meter is None:
            continue
        if record is None or (record.meter_id, record.meter_version) != (meter.id, meter.version):
            missing.append(part.key)
        else:
            known[part.key] = record
            wanted[part.key] = Wanted(due.scope, meter, part.period, record.watermark, external_id)
    return _Looked(due, tuple(recorded), known, wanted, tuple(missing), Corrections.of(facts, due))


def _outcomes(period: _Looked, seen: Ahead, reconciled: datetime, unexpected: list[str]) -> tuple[Outcome, ...]:
    looked_at = quantities_hash(period.recorded, period.corrections)
    raw: dict[str, Quantity] = {}
    for key, wanted in period.wanted.items():
        if wanted in seen.errors:
            raise seen.errors[wanted]
        raw[key] = seen.found[wanted]
    unusable = {key: quantity.unusable for key, quantity in raw.items() if quantity.unusable}
    problems = {
        Gate.QUANTITIES_MATCH_RAW: _differences(period, raw),
        Gate.IDENTITIES_COUNT_ONCE: [
            f"{record.price_id}: identities are compared up to {reconciled}, it was read at {record.watermark}"
            for record in period.recorded
            if record.watermark > reconciled
        ],
        Gate.EVENTS_ARE_USABLE: [f"{key}: {count} events without a usable value" for key, count in unusable.items()],
        Gate.AS_EXPECTED: unexpected,
    }
    return tuple(
        Outcome(
            gate,
            period.due.scope,
            period.due.subject,
            looked_at,
            not found,
            {"problems": found, "unusable": unusable} if found or unusable else _CLEAR,
        )
        for gate, found in problems.items()
    )


def _differences(period: _Looked, raw: Mapping[str, Quantity]) -> list[str]:
    differences = [f"{key}: there is no quantity" for key in period.missing]
    for key, quantity in raw.items():
        record = period.known[key]
        counted = "0" if quantity.value is None else canonical(quantity.value)
        if (canonical(record.quantity), record.events) != (counted, quantity.events):
            differences.append(
                f"{key}: recorded {canonical(record.quantity)} from {record.events} events, "
                f"the events say {counted} from {quantity.events}"
            )
        elif record.quantity_hash != quantity.quantity_hash:
            differences.append(f"{key}: recorded from other events than there are")
    return differences
