"""Whatever runs twice, at once, or is killed on the way: a late event is billed once (M5)."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from billing.line_adjustment import AdjustmentState, Treatment
from ledger.store import tenants
from tests.integration.pipelines.late import OCTOBER_10, adjustments, bill_up_to, look, october
from tests.integration.pipelines.stage import Shop, Stage
from tests.integration.pipelines.test_cut_runs import Killed, killed_at, nothing_billed_yet

DECEMBER_2 = datetime(2024, 12, 2, tzinfo=UTC)
EVERY = 100_000
SAMPLES = 4


def billed(stage: Stage, shop: Shop) -> list[tuple[str, str, Decimal]]:
    """Every line of every invoice, but for the ids that each run makes anew."""
    return sorted(
        (str(invoice.number), line.key if not line.is_adjustment else line.price_type, line.amount)
        for invoice in stage.invoices(shop)
        for line in invoice.lines
    )


def run(stage: Stage) -> None:
    bill_up_to(stage, DECEMBER_2)


@pytest.mark.parametrize(
    "samples",
    [pytest.param(SAMPLES, id="some points"), pytest.param(EVERY, id="every point", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("treatment", [Treatment.NEXT_INVOICE, Treatment.SEPARATE_INVOICE])
def test_M5_a_run_that_is_killed_between_any_two_writes_bills_a_late_event_once(
    stage: Stage, tmp_path: Path, samples: int, treatment: Treatment
) -> None:
    shop, _ = october(stage)
    with stage.ledger.begin() as session:
        tenants.set_late_events(session, shop.scope, treatment)
    stage.send(shop, 100, first=900, at=OCTOBER_10)
    stage.ledger.dispose()
    kept = tmp_path / "kept.db"
    shutil.copy(stage.ledger.url.database or "", kept)
    with nothing_billed_yet(stage.ledger, kept), killed_at(0) as seen:
        run(stage)
        points, wanted = seen(), billed(stage, shop)
    assert [amount for _, kind, amount in wanted if kind == "adjustment"] == [Decimal("1.00")]
    for point in range(1, points + 1, max(1, points // samples)):
        with nothing_billed_yet(stage.ledger, kept):
            with killed_at(point), pytest.raises(Killed):
                run(stage)
            run(stage)
            assert billed(stage, shop) == wanted, point
            assert [one.state for one in adjustments(stage, shop)] == [AdjustmentState.BILLED], point


@pytest.mark.parametrize("treatment", [*Treatment])
def test_M5_looks_at_once_record_and_settle_a_late_event_once(stage: Stage, treatment: Treatment) -> None:
    shop, _ = october(stage)
    with stage.ledger.begin() as session:
        tenants.set_late_events(session, shop.scope, treatment)
    stage.send(shop, 100, first=900, at=OCTOBER_10)
    with ThreadPoolExecutor(4) as pool:
        made = [
            found for settled in pool.map(lambda _: look(stage, DECEMBER_2), range(4)) for found in settled.invoices
        ]
    assert len(made) == (1 if treatment is Treatment.SEPARATE_INVOICE else 0)
    assert [(one.sequence, one.amount) for one in adjustments(stage, shop)] == [(1, Decimal("1.00"))]
