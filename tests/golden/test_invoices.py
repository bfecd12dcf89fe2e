"""Whole invoices as they have to be, one case a file: contract, history and events in, invoices out.

`why` says in words how the amounts come about. They were worked out by `tests.support.invoice_model`, which knows the
rules and not our code, and looked at by people; here the pipeline makes the same invoices in a ledger.
"""

import json
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from ledger.db import Ledger
from tests.support.billed_case import BilledCase, bill
from tests.support.invoice_model.bodies import invoice_body
from tests.support.invoice_model.invoices import invoices
from tests.support.invoice_model.periods import Body, instant
from tests.support.sqlite_ledger import ledger

__all__ = ["ledger"]

TICK = timedelta(microseconds=1)
CASES = sorted((Path(__file__).parent / "invoices").glob("*.json"))


def case_of(path: Path) -> Body:
    body: Body = json.loads(path.read_text())
    return body


def windows_of(case: Body) -> list[tuple[datetime, datetime]]:
    """A billing run at each moment at which an invoice falls due, and at last one over all the time, in which nothing
    more may be found."""
    start, end = instant(case["subscription"]["start"]), instant(case["until"]) + TICK
    at_start = {"subscription_start": 0, "subscription_cycle": 1}
    dues = [instant(invoice["period"][at_start[invoice["billing_reason"]]]) for invoice in case["invoices"]]
    assert all(before < after for before, after in pairwise(dues)), "invoices in the order in which they fall due"
    return [*((due, due + TICK) for due in dues), (start, end)]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_pipeline_makes_these_invoices(path: Path, ledger: Ledger) -> None:
    case = case_of(path)
    billed = BilledCase(ledger, case, path.stem)
    bill([billed], windows_of(case))
    assert [billed.body_of(invoice) for invoice in billed.invoices()] == case["invoices"]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_model_makes_these_invoices(path: Path) -> None:
    case = case_of(path)
    assert [invoice_body(invoice, case["currency"]) for invoice in invoices(case, case["until"])] == case["invoices"]
