"""The worked examples of docs/catalog.md: every pricing model has one, and its output is true."""

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from billing.explain import explain
from billing.price import PricingModel, parse_price
from billing.rating import rate

PAGE = (Path(__file__).parents[3] / "docs" / "catalog.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^### (.+?)$.*?^```json\n(.*?)^```\n\n^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("name", "body", "output"), EXAMPLES, ids=[name for name, _, _ in EXAMPLES])
def test_the_output_of_a_worked_example_is_true(name: str, body: str, output: str) -> None:
    asked = json.loads(body, parse_float=Decimal)
    price = parse_price(asked["price"])
    rated = rate(price, Decimal(asked["quantity"]), asked["currency"])
    assert explain(price, rated, asked["currency"]) == output.rstrip("\n"), name


def test_every_pricing_model_has_an_example() -> None:
    assert {json.loads(body)["price"]["pricing_model"] for _, body, _ in EXAMPLES} == {*PricingModel}
