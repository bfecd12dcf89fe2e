"""Random contracts, their events sent to the warehouse and billed by the whole line, against the model of the rules."""

import json
import random
from collections.abc import Iterable
from datetime import datetime

import pytest

from billing.invoice import InvoiceStatus
from ingestion.event import Event
from ingestion.writer import EventWriter
from pipelines.steps.collect_quantities import collect_quantities
from pipelines.steps.draft_invoices import draft_invoices
from pipelines.steps.finalize_invoices import finalize_invoices
from pipelines.steps.gate_quantities import gate_quantities
from pipelines.steps.gate_totals import gate_totals
from pipelines.steps.price_invoices import price_invoices
from tests.integration.pipelines.stage import Stage
from tests.support.billed_case import BilledCase
from tests.support.invoice_model.bodies import invoice_body
from tests.support.invoice_model.contracts import contract
from tests.support.invoice_model.invoices import unadjusted
from tests.support.invoice_model.periods import instant

START, END = instant("2023-12-31T00:00:00Z"), instant("2024-05-01T00:00:00Z")


def send(stage: Stage, billed: BilledCase) -> None:
    """The case's events; those of somebody else at the same moments are nobody's business."""
    events = [
        Event(
            event_id=f"{customer}-{number}",
            event_name=event["feature"],
            customer_id=customer,
            timestamp=instant(event["at"]),
            properties={"value": event["value"]},
        )
        for customer in ("customer", "somebody_else")
        for number, event in enumerate(billed.case["usage"])
    ]
    if events:
        EventWriter(stage.warehouse).write(billed.scope, events)


def bill_all(stage: Stage, start: datetime, end: datetime) -> None:
    """All the time in one run: quantities, lines, gates, and what is final then."""
    draft_invoices(stage.ledger, start, end, stage.now)
    collect_quantities(stage.ledger, stage.warehouse, start, end, stage.now)
    price_invoices(stage.ledger, start, end, stage.now, "1.0")
    gate_quantities(stage.ledger, stage.warehouse, start, end, stage.now)
    gate_totals(stage.ledger, start, end, stage.now)
    done = finalize_invoices(stage.ledger, start, end, stage.now)
    assert (done.held, done.failures) == ((), ())


def cases(stage: Stage, seed: int, count: int) -> Iterable[BilledCase]:
    r = random.Random(seed)  # noqa: S311 - the same contracts on every machine
    for number in range(count):
        billed = BilledCase(stage.ledger, contract(r), f"contract {seed} {number}")
        for change in billed.case["history"]:
            billed.change(change)
        send(stage, billed)
        yield billed


@pytest.mark.parametrize(("seed", "contracts"), [(100, 4), pytest.param(101, 40, marks=pytest.mark.slow)])
def test_events_become_the_invoices_of_the_model(stage: Stage, seed: int, contracts: int) -> None:
    every = list(cases(stage, seed, contracts))
    bill_all(stage, START, END)
    found = 0
    for billed in every:
        made = billed.invoices()
        assert {invoice.status for invoice in made} <= {InvoiceStatus.FINALIZED}
        # All that was ever written is known: it was, before anything was billed.
        wanted = unadjusted(billed.case, END, lambda due: stage.now)
        # The end of the run is not in it.
        bodies = [invoice_body(invoice, billed.case["currency"]) for invoice in wanted if invoice.due_at < END]
        assert [billed.body_of(invoice) for invoice in made] == bodies, json.dumps(billed.case)
        found += len(made)
    print(f"{contracts} contracts, {found} invoices")
    assert found > contracts
