"""Random customers over months, on the real stores: what they send and change, and the automation that bills them.

Time is the caller's: at each `tick` what has come in since the last one is written, and then what the sensors ask for
is run. The warehouse's own clock says in which order events were received, and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import dagster as dg

from billing.errors import Conflict
from billing.line_adjustment import Treatment
from ingestion.amendment import Amendment
from ingestion.event import Event
from ingestion.rows import open_rows, rows_of
from ingestion.writer import EventWriter
from ledger.store import tenants
from pipelines.definitions import defs
from pipelines.resources import Tally
from pipelines.sensors import close_periods, usage_follows_events
from pipelines.steps.change_prices import PriceChanges, Timing, change_price
from pipelines.steps.chosen import Chosen
from pipelines.steps.correct_event import amend_event, void_event
from pipelines.steps.expected_quantities import Expected
from tests.integration.pipelines.stage import Stage, metadata_of
from tests.support.billed_case import BilledCase
from tests.support.invoice_model.contracts import FEATURES, contract, terms, text
from tests.support.invoice_model.periods import Body, instant
from tests.support.price_model import EXPONENTS
from tests.support.random_notes import Note, credit_something

T = TypeVar("T", "Arrival", "Correction", "Repriced")
DAY = timedelta(days=1)
VALUES = ["1", "2.5", "12", "0.3333", "100", "7.25"]
# Random usage jumps as no customer's does.
_ANYTHING_IS_EXPECTED = Expected(0, Decimal(0), Decimal(0))


@dataclass(frozen=True)
class Arrival:
    """An event that comes in; `again` under an identity that was sent before."""

    at: datetime
    event: Event
    again: bool = False


@dataclass(frozen=True)
class Correction:
    """An event is voided, or amended to other properties."""

    at: datetime
    event_id: str
    value: str | None


@dataclass(frozen=True)
class Repriced:
    """A price of the case is changed in place."""

    at: datetime
    price: str
    terms: Body


@dataclass
class Customer:
    """One contract with its life: what is still to come, and what became of it. `stood` has the events as they stood
    after each tick."""

    billed: BilledCase
    arrivals: list[Arrival]
    corrections: list[Correction]
    prices: list[Repriced]
    counted: dict[str, Body] = field(default_factory=dict)
    stood: dict[datetime, list[Body]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    written: int = 0
    corrected: int = 0
    refused: int = 0

    def final_case(self) -> Body:
        """The contract with its events as they stand now."""
        return self.billed.case | {"usage": list(self.counted.values())}


def a_customer(
    r: random.Random, stage: Stage, name: str, until: datetime, events_a_day: float, late: float = 0
) -> Customer:
    """A random contract, with events and changes up to `until` at the latest; such a share of the events comes `late`,
    by weeks, and each environment has that billed in a way of its own."""
    case = contract(r) | {"usage": []}
    case |= terms(r, case)
    if late:
        case["late_events"] = r.choice([*Treatment]).value
    customer = Customer(BilledCase(stage.ledger, case, name), [], [], list(_price_changes(r, case, until)))
    if late:
        with stage.ledger.begin() as session:
            tenants.set_late_events(session, customer.billed.scope, Treatment(case["late_events"]))
    start = instant(case["subscription"]["start"])
    seconds = int((until - start).total_seconds())
    for number in range(int((until - start) / DAY * events_a_day)):
        at = start + timedelta(seconds=r.randrange(seconds))
        event = Event(r.choice([*FEATURES]), "customer", f"e{number}", at, properties={"value": r.choice(VALUES)})
        delay = r.randint(1, 45) * DAY if r.random() < late else 0 * DAY
        _plan(r, customer, event, min(at + delay, until))
    return customer


def _plan(r: random.Random, customer: Customer, event: Event, at: datetime) -> None:
    """An event that comes at a moment, and now and then once more, with other content too, or is corrected."""
    customer.arrivals.append(Arrival(at, event))
    if r.random() < 0.1:
        value = r.choice(VALUES) if r.random() < 0.3 else event.properties["value"]
        moved = event.timestamp + r.choice([0, 0, 1]) * DAY
        again = Event(event.event_name, "customer", event.event_id, moved, properties={"value": value})
        customer.arrivals.append(Arrival(at + r.randint(1, 40) * DAY, again, again=True))
    if r.random() < 0.06:
        value = r.choice(VALUES) if r.random() < 0.6 else None
        later = timedelta(days=r.randint(0, 20), seconds=1)
        customer.corrections.append(Correction(at + later, event.event_id, value))


def _amount(r: random.Random, currency: str) -> str:
    return format(Decimal(r.randint(1, 30_000)).scaleb(-EXPONENTS[currency]), "f")


def _price_changes(r: random.Random, case: Body, until: datetime) -> Iterator[Repriced]:
    start = instant(case["subscription"]["start"])
    for plan in case["plans"].values():
        for price in plan["prices"]:
            if r.random() < 0.25:
                yield Repriced(start + r.random() * (until - start), price["id"], _dearer(r, price, case["currency"]))


def _dearer(r: random.Random, price: Body, currency: str) -> Body:
    match price["pricing_model"]:
        case "flat":
            return {"amount": _amount(r, currency)}
        case "per_unit":
            return {"unit_price": r.choice(["0.2", "0.0444", "8"])}
        case "package":
            return {"package_price": _amount(r, currency)}
        case "percentage":
            return {"rate": r.choice(["2.5", "44.4444"])}
    return {"tiers": [{**tier, "unit_price": r.choice(["2", "0.5", "0.125"])} for tier in price["tiers"]]}


@dataclass
class Life:
    """The customers on a stage, with a tick `every` so often. `runs` counts what the sensors had run."""

    stage: Stage
    customers: Sequence[Customer]
    r: random.Random
    every: timedelta
    runs: int = 0
    cursors: dict[str, str | None] = field(default_factory=dict)

    def tick(self, now: datetime) -> None:
        """All that has come in by now is written, and then billed as far as it is due."""
        since, self.stage.now = self.stage.now, now
        for customer in self.customers:
            _change(self.stage, customer, since, now)
        came = [(customer, _between(customer.arrivals, since, now)) for customer in self.customers]
        self._send(came)
        for customer, arrivals in came:
            for event in (arrival.event for arrival in arrivals if not arrival.again):
                body = {"feature": event.event_name, "at": text(event.timestamp), "value": event.properties["value"]}
                customer.counted[event.event_id] = body
            for correction in _between(customer.corrections, since, now):
                self._correct(customer, correction, now)
            customer.stood[now] = list(customer.counted.values())
        self._automation()

    def _send(self, came: Sequence[tuple[Customer, Sequence[Arrival]]]) -> None:
        """All customers' events in one insert. What comes again is received later than what came first, though both may
        be in one tick."""
        for again in (False, True):
            rows = []
            for customer, arrivals in came:
                events = [arrival.event for arrival in arrivals if arrival.again is again]
                if events:
                    rows.append(rows_of(customer.billed.scope, "tests", open_rows(events)))
            if rows:
                EventWriter(self.stage.warehouse).insert(b"".join(rows))

    def _correct(self, customer: Customer, correction: Correction, now: datetime) -> None:
        """As a person would; what a final invoice counts already is refused."""
        parts = (self.stage.ledger, self.stage.warehouse, customer.billed.scope, correction.event_id)
        before = customer.counted[correction.event_id]
        if before["value"] == correction.value:
            return
        try:
            if correction.value is None:
                void_event(*parts, None, "sent by mistake", "tests", now)
                del customer.counted[correction.event_id]
            else:
                amended = Amendment("read wrong", None, None, None, None, {"value": correction.value})
                amend_event(*parts, amended, "tests", now)
                customer.counted[correction.event_id] = before | {"value": correction.value}
            customer.corrected += 1
        except Conflict as error:
            if error.code != "period_finalized":
                raise
            customer.refused += 1

    def _automation(self) -> None:
        """What each sensor asks for is run, in this process, and the hourly look for late events."""
        tally = replace(self.stage.tally, expected=_ANYTHING_IS_EXPECTED)
        repository = defs.get_repository_def()
        self._look(tally)
        for sensor in (usage_follows_events, close_periods):
            context = dg.build_sensor_context(
                instance=self.stage.instance,
                cursor=self.cursors.get(sensor.name),
                resources={"tally": tally},
                repository_def=repository,
            )
            asked = sensor.evaluate_tick(context)
            self.cursors[sensor.name] = asked.cursor
            for request in asked.run_requests or []:
                chosen = request.run_config.get("resources", {}).get("tally", {}).get("config", {})
                done = defs.resolve_job_def(sensor.job_name).execute_in_process(
                    instance=self.stage.instance,
                    resources={"tally": replace(tally, chosen=Chosen(**chosen))},
                    partition_key=request.partition_key,
                    run_config={},
                    raise_on_error=False,
                )
                self.runs += 1
                assert done.success, done
                if request.partition_key:
                    finalized = metadata_of(done, "finalized_invoices")
                    assert (finalized["held"], finalized["failed"]) == (0, 0), finalized

    def _look(self, tally: Tally) -> None:
        done = defs.resolve_job_def("late_events").execute_in_process(
            instance=self.stage.instance,
            resources={"tally": tally},
            partition_key=self.stage.now.date().isoformat(),
            raise_on_error=False,
        )
        self.runs += 1
        assert done.success, done
        assert metadata_of(done, "late_adjustments")["failed"] == 0

    def credit_some(self, share: float) -> None:
        """Some customers get something back of a final invoice."""
        for customer in self.customers:
            if self.r.random() < share:
                note = credit_something(customer.billed, self.r, self.stage.now)
                if note is not None:
                    customer.notes.append(note)


def _between(items: Iterable[T], since: datetime, now: datetime) -> list[T]:
    """What happens after `since` and by `now`, in order."""
    return sorted((item for item in items if since < item.at <= now), key=lambda item: item.at)


def _change(stage: Stage, customer: Customer, since: datetime, now: datetime) -> None:
    """What was agreed otherwise since: in the contract, and in its prices."""
    billed = customer.billed
    history = billed.case["history"]
    while customer.written < len(history) and instant(history[customer.written]["created_at"]) <= now:
        billed.change(history[customer.written])
        customer.written += 1
    for repriced in _between(customer.prices, since, now):
        _change_price(stage, billed, repriced, now)


def _change_price(stage: Stage, billed: BilledCase, repriced: Repriced, now: datetime) -> None:
    price = next(
        price for plan in billed.case["plans"].values() for price in plan["prices"] if price["id"] == repriced.price
    )
    with stage.ledger.begin() as session:
        changes = PriceChanges(repriced.terms, None, {})
        change_price(session, billed.scope, "tests", billed.ids[repriced.price], changes, Timing(now), now)
    price.setdefault("versions", []).append({"effective_from": text(now), "terms": repriced.terms})
