"""Final periods are rated again without touching anything, and chosen differences are billed once, by somebody."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from billing.errors import Conflict
from billing.line_adjustment import AdjustmentCause, AdjustmentState, Treatment
from billing.price import parse_price
from cli.main import app
from ledger.store import audit, plans, rerates
from ledger.store.price_changes import revise_price
from ledger.store.rerates import RerateRecord
from pipelines.definitions import defs
from pipelines.steps.chosen import Chosen
from pipelines.steps.request_rerate import (
    AppliedRerate,
    ApplyWanted,
    Difference,
    RequestedRerate,
    apply_differences,
    list_differences,
    rate_next,
    request_rerate,
)
from pipelines.steps.rerate import Decision, RerateWanted, apply_rerate, frame_of, rerate, rows_of
from pipelines.steps.settle_adjustments import settle_adjustments
from tests.integration.pipelines.late import OCTOBER_10, adjustments, bill_up_to, by_month, look, october
from tests.integration.pipelines.stage import BILLING_DAY, Shop, Stage, metadata_of
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


@pytest.mark.parametrize("by_price", [False, True])
def test_M5_the_asset_shows_and_writes_what_the_step_finds_and_touches_nothing(
    stage: Stage, tmp_path: Path, by_price: bool
) -> None:
    shop, subscription = october(stage)
    october_only = stage.subscribe(shop, "other_corp")
    stage.send(shop, 600, first=900, at=OCTOBER_10)
    wanted = cheaper(stage, shop) if by_price else WANTED
    file, before = tmp_path / "differences.parquet", dump(stage)
    config = {
        "tenant_id": shop.scope.tenant_id,
        "environment_id": shop.scope.environment_id,
        "first_day": BILLING_DAY.isoformat(),
        "last_day": BILLING_DAY.isoformat(),
        "price_versions": dict(wanted.versions),
        "out": str(file),
    }

    def run(**changed: str) -> dict[str, Any]:
        done = defs.resolve_job_def("rerating").execute_in_process(
            instance=stage.instance,
            resources={"tally": stage.tally},
            run_config={"ops": {"rerated_invoices": {"config": config | changed}}},
        )
        return metadata_of(done, "rerated_invoices")

    told = run()
    assert dump(stage) == before
    (row,) = rows_of(rerate(stage.ledger, stage.warehouse, shop.scope, wanted))
    amounts = ("19.00", "12.00", "-7.00") if by_price else ("19.00", "24.00", "5.00")
    assert tuple(str(row[name]) for name in ("billed", "due", "difference")) == amounts
    assert {name: told[name] for name in ("dagster/row_count", "invoices", "lines", "differences", "failed")} == {
        "dagster/row_count": 1,
        "invoices": 1,
        "lines": 1,
        "differences": 1,
        "failed": 0,
    }
    shown = list(told["lines that differ"][-1].values())
    assert shown == ["INV-202411-00001", "acme_corp_001", "API Calls", *amounts[:2], f"{amounts[2]} USD"]
    (written,) = pl.read_parquet(file).to_dicts()
    assert written == row
    assert run(subscription_id=subscription.id)["invoices"] == 1
    assert run(subscription_id=october_only.id)["invoices"] == 0
    assert run(first_day="2024-11-02", last_day="2024-11-30")["invoices"] == 0


def asked_for(stage: Stage, shop: Shop, **wanted: Any) -> str:
    """The id of a rating of all periods that end by March 2025."""
    asked = RequestedRerate(DAY.date(), date(2025, 3, 1), **wanted)
    with stage.ledger.begin() as session:
        return request_rerate(session, shop.scope, asked, "tests", LATER).id


def rated(stage: Stage, shop: Shop, rerate_id: str) -> tuple[RerateRecord, list[Difference]]:
    with stage.ledger.read() as session:
        found = rerates.get_rerate(session, shop.scope, rerate_id)
        items, _ = list_differences(session, shop.scope, rerate_id, invoice_id=None, cursor=None, limit=100)
    return found, items


def test_M5_a_rating_that_is_asked_for_goes_on_where_it_was_cut_off(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.steps.request_rerate.INVOICES_AT_ONCE", 1)
    shop, _ = october(stage)
    bill_up_to(stage, datetime(2025, 1, 2, tzinfo=UTC))
    stage.send(shop, 600, first=900, at=OCTOBER_10)
    rerate_id = asked_for(stage, shop)
    assert rate_next(stage.ledger, stage.warehouse, LATER) == 1
    found, items = rated(stage, shop, rerate_id)
    assert (found.status, found.invoices, [one.found.amount for one in items]) == ("running", 1, [Decimal("5.00")])
    with pytest.raises(Conflict) as refused:
        apply_differences(
            stage.ledger, stage.warehouse, shop.scope, rerate_id, ApplyWanted("Dana", "x"), "tests", LATER
        )
    assert refused.value.code == "rerate_running"
    # Somebody takes the next ones and dies.
    with stage.ledger.begin() as session:
        assert rerates.lease(session, shop.scope, found, LATER + timedelta(minutes=5))
        assert not rerates.lease(session, shop.scope, found, LATER + timedelta(minutes=6))
    assert rate_next(stage.ledger, stage.warehouse, LATER) == 0
    while rate_next(stage.ledger, stage.warehouse, LATER + timedelta(minutes=5)):
        pass
    found, items = rated(stage, shop, rerate_id)
    assert (found.status, found.invoices, found.lines, found.differences) == ("done", 3, 3, 1)
    assert [one.found.position for one in items] == [1]


def test_M5_only_what_is_still_as_it_was_shown_is_applied_and_once(stage: Stage) -> None:
    shop, subscription = october(stage)
    stage.send(shop, 600, first=900, at=OCTOBER_10)
    other = stage.subscribe(shop, "other_corp")
    rerate_id = asked_for(stage, shop, subscription_id=subscription.id, meter_id="meter_api_requests")
    nothing = asked_for(stage, shop, customer_id=other.customer_id)
    while rate_next(stage.ledger, stage.warehouse, LATER):
        pass
    assert rated(stage, shop, nothing)[0].invoices == 0
    stage.send(shop, 100, first=2000, at=OCTOBER_10)
    wanted = ApplyWanted("Dana Smith", "ticket 4711", treatment=Treatment.SEPARATE_INVOICE)

    def apply(one: str) -> AppliedRerate:
        return apply_differences(stage.ledger, stage.warehouse, shop.scope, one, wanted, "tests", LATER)

    done = apply(rerate_id)
    assert (done.applied, [each.amount for each in done.changed], adjustments(stage, shop)) == (
        (),
        [Decimal("5.00")],
        [],
    )
    again = asked_for(stage, shop)
    while rate_next(stage.ledger, stage.warehouse, LATER):
        pass
    with ThreadPoolExecutor(3) as pool:
        made = [len(each.applied) for each in pool.map(apply, [again] * 3)]
    assert sorted(made) == [0, 0, 1]
    ((one,), (record,)) = rated(stage, shop, again)[1], adjustments(stage, shop)
    assert (record.amount, record.person, record.state) == (Decimal("5.80"), "Dana Smith", AdjustmentState.BILLED)
    assert one.adjustment == record
