"""Customers with random lives, billed by the automation for months, against the model of the rules.

The sum of what they were billed and given back is what the model works out of the events as they finally stand.
"""

import json
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from billing.invoice import InvoiceStatus
from ledger.store import credit_grants, credit_notes
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


def live(stage: Stage, seed: int, customers: int, until: datetime, every: timedelta, events_a_day: float) -> Life:
    """All ticks from the first of January on."""
    r = random.Random(seed)  # noqa: S311 - the same lives on every machine
    stage.now = FIRST - every
    found = Life(stage, [a_customer(r, stage, f"life {seed} {n}", until, events_a_day) for n in range(customers)], r)
    now = FIRST
    while now <= until:
        found.tick(now)
        found.credit_some(0.2)
        now += every
    return found


def assert_billed_as_the_model_says(found: Life, every: timedelta) -> tuple[int, int]:
    """Each invoice and credit note, and their sum; how many there were of each."""
    last = found.stage.now

    def final_at(due: datetime) -> datetime:
        """The first tick after the grace."""
        return FIRST + max(0, -((FIRST - due - GRACE) // every)) * every

    ticks = [FIRST + number * every for number in range((last - FIRST) // every + 1)]
    made = noted = 0
    sums: defaultdict[str, Fraction] = defaultdict(Fraction)
    wanted: defaultdict[str, Fraction] = defaultdict(Fraction)
    for customer in found.customers:
        case, currency = customer.final_case(), customer.billed.case["currency"]
        model = [one for one in life(case, last, final_at, ticks) if one.due_at + GRACE <= last]
        name_credit_of_invoices(customer.billed)
        real = customer.billed.invoices()
        assert {invoice.status for invoice in real} <= {InvoiceStatus.FINALIZED}
        bodies = [invoice_body(invoice, currency) for invoice in model]
        assert [customer.billed.body_of(invoice) for invoice in real] == bodies, json.dumps(case)
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


@pytest.mark.parametrize(
    ("seed", "customers", "months", "days"),
    [
        pytest.param(300, 6, 2, 7, id="six weeks"),
        pytest.param(301, 200, 12, 7, id="a year", marks=pytest.mark.slow),
    ],
)
def test_M1_what_customers_are_billed_over_time_is_what_the_model_bills_for_their_events(
    stage: Stage, seed: int, customers: int, months: int, days: int
) -> None:
    every = timedelta(days=days)
    until = datetime(2024 + months // 12, months % 12 + 1, 15, tzinfo=UTC)
    found = live(stage, seed, customers, until, every, 0.5)
    made, noted = assert_billed_as_the_model_says(found, every)
    print(
        f"\n{customers} customers, {made} invoices, {noted} credit notes, {found.runs} runs, "
        f"{sum(customer.corrected for customer in found.customers)} corrections, "
        f"{sum(customer.refused for customer in found.customers)} refused"
    )
    assert made > customers
