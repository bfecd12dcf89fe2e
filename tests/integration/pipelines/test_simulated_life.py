"""Customers with random lives, billed by the automation for months, against the model of the rules.

The sum of what they were billed and given back is what the model works out of the events as they finally stand.
"""

import json
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest

from billing.invoice import InvoiceStatus
from billing.line_adjustment import AdjustmentState
from ledger.db import Ledger
from ledger.store import credit_grants, line_adjustments
from ledger.store.invoices import InvoiceRecord
from ledger.store.line_adjustments import AdjustmentRecord
from tests.integration.pipelines.stage import Stage
from tests.support.billed_case import BilledCase
from tests.support.invoice_model.bodies import invoice_body
from tests.support.invoice_model.invoices import Invoice
from tests.support.invoice_model.life import Lived, life
from tests.support.invoice_model.periods import Body
from tests.support.random_notes import as_asked, name_of_real, notes_of
from tests.support.random_notes import of_the_model as of_note
from tests.support.simulated_life import Customer, Life, a_customer

FIRST = datetime(2024, 1, 1, 2, tzinfo=UTC)
GRACE = timedelta(hours=1)


def live(stage: Stage, seed: int, customers: int, until: datetime, every: timedelta, late: float = 0) -> Life:
    """All ticks from the first of January on; without credit notes where events come late."""
    r = random.Random(seed)  # noqa: S311 - the same lives on every machine
    stage.now = FIRST - every
    who = [a_customer(r, stage, f"life {seed} {n}", until, events_a_day=0.5, late=late) for n in range(customers)]
    found = Life(stage, who, r, every)
    for now in ticks(until, every):
        found.tick(now)
        found.credit_some(0 if late else 0.2)
    return found


def ticks(until: datetime, every: timedelta) -> list[datetime]:
    return [FIRST + number * every for number in range((until - FIRST) // every + 1)]


def final_at(every: timedelta, due: datetime) -> datetime:
    """The first tick after the grace."""
    return FIRST + max(0, -((FIRST - due - GRACE) // every)) * every


def of_the_model(found: Life, customer: Customer, *, in_time: bool = False) -> Lived:
    """What the model bills by the last tick: for the events as they came, or as if they had all come in time."""
    asked, last = as_asked(customer.billed, customer.notes), found.stage.now
    usage_at = None if in_time else customer.stood.__getitem__
    looks = ticks(last, found.every)
    return life(customer.final_case(), last - GRACE, partial(final_at, found.every), looks, usage_at, asked)


def adjustments_of(billed: BilledCase) -> list[AdjustmentRecord]:
    """All of them, the first found first."""
    found: list[AdjustmentRecord] = []
    cursor: str | None = None
    with billed.ledger.read() as session:
        while True:
            page = line_adjustments.list_adjustments(session, billed.scope, cursor=cursor, limit=100)
            found, cursor = [*found, *page.items], page.next_cursor
            if cursor is None:
                return found[::-1]


@dataclass
class Compared:
    """How much was the same."""

    invoices: int = 0
    separate: int = 0
    lines: int = 0
    asked: int = 0
    notes: int = 0
    adjustments: int = 0
    waiting: int = 0


def assert_billed_as_the_model_says(found: Life) -> Compared:
    """Each invoice with its lines, discounts, taxes and credits, each credit note, and what waits; and their sum."""
    compared = Compared()
    sums: defaultdict[str, Fraction] = defaultdict(Fraction)
    wanted: defaultdict[str, Fraction] = defaultdict(Fraction)
    for customer in found.customers:
        billed, currency = customer.billed, customer.billed.case["currency"]
        model, adjusted = of_the_model(found, customer), adjustments_of(billed)
        real = name_what_came_of_invoices(billed, adjusted)
        assert {invoice.status for invoice in real} <= {InvoiceStatus.FINALIZED}
        told = json.dumps(customer.final_case())
        separate = sorted(
            (invoice for invoice in real if invoice.billing_reason == "adjustment"), key=lambda invoice: invoice.id
        )
        regular = [invoice for invoice in real if invoice.billing_reason != "adjustment"]
        assert bodies(billed, regular) == [invoice_body(invoice, currency) for invoice in model.invoices], told
        assert bodies(billed, separate) == [invoice_body(invoice, currency) for invoice in model.separate], told
        noted = assert_credited_as_the_model_says(customer, model)
        waiting = [one for one in adjusted if one.state is AdjustmentState.PENDING]
        assert sorted((billed.adjusted[one.id], Fraction(one.amount)) for one in waiting) == sorted(
            (one.key, one.amount) for one in model.waiting
        ), told
        sums[currency] += sum((Fraction(invoice.total - invoice.amount_credited) for invoice in real), Fraction(0))
        wanted[currency] += sum((one.total for one in (*model.invoices, *model.separate)), Fraction(0)) - noted
        compared.invoices += len(regular)
        compared.separate += len(separate)
        compared.lines += sum(len(invoice.lines) for invoice in real)
        compared.asked += len(customer.notes)
        compared.notes += len(model.notes)
        compared.adjustments += len(adjusted)
        compared.waiting += len(waiting)
    assert sums == wanted
    return compared


def bodies(billed: BilledCase, some: list[InvoiceRecord]) -> list[Body]:
    return [billed.body_of(invoice) for invoice in some]


def name_what_came_of_invoices(billed: BilledCase, adjusted: list[AdjustmentRecord]) -> list[InvoiceRecord]:
    """The invoices, after what became credit of them, and adjustments of their lines, are called as in the model."""
    real = billed.invoices()
    of_line = {line.id: (invoice, line) for invoice in real for line in invoice.own_lines}
    for one in adjusted:
        invoice, line = of_line[one.line_id]
        billed.adjusted[one.id] = f"adjustment of {billed.key_of(line)} of {name_of_real(invoice)}"
    for invoice in real:
        if invoice.total < 0:
            with billed.ledger.read() as session:
                grant = credit_grants.grant_of(session, billed.scope, "negative_invoice", invoice.id)
            assert grant is not None
            billed.ids[name_of_real(invoice)] = grant.id
    return real


def assert_credited_as_the_model_says(customer: Customer, model: Lived) -> Fraction:
    """Each note line by line, those that somebody asked for and those for late events; their sum."""
    notes, asked = notes_of(customer.billed), {note.note_id for note in customer.notes}
    assert [notes[note.note_id][1] for note in customer.notes] == [of_note(note) for note in model.asked]
    found = [told for note_id, told in notes.items() if note_id not in asked]
    assert sorted(found) == sorted((note.invoice, of_note(note.lines)) for note in model.notes)
    every = [*model.asked, *(note.lines for note in model.notes)]
    return sum((part.amount for note in every for part in note), Fraction(0))


def size_of(ledger: Ledger) -> int:
    """Kilobytes of its file, what is not written back to it yet included."""
    return sum(file.stat().st_size for file in Path(ledger.url.database or "").parent.glob("ledger.db*")) // 1000


def end_of(months: int) -> datetime:
    """The middle of the month after so many."""
    return datetime(2024 + months // 12, months % 12 + 1, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seed", "customers", "months", "days"),
    [pytest.param(300, 6, 2, 14, id="ten weeks"), pytest.param(301, 200, 12, 7, id="a year", marks=pytest.mark.slow)],
)
def test_M1_what_customers_are_billed_over_time_is_what_the_model_bills_for_their_events(
    stage: Stage, seed: int, customers: int, months: int, days: int
) -> None:
    found = live(stage, seed, customers, end_of(months), timedelta(days))
    compared = assert_billed_as_the_model_says(found)
    print(
        f"\n{customers} customers, {compared}, {found.runs} runs, "
        f"{sum(customer.corrected for customer in found.customers)} corrections, "
        f"{sum(customer.refused for customer in found.customers)} refused, ledger {size_of(stage.ledger)} kB"
    )
    assert compared.invoices > customers
    assert compared.asked


@pytest.mark.parametrize(
    ("seed", "customers", "months", "days"),
    [pytest.param(402, 4, 3, 14, id="a quarter"), pytest.param(401, 200, 12, 7, id="a year", marks=pytest.mark.slow)],
)
def test_M5_with_late_events_all_that_is_billed_in_the_end_is_what_it_would_have_been_in_time(
    stage: Stage, seed: int, customers: int, months: int, days: int
) -> None:
    found = live(stage, seed, customers, end_of(months), timedelta(days), late=0.2)
    compared = assert_billed_as_the_model_says(found)
    in_time = 0
    for customer in found.customers:
        if any(discount["duration"] == "once" for discount in customer.billed.case.get("discounts", [])):
            # It may have been taken off a later invoice than it would have been.
            continue
        model = of_the_model(found, customer)
        notes = sum((part.net for note in model.notes for part in note.lines), Fraction(0))
        waiting = sum((one.amount for one in model.waiting), Fraction(0))
        owed = net_of(of_the_model(found, customer, in_time=True).invoices)
        assert net_of([*model.invoices, *model.separate]) - notes + waiting == owed, json.dumps(customer.final_case())
        in_time += 1
    print(f"\n{customers} customers, {compared}, {found.runs} runs, {in_time} compared with all in time")
    assert compared.adjustments > compared.waiting
    assert in_time


def net_of(some: list[Invoice]) -> Fraction:
    """What they come to less discounts, without taxes on top."""
    return sum((invoice.subtotal - invoice.discount_total for invoice in some), Fraction(0))
