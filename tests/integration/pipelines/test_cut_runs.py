"""A billing run that dies between any two of its writes is finished by the next one, as if nothing had happened."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from ledger.db import Ledger
from pipelines.steps import isolation
from tests.integration.pipelines.stage import Shop, Stage
from tests.integration.pipelines.test_advance_billing import ADVANCE, PER_UNIT

SEPTEMBER = datetime(2024, 9, 1, tzinfo=UTC)
# Each transaction's end, and each of its writes: what is left is what a process had written when it was killed.
_WRITES = ("INSERT", "UPDATE", "DELETE")
EVERY = 100_000
SAMPLES = 3


class Killed(BaseException):
    """The end of a process: nothing catches it, and what was not committed is gone."""


@contextmanager
def killed_at(point: int) -> Iterator[Callable[[], int]]:
    """The run inside dies before its write or commit number `point`; says how many there were."""
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if seen == point:
            raise Killed

    def before_write(_c: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith(_WRITES):
            count()

    def before_commit(connection: Connection) -> None:
        if not connection.get_execution_options().get("read_only", False):
            count()

    event.listen(Engine, "before_cursor_execute", before_write)
    event.listen(Engine, "commit", before_commit)
    try:
        yield lambda: seen
    finally:
        event.remove(Engine, "before_cursor_execute", before_write)
        event.remove(Engine, "commit", before_commit)


def billed(stage: Stage, shop: Shop) -> list[tuple[object, ...]]:
    """Everything that the invoices say, but for the ids that each run makes anew."""
    return sorted(
        (
            invoice.number,
            invoice.subscription_id,
            invoice.billing_reason,
            invoice.period,
            invoice.status,
            invoice.payment_status,
            invoice.total,
            invoice.inputs_hash,
            tuple(replace(line, id="", watermark=None) for line in invoice.lines),
        )
        for invoice in stage.invoices(shop)
    )


@pytest.fixture
def prepared(stage: Stage) -> tuple[Stage, Shop]:
    """Two customers since September, who pay in advance and for usage, and nothing billed yet."""
    shop = stage.shop(prices=[ADVANCE, PER_UNIT])
    for customer in ("first", "second"):
        stage.subscribe(shop, customer, start_date=SEPTEMBER)
        stage.send(shop, 1000, customer, at=datetime(2024, 9, 10, tzinfo=UTC))
        stage.send(shop, 500, customer, first=1000, at=datetime(2024, 10, 10, tzinfo=UTC))
    return stage, shop


@contextmanager
def nothing_billed_yet(ledger: Ledger, kept: Path) -> Iterator[None]:
    """The ledger as it was kept. It stays open under its address, since it keeps the statements that it compiled."""
    path = Path(ledger.url.database or "")
    ledger.dispose()
    for left in path.parent.glob(f"{path.name}*"):
        left.unlink()
    shutil.copy(kept, path)
    yield
    ledger.dispose()


@pytest.mark.parametrize(
    "samples",
    [pytest.param(SAMPLES, id="some points"), pytest.param(EVERY, id="every point", marks=pytest.mark.slow)],
)
def test_a_run_that_is_killed_between_any_two_writes_is_finished_by_the_next(
    prepared: tuple[Stage, Shop], tmp_path: Path, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that the six invoices are not all of one transaction.
    monkeypatch.setattr(isolation, "BATCH", 2)
    stage, shop = prepared
    stage.ledger.dispose()
    kept = tmp_path / "kept.db"
    shutil.copy(stage.ledger.url.database or "", kept)
    with nothing_billed_yet(stage.ledger, kept), killed_at(0) as seen:
        stage.bill_by_steps(SEPTEMBER.date())
        points, wanted = seen(), billed(stage, shop)
    assert [row[0] for row in wanted] == [f"INV-202411-0000{number}" for number in range(1, 7)]
    assert points > 30

    for point in range(1, points + 1, max(1, points // samples)):
        with nothing_billed_yet(stage.ledger, kept):
            with killed_at(point), pytest.raises(Killed):
                stage.bill_by_steps(SEPTEMBER.date())
            again = stage.bill_by_steps(SEPTEMBER.date())
            assert (again.held, again.failures) == ((), ()), point
            assert billed(stage, shop) == wanted, point
