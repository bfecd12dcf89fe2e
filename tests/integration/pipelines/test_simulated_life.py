"""Customers with random lives, billed by the automation for months, against the model of the rules.

The sum of what they were billed and given back is what the model works out of the events as they finally stand.
"""

import json
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from billing.invoice import InvoiceStatus
from billing.line_adjustment import AdjustmentState
from ledger.db import Ledger
from ledger.store import credit_grants, credit_notes, line_adjustments
from tests.integration.pipelines.stage import Stage
from tests.support.billed_case import BilledCase
from tests.support.invoice_model.bodies import invoice_body
from tests.support.invoice_model.credit_notes import credit, left_of
from tests.support.invoice_model.invoices import Invoice
from tests.support.invoice_model.life import life
from tests.support.price_model import EXPONENTS
from tests.support.simulated_life import Customer, Life, a_customer

FIRST = datetime(2024, 1, 1, 2, tzinfo=UTC)
GRACE = timedelta(hours=1)
EVERY = timedelta(days=7)


def live(stage: Stage, seed: int, customers: int, until: datetime, late: float = 0) -> Life:
    """All ticks from the first of January on; without credit notes where events come late."""
    r = random.Random(seed)  # noqa: S311 - the same lives on every machine
    stage.now = FIRST - EVERY
    every = [a_customer(r, stage, f"life {seed} {n}", until, events_a_day=0.5, late=late) for n in range(customers)]
    found = Life(stage, every, r)
    for now in ticks(until):
        found.tick(now)
        found.credit_some(0 if late else 0.2)
    return found


def ticks(until: datetime) -> list[datetime]:
    return [FIRST + number * EVERY for number in range((until - FIRST) // EVERY + 1)]


def final_at(due: datetime) -> datetime:
    """The first tick after the grace."""
    return FIRST + max(0, -((FIRST - due - GRACE) // EVERY)) * EVERY


def of_the_model(customer: Customer, last: datetime) -> list[Invoice]:
    """What the model bills by the last tick for the events as they stand now."""
    found = life(customer.final_case(), last, final_at, ticks(last))
    return [invoice for invoice in found if invoice.due_at + GRACE <= last]


def assert_billed_as_the_model_says(found: Life) -> tuple[int, int]:
    """Each invoice and credit note, and their sum; how many there were of each."""
    made = noted = 0
    sums: defaultdict[str, Fraction] = defaultdict(Fraction)
    wanted: defaultdict[str, Fraction] = defaultdict(Fraction)
    for customer in found.customers:
        currency, model = customer.billed.case["currency"], of_the_model(customer, found.stage.now)
        name_credit_of_invoices(customer.billed)
        real = customer.billed.invoices()
        assert {invoice.status for invoice in real} <= {InvoiceStatus.FINALIZED}
        bodies = [invoice_body(invoice, currency) for invoice in model]
        assert [customer.billed.body_of(invoice) for invoice in real] == bodies, json.dumps(customer.final_case())
        by_invoice = dict(zip((invoice.id for invoice in real), model, strict=True))
        notes = assert_credited_as_the_model_says(customer, by_invoice)
        sums[currency] += sum((Fraction(invoice.total - invoice.amount_credited) for invoice in real), Fraction(0))
        wanted[currency] += sum((invoice.total for invoice in model), Fraction(0)) - notes
        made, noted = made + len(real), noted + len(customer.notes)
    assert sums == wanted
    return made, noted


def name_credit_of_invoices(billed: BilledCase) -> None:
    """What became credit since an invoice was below zero is called as in the model."""
    for invoice in billed.invoices():
        with billed.ledger.read() as session:
            grant = credit_grants.grant_of(session, billed.scope, "negative_invoice", invoice.id)
        if grant is not None:
            billed.ids[f"{invoice.billing_reason} {invoice.period.start.isoformat()}"] = grant.id


def assert_credited_as_the_model_says(customer: Customer, by_invoice: dict[str, Invoice]) -> Fraction:
    """Each note line by line; their sum."""
    billed = customer.billed
    places = EXPONENTS[billed.case["currency"]]
    inclusive = [rate["id"] for rate in billed.case.get("tax_rates", []) if rate["inclusive"]]
    left = {invoice_id: left_of(invoice, inclusive) for invoice_id, invoice in by_invoice.items()}
    lines = {line.id: billed.key_of(line) for invoice in billed.invoices() for line in invoice.lines}
    total = Fraction(0)
    for note in customer.notes:
        wanted = credit(left[note.invoice_id], None if note.amount is None else Fraction(note.amount), places)
        with billed.ledger.read() as session:
            real = credit_notes.get_note(session, billed.scope, note.note_id)
        assert [(lines[part.line_id], part.amount, part.net) for part in real.lines] == [
            (part.key, part.amount, part.net) for part in wanted
        ]
        total += sum((part.amount for part in wanted), Fraction(0))
    return total


def size_of(ledger: Ledger) -> int:
    """Kilobytes of its file, what is not written back to it yet included."""
    return sum(file.stat().st_size for file in Path(ledger.url.database or "").parent.glob("ledger.db*")) // 1000


def end_of(months: int) -> datetime:
    """The middle of the month after so many."""
    return datetime(2024 + months // 12, months % 12 + 1, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seed", "customers", "months"),
    [pytest.param(300, 6, 2, id="ten weeks"), pytest.param(301, 200, 12, id="a year", marks=pytest.mark.slow)],
)
def test_M1_what_customers_are_billed_over_time_is_what_the_model_bills_for_their_events(
    stage: Stage, seed: int, customers: int, months: int
) -> None:
    found = live(stage, seed, customers, end_of(months))
    made, noted = assert_billed_as_the_model_says(found)
    print(
        f"\n{customers} customers, {made} invoices, {noted} credit notes, {found.runs} runs, "
        f"{sum(customer.corrected for customer in found.customers)} corrections, "
        f"{sum(customer.refused for customer in found.customers)} refused, ledger {size_of(stage.ledger)} kB"
    )
    assert made > customers


@pytest.mark.parametrize(
    ("seed", "customers", "months"),
    [pytest.param(400, 5, 3, id="a quarter"), pytest.param(401, 200, 12, id="a year", marks=pytest.mark.slow)],
)
def test_M5_with_late_events_all_that_is_billed_in_the_end_is_what_it_would_have_been_in_time(
    stage: Stage, seed: int, customers: int, months: int
) -> None:
    found = live(stage, seed, customers, end_of(months), late=0.2)
    adjusted = 0
    for customer in found.customers:
        billed = customer.billed
        with billed.ledger.read() as session:
            page = line_adjustments.list_adjustments(
                session, billed.scope, subscription_id=billed.subscription_id, limit=100
            )
        assert page.next_cursor is None
        lines = [line for invoice in billed.invoices() for line in invoice.lines]
        assert {invoice.status for invoice in billed.invoices()} <= {InvoiceStatus.FINALIZED}
        apart = [one.amount for one in page.items if one.state is not AdjustmentState.BILLED]
        carried = sorted(one.amount for one in page.items if one.state is AdjustmentState.BILLED)
        assert sorted(line.amount for line in lines if line.price_type == "adjustment") == carried
        adjusted += len(carried)
        owed = sum((invoice.subtotal for invoice in of_the_model(customer, found.stage.now)), Fraction(0))
        assert Fraction(sum((line.amount for line in lines), sum(apart, Decimal(0)))) == owed, customer.billed.case
    print(f"\n{customers} customers, {found.runs} runs, {adjusted} adjustments")
    assert adjusted
