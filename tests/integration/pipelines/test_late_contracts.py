"""Random contracts whose events come in any order: in the end is billed what the model bills for all of them."""

import json
import random
from datetime import datetime
from fractions import Fraction
from typing import Any

import pytest

from billing.invoice import InvoiceStatus
from billing.line_adjustment import AdjustmentState, Treatment
from ingestion.event import Event
from ingestion.writer import EventWriter
from ledger.store import credit_notes, invoices, line_adjustments, tenants
from pipelines.steps.late_usage import find_late_usage
from pipelines.steps.settle_adjustments import settle_adjustments
from tests.integration.pipelines.stage import Stage
from tests.integration.pipelines.test_random_contracts import START, bill_all
from tests.support.billed_case import BilledCase
from tests.support.invoice_model.contracts import contract
from tests.support.invoice_model.invoices import unadjusted
from tests.support.invoice_model.periods import instant

# Billed up to each of these; what falls due at the last one is not in it any more.
RUNS = [instant(f"2024-{day}T00:00:00Z") for day in ("02-12", "03-16", "04-07", "05-01")]
END = RUNS[-1]
ALL_IS_KNOWN = instant("2025-01-01T00:00:00Z")


def arrivals(r: random.Random, case: dict[str, Any]) -> list[list[tuple[int, dict[str, Any]]]]:
    """The case's events by the run before which they arrive, those of the last entry after all of them."""
    rounds: list[list[tuple[int, dict[str, Any]]]] = [[] for _ in range(len(RUNS) + 1)]
    for number, event in enumerate(case["usage"]):
        rounds[r.choice([0, 0, 1, 2, 3, 4])].append((number, event))
    return rounds


def send(stage: Stage, billed: BilledCase, some: list[tuple[int, dict[str, Any]]]) -> None:
    events = [
        Event(
            event_id=f"customer-{number}",
            event_name=event["feature"],
            customer_id="customer",
            timestamp=instant(event["at"]),
            properties={"value": event["value"]},
        )
        for number, event in some
    ]
    if events:
        EventWriter(stage.warehouse).write(billed.scope, events)


def look(stage: Stage, now: datetime) -> None:
    stage.now = now
    assert find_late_usage(stage.ledger, stage.warehouse, now).failures == ()
    assert settle_adjustments(stage.ledger, now).failures == ()


def billed_net(stage: Stage, billed: BilledCase) -> tuple[Fraction, list[AdjustmentState]]:
    """What invoices, credit notes and what still waits come to, and what became of the adjustments."""
    with stage.ledger.read() as session:
        made = invoices.list_invoices(session, billed.scope, limit=100).items
        notes = credit_notes.list_notes(session, billed.scope, limit=100).items
        adjusted = line_adjustments.list_adjustments(session, billed.scope, limit=100).items
    assert {invoice.status for invoice in made} <= {InvoiceStatus.FINALIZED}
    assert all(note.tax_total == 0 for note in notes)
    waiting = [one for one in adjusted if one.state is AdjustmentState.PENDING]
    total = sum((Fraction(invoice.subtotal - invoice.discount_total) for invoice in made), Fraction(0))
    total -= sum((Fraction(note.total) for note in notes), Fraction(0))
    return total + sum((Fraction(one.amount) for one in waiting), Fraction(0)), [one.state for one in adjusted]


@pytest.mark.parametrize(
    ("seed", "contracts"), [(7, 4), *(pytest.param(seed, 40, marks=pytest.mark.slow) for seed in (8, 9))]
)
def test_M5_in_the_end_is_billed_what_the_model_bills_for_the_events_as_they_stand(
    stage: Stage, seed: int, contracts: int
) -> None:
    r = random.Random(seed)  # noqa: S311 - the same contracts on every machine
    every = [BilledCase(stage.ledger, contract(r), f"late {seed} {number}") for number in range(contracts)]
    rounds = [arrivals(r, billed.case) for billed in every]
    for billed in every:
        for change in billed.case["history"]:
            billed.change(change)
        with stage.ledger.begin() as session:
            tenants.set_late_events(session, billed.scope, r.choice([*Treatment]))
    for number, end in enumerate(RUNS):
        for billed, some in zip(every, rounds, strict=True):
            send(stage, billed, some[number])
        for _ in range(r.choice([1, 2])):
            look(stage, end)
        bill_all(stage, START, end)
    for billed, some in zip(every, rounds, strict=True):
        send(stage, billed, some[-1])
        with stage.ledger.begin() as session:
            tenants.set_late_events(session, billed.scope, Treatment.SEPARATE_INVOICE)
    for _ in range(2):
        look(stage, END)
    states: list[AdjustmentState] = []
    for billed in every:
        found, became = billed_net(stage, billed)
        # All that was ever written is known: it was, before anything was billed.
        wanted = unadjusted(billed.case, END, lambda due: ALL_IS_KNOWN)
        assert found == sum((one.subtotal for one in wanted if one.due_at < END), Fraction(0)), json.dumps(billed.case)
        states += became
    print(f"{contracts} contracts, {len(states)} adjustments: { ({state.value for state in states}) }")
    assert AdjustmentState.BILLED in states
