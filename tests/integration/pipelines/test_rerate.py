"""Final periods are rated again without touching anything, and chosen differences are billed once, by somebody."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from billing.line_adjustment import AdjustmentCause, AdjustmentState, Treatment
from billing.price import parse_price
from cli.main import app
from ledger.store import audit, plans
from ledger.store.price_changes import revise_price
from pipelines.steps.chosen import Chosen
from pipelines.steps.rerate import Decision, RerateWanted, apply_rerate, frame_of, rerate
from pipelines.steps.settle_adjustments import settle_adjustments
from tests.integration.pipelines.late import OCTOBER_10, adjustments, bill_up_to, by_month, look, october
from tests.integration.pipelines.stage import BILLING_DAY, Shop, Stage
from tests.support.api_stack import new_key

DAY = datetime(BILLING_DAY.year, BILLING_DAY.month, BILLING_DAY.day, tzinfo=UTC)
WANTED = RerateWanted(DAY, DAY + timedelta(days=1))
LATER = datetime(2024, 11, 20, tzinfo=UTC)
HALF = parse_price(
    {
        "pricing_model": "tiered",
        "tiers": [
            {"up_to": 1000, "unit_price": "0.005", "flat_fee": "5.00"},
            {"up_to": None, "unit_price": "0.004"},
        ],
    }
)
DECISION = Decision("Dana Smith", "the discount agreed in January", "tests")


def dump(stage: Stage) -> list[str]:
    """Everything that the ledger holds."""
    with sqlite3.connect(stage.ledger.url.database or "") as connection:
        return list(connection.iterdump())


def cheaper(stage: Stage, shop: Shop) -> RerateWanted:
    """October by a second version of its price: half of it."""
    with stage.ledger.begin() as session:
        (price,) = plans.get_plan(session, shop.scope, shop.plan_id).prices
        made = revise_price(session, shop.scope, price.id, HALF, LATER, stage.now)
    return RerateWanted(DAY, DAY + timedelta(days=1), versions={price.id: made.version})


def test_M5_rating_again_shows_what_differs_and_touches_nothing(stage: Stage, tmp_path: Path) -> None:
    shop, _ = october(stage)
    stage.send(shop, 600, first=900, at=OCTOBER_10)
    before = dump(stage)
    told: list[tuple[int, int]] = []
    found = rerate(stage.ledger, stage.warehouse, shop.scope, WANTED, lambda done, of: told.append((done, of)))
    assert dump(stage) == before
    (each,) = found.differences
    assert (each.billed, each.rated.due, each.amount) == (Decimal("19.00"), Decimal("24.00"), Decimal("5.00"))
    assert (found.invoices, found.lines, told) == (1, 1, [(1, 1)])
    frame_of(found).write_parquet(tmp_path / "differences.parquet")
    (row,) = pl.read_parquet(tmp_path / "differences.parquet").to_dicts()
    assert (row["invoice_number"], row["billed_quantity"], row["quantity"], row["difference"]) == (
        "INV-202411-00001",
        "900",
        "1500",
        Decimal("5.0000"),
    )
    # What a look has recorded already is no difference any more.
    look(stage, LATER)
    assert rerate(stage.ledger, stage.warehouse, shop.scope, WANTED).differences == ()


def test_M5_a_chosen_difference_is_credited_once_and_audited(stage: Stage) -> None:
    shop, _ = october(stage)
    wanted = cheaper(stage, shop)
    (each,) = rerate(stage.ledger, stage.warehouse, shop.scope, wanted).differences
    assert (each.amount, each.rated.price.version) == (Decimal("-9.50"), 2)
    decided = Decision("Dana Smith", "ticket 4711", "tests", [each.invoice.id], treatment=Treatment.CREDIT_NOTE)
    chosen = Chosen(shop.scope.tenant_id, shop.scope.environment_id)
    for times in (1, 0):
        applied = apply_rerate(stage.ledger, stage.warehouse, shop.scope, wanted, decided, LATER)
        settled = settle_adjustments(stage.ledger, LATER, chosen)
        assert (len(applied.adjustments), len(settled.credit_notes), applied.failures) == (times, times, ())
    (record,) = adjustments(stage, shop)
    assert (record.cause, record.state, record.person) == (
        AdjustmentCause.RERATE,
        AdjustmentState.CREDITED,
        "Dana Smith",
    )
    with stage.ledger.read() as session:
        entries = audit.list_entries(session, shop.scope, entity="invoice", entity_id=each.invoice.id).items
    (entry,) = [one for one in entries if one.action == "invoice.rerated"]
    assert (entry.detail["person"], entry.detail["reason"]) == ("Dana Smith", "ticket 4711")
    # From now on it is priced by that version: 100 more at half of 0.01.
    stage.send(shop, 100, first=900, at=OCTOBER_10)
    bill_up_to(stage, datetime(2024, 12, 2, tzinfo=UTC))
    assert [line.amount for line in by_month(stage, shop)[11].adjustment_lines] == [Decimal("0.50")]


def tally(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["rerate", "--from", "2024-11-01", *arguments, "--json"], catch_exceptions=False)


def test_M5_the_command_shows_writes_and_bills_the_differences(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, _ = october(stage)
    stage.send(shop, 600, first=900, at=OCTOBER_10)
    warehouse = stage.warehouse
    for name, value in {
        "HOME": str(tmp_path),
        "LEDGER_URL": stage.ledger.url.render_as_string(),
        "WAREHOUSE_URL": warehouse.url,
        "WAREHOUSE_USER": warehouse.user,
        "WAREHOUSE_PASSWORD": warehouse._password,
        "WAREHOUSE_DATABASE": warehouse.database,
        "API_KEY": new_key(stage.ledger, shop.scope),
    }.items():
        monkeypatch.setenv(f"TALLY_{name}", value)
    file = tmp_path / "differences.parquet"
    shown = tally("--out", str(file))
    assert (shown.exit_code, pl.read_parquet(file).height) == (0, 1)
    found = json.loads(shown.stdout)
    assert [(one["billed"], one["due"], one["difference"]) for one in found["differences"]] == [
        ("19.00", "24.00", "5.00")
    ]
    assert (found["invoices"], found["applied"]) == (1, None)
    assert tally("--apply").exit_code == 2
    decided = ("--apply", "--person", "Dana Smith", "--reason", "ticket 4711", "--treatment", "separate_invoice")
    assert [len(json.loads(tally(*decided).stdout)["invoices_made"]) for _ in range(2)] == [1, 0]
    assert [one.state for one in adjustments(stage, shop)] == [AdjustmentState.BILLED]


def test_M5_what_was_not_chosen_is_left(stage: Stage) -> None:
    shop, _ = october(stage)
    wanted = cheaper(stage, shop)
    other = Decision("Dana Smith", "ticket 4711", "tests", ["inv_another"])
    assert apply_rerate(stage.ledger, stage.warehouse, shop.scope, wanted, other, LATER).adjustments == ()
    apply_rerate(stage.ledger, stage.warehouse, shop.scope, wanted, DECISION, LATER)
    bill_up_to(stage, datetime(2024, 12, 2, tzinfo=UTC))
    assert [line.amount for line in by_month(stage, shop)[11].adjustment_lines] == [Decimal("-9.50")]
