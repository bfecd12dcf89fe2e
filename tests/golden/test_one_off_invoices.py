"""Invoices that are made by hand, one case a file: items and taxes in, amounts out. They were worked out by hand."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from billing.adjustments.adjust import InvoiceTerms, TaxTerms, adjust
from billing.exact import canonical
from billing.one_off import OneOffItem, one_off_lines
from tests.support.ledger_rows import JANUARY

CASES = sorted((Path(__file__).parent / "one_off").glob("*.json"))


def item(body: dict[str, str]) -> OneOffItem:
    numbers = {name: Decimal(value) for name, value in body.items() if name != "display_name"}
    return OneOffItem(body["display_name"], **numbers)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_items_and_taxes_make_this_invoice(path: Path) -> None:
    case: dict[str, Any] = json.loads(path.read_text())
    rates = tuple(
        TaxTerms(rate["id"], rate["id"], Decimal(rate["percentage"]), rate.get("inclusive", False))
        for rate in case["tax_rates"]
    )
    lines = one_off_lines([item(body) for body in case["items"]], case["currency"], JANUARY)
    made = adjust(lines, InvoiceTerms(taxes=rates), case["currency"])
    assert case["invoice"] == {
        "lines": [
            {
                "key": line.key,
                "quantity": canonical(line.quantity),
                "unrounded": canonical(line.unrounded),
                "amount": str(line.amount),
                "taxes": {share.id: str(share.amount) for share in line.taxes},
            }
            for line in made.lines
        ],
        "subtotal": str(made.subtotal),
        "taxes": {tax.terms.id: str(tax.amount) for tax in made.taxes},
        "total": str(made.total),
    }
