"""Runs that an environment asks for: started once, for itself alone, and followed to their end."""

import time
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from billing.errors import Conflict, InvalidInput, NotFound, Unavailable
from ledger.store import runs
from ledger.store.runs import RunRecord
from pipelines.checks import CHECKS
from pipelines.definitions import defs
from pipelines.resources import Tally
from pipelines.schedules import ASSETS
from pipelines.sensors import requested_runs
from pipelines.steps.chosen import Chosen
from pipelines.steps.request_run import RunWanted, request_run
from tests.integration.pipelines.dagster_services import running_dagster
from tests.integration.pipelines.stage import BILLING, BILLING_DAY, USAGE, Shop, Stage
from tests.integration.pipelines.test_launch import LIMIT_SECONDS, wait_for_code
from tests.support.warehouse_process import WarehouseProcess

OCTOBER_12 = date(2024, 10, 12)


def request(stage: Stage, shop: Shop, wanted: RunWanted) -> RunRecord:
    with stage.ledger.begin() as session:
        return request_run(session, shop.scope, wanted, "key_1", stage.now)


def read(stage: Stage, shop: Shop, run: RunRecord) -> RunRecord:
    with stage.ledger.read() as session:
        return runs.get_run(session, shop.scope, run.id)


def tick(stage: Stage) -> list[dg.RunRequest]:
    """What the sensor asks for; it writes down what it finds."""
    context = dg.build_sensor_context(
        instance=stage.instance, resources={"tally": stage.tally}, repository_def=defs.get_repository_def()
    )
    return list(requested_runs.evaluate_tick(context).run_requests or [])


def execute(stage: Stage, asked: dg.RunRequest, assets: list[str], tally: Tally | None = None) -> None:
    """The run that was asked for, in this process."""
    chosen: dict[str, Any] = dict(asked.run_config["resources"]["tally"]["config"])
    dg.materialize(
        [*ASSETS, *CHECKS],
        selection=dg.AssetSelection.assets(*assets),
        instance=stage.instance,
        resources={"tally": replace(tally or stage.tally, chosen=Chosen(**chosen))},
        tags=dict(asked.tags),
        partition_key=asked.tags.get("dagster/partition"),
        raise_on_error=False,
    )


def test_a_run_is_asked_for_once_runs_for_its_environment_alone_and_is_followed_to_its_end(stage: Stage) -> None:
    ours, theirs = stage.shop("Ours"), stage.shop("Theirs")
    stage.subscribe(ours), stage.subscribe(theirs)
    stage.send(ours, 100)
    wanted = request(stage, ours, RunWanted("billing", BILLING_DAY, BILLING_DAY))
    assert (wanted.status, read(stage, ours, wanted).log) == ("requested", ())
    (asked,) = tick(stage)
    assert (asked.run_key, asked.job_name) == (wanted.id, "billing")
    execute(stage, asked, BILLING)
    assert tick(stage) == []

    done = read(stage, ours, wanted)
    assert (done.status, done.finished_at is not None) == ("succeeded", True)
    said = [(entry["step"], entry["event"], entry["message"]) for entry in done.log]
    assert ("finalized_invoices", "done", "done") in said
    assert next(message for _, event, message in said if event == "check") == "quantities_match_raw passed"
    assert any(event == "result" and "finalized: 1," in message for _, event, message in said)
    assert (len(stage.invoices(ours)), stage.invoices(theirs)) == (1, [])
    with stage.ledger.read() as session, pytest.raises(NotFound):
        runs.get_run(session, theirs.scope, wanted.id)


def test_what_fails_is_told_by_our_own_reason_only(stage: Stage) -> None:
    shop = stage.shop()

    def broken_clock() -> datetime:
        raise RuntimeError("postgresql://tally:secret@ledger")

    unlucky = request(stage, shop, RunWanted("usage", OCTOBER_12, OCTOBER_12))
    execute(stage, tick(stage)[0], USAGE, replace(stage.tally, clock=broken_clock))
    tick(stage)
    failed = read(stage, shop, unlucky)
    assert failed.status == "failed"
    assert [entry["message"] for entry in failed.log if entry["event"] == "failed"] == [
        "failed for a reason that the operator sees in Dagster"
    ]

    def no_clock() -> datetime:
        raise Conflict("not_now", "the meters are being moved")

    refused = request(stage, shop, RunWanted("usage", OCTOBER_12, OCTOBER_12))
    execute(stage, tick(stage)[0], USAGE, replace(stage.tally, clock=no_clock))
    tick(stage)
    assert [entry["message"] for entry in read(stage, shop, refused).log if entry["event"] == "failed"] == [
        "the meters are being moved"
    ]


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (RunWanted("usage", OCTOBER_12, date(2024, 10, 11)), "range_is_empty"),
        (RunWanted("usage", date(2023, 1, 1), date(2024, 1, 2)), "range_too_long"),
        (RunWanted("usage", OCTOBER_12, date(2024, 11, 3)), "day_in_the_future"),
        (RunWanted("usage", OCTOBER_12, OCTOBER_12, subscription_id="sub_1"), "not_for_this_kind"),
        (RunWanted("billing", OCTOBER_12, OCTOBER_12, meter_id="meter_api_requests"), "not_for_this_kind"),
        (RunWanted("billing", OCTOBER_12, OCTOBER_12, force=True), "not_for_this_kind"),
        (RunWanted("usage", OCTOBER_12, OCTOBER_12, meter_id="meter_none"), "meter_not_found"),
        (RunWanted("billing", OCTOBER_12, OCTOBER_12, subscription_id="sub_none"), "subscription_not_found"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_run_is_refused_when_it_is_asked_for(stage: Stage, wanted: RunWanted, code: str) -> None:
    with pytest.raises((InvalidInput, NotFound)) as refused:
        request(stage, stage.shop(), wanted)
    assert refused.value.code == code
    assert refused.value.field is not None


def test_an_environment_has_at_most_ten_runs_at_once(stage: Stage) -> None:
    shop, other = stage.shop("Busy"), stage.shop("Calm")
    for _ in range(10):
        request(stage, shop, RunWanted("usage", OCTOBER_12, OCTOBER_12))
    with pytest.raises(Conflict, match="10 runs"):
        request(stage, shop, RunWanted("usage", OCTOBER_12, OCTOBER_12))
    request(stage, other, RunWanted("usage", OCTOBER_12, OCTOBER_12))


@pytest.mark.slow
def test_a_year_that_was_asked_for_is_one_run_of_the_real_daemon_and_a_second_one_writes_nothing(
    stage: Stage, warehouse_server: WarehouseProcess, tmp_path: Path
) -> None:
    shop = stage.shop()
    stage.send(shop, 300)
    stage.now = datetime.now(UTC)
    environment = {
        "TALLY_HOME": str(tmp_path / "tally"),
        "TALLY_LEDGER_URL": stage.ledger.url.render_as_string(hide_password=False),
        "TALLY_WAREHOUSE_URL": warehouse_server.url,
        "TALLY_WAREHOUSE_USER": warehouse_server.user,
        "TALLY_WAREHOUSE_PASSWORD": warehouse_server.password,
        "TALLY_WAREHOUSE_DATABASE": stage.warehouse.database,
    }
    year = RunWanted("usage", date(2023, 11, 2), date(2024, 10, 31))
    with running_dagster(tmp_path / "dagster", environment) as url:
        wait_for_code(url)
        took = []
        for built in (365, 0):
            wanted = request(stage, shop, year)
            deadline = time.monotonic() + LIMIT_SECONDS
            while (done := read(stage, shop, wanted)).status in runs.UNFINISHED:
                if time.monotonic() > deadline:
                    raise Unavailable("not_in_time", str(done))
                time.sleep(0.2)
            assert done.status == "succeeded", done.log
            (result,) = [entry["message"] for entry in done.log if entry["event"] == "result"]
            assert "days: 365," in result
            # The sensor of late days may have been first for the one that has events.
            assert int(result.partition("days built: ")[2].partition(",")[0]) in {built, max(0, built - 1)}
            assert done.started_at is not None
            assert done.finished_at is not None
            took.append((done.finished_at - done.started_at).total_seconds())
    print(f"\n365 days in one run: {took[0]:.0f} s, again {took[1]:.0f} s")
