"""Random contracts with their history, billed by the pipeline in a ledger, against `tests.support.invoice_model`."""

import json
import random
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from ledger.db import Ledger
from tests.support.billed_case import BilledCase, bill
from tests.support.invoice_model.bodies import invoice_body
from tests.support.invoice_model.contracts import contract, terms
from tests.support.invoice_model.invoices import unadjusted
from tests.support.invoice_model.life import life
from tests.support.invoice_model.periods import instant
from tests.support.random_notes import Note, as_asked, credit_something, notes_of, of_the_model
from tests.support.sqlite_ledger import ledger

__all__ = ["ledger"]

FIRST = instant("2024-01-01T00:00:00Z")
TICK = timedelta(microseconds=1)
# What a run takes together: long, since what a ledger costs is mostly by the run.
RUN = timedelta(days=14)
RUNS = 12


def end_of_run(moment: datetime) -> datetime:
    """The last tick of the run that bills what falls due at a moment, which knows all that was written by then."""
    return FIRST + ((moment - FIRST) // RUN + 1) * RUN - TICK


def model_invoices(case: dict[str, Any]) -> list[Any]:
    return [
        (
            (invoice.billing_reason, invoice.period.start, invoice.period.end),
            invoice.subtotal,
            [(line.key, tuple(line.span), line.quantity, line.amount) for line in invoice.lines],
        )
        for invoice in unadjusted(case, FIRST + RUNS * RUN - TICK, end_of_run)
    ]


def real_invoices(billed: BilledCase) -> list[Any]:
    return [
        (
            (invoice.billing_reason.value, invoice.period.start, invoice.period.end),
            Fraction(invoice.subtotal),
            [
                (
                    billed.key_of(line),
                    (line.period.start, line.period.end),
                    Fraction(line.quantity),
                    Fraction(line.amount),
                )
                for line in invoice.lines
            ],
        )
        for invoice in billed.invoices()
    ]


@pytest.mark.parametrize(
    ("seed", "contracts"), [(0, 8), *(pytest.param(seed, 50, marks=pytest.mark.slow) for seed in range(1, 21))]
)
def test_the_invoices_of_any_contract_are_those_of_the_model(seed: int, contracts: int, ledger: Ledger) -> None:
    r = random.Random(seed)  # noqa: S311 - the same contracts on every machine
    every = [BilledCase(ledger, contract(r), f"contract {number}") for number in range(contracts)]
    bill(every, [(FIRST + run * RUN, FIRST + (run + 1) * RUN) for run in range(RUNS)])
    found = 0
    for billed in every:
        wanted = model_invoices(billed.case)
        assert real_invoices(billed) == wanted, json.dumps(billed.case)
        found += len(wanted)
    print(f"{contracts} contracts, {found} invoices")
    assert found > 2 * contracts


@pytest.mark.parametrize(
    ("seed", "contracts"), [(200, 8), *(pytest.param(seed, 50, marks=pytest.mark.slow) for seed in range(201, 206))]
)
def test_notes_and_settlements_of_advances_give_back_what_the_model_says_in_any_order(
    seed: int, contracts: int, ledger: Ledger
) -> None:
    r = random.Random(seed)  # noqa: S311 - the same contracts on every machine
    bodies = [contract(r) for _ in range(contracts)]
    # What is final here draws no credit.
    bodies = [body | {name: one for name, one in terms(r, body).items() if name != "credits"} for body in bodies]
    every = [BilledCase(ledger, body, f"contract {number}") for number, body in enumerate(bodies)]
    notes: dict[str, list[Note]] = {billed.name: [] for billed in every}

    def credit_some(end: datetime) -> None:
        for billed in every:
            note = credit_something(billed, r, end) if r.random() < 0.4 else None
            if note is not None:
                notes[billed.name].append(note)

    bill(every, [(FIRST + run * RUN, FIRST + (run + 1) * RUN) for run in range(RUNS)], credit_some)
    ends = [FIRST + (run + 1) * RUN - TICK for run in range(RUNS)]
    of_advances = 0
    for billed in every:
        asked, told = notes[billed.name], notes_of(billed)
        model = life(billed.case, ends[-1], end_of_run, ends, asked=as_asked(billed, asked))
        wanted = [invoice_body(invoice, billed.case["currency"]) for invoice in model.invoices]
        assert [billed.body_of(invoice) for invoice in billed.invoices()] == wanted, json.dumps(billed.case)
        assert [told[note.note_id][1] for note in asked] == [of_the_model(note) for note in model.asked]
        of_advances += sum("~advance" in part.key for note in model.asked for part in note)
    print(f"{contracts} contracts, {sum(map(len, notes.values()))} notes, {of_advances} lines of advances")
    assert of_advances
