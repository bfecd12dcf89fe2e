"""The launching client against real Dagster processes, and what it says when there are none."""

import time
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from billing.errors import InvalidInput, Unavailable
from pipelines import launch
from tests.integration.pipelines.dagster_services import free_port, running_dagster
from tests.integration.pipelines.stage import BILLING, USAGE, Stage
from tests.support.warehouse_process import WarehouseProcess

LIMIT_SECONDS = 1200


def wait_for_code(url: str) -> None:
    """Until the webserver has loaded the code location."""
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        try:
            answer = httpx.post(f"{url}/graphql", json={"query": query}, timeout=10, trust_env=False).json()
        except httpx.HTTPError:
            time.sleep(0.2)
            continue
        if answer["data"]["repositoriesOrError"].get("nodes"):
            return
        time.sleep(0.2)
    pytest.fail("Dagster did not load the code location")


@pytest.mark.slow
def test_a_month_is_rolled_up_and_billed_through_the_webserver(
    stage: Stage, warehouse_server: WarehouseProcess, tmp_path: Path
) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 1500)
    environment = {
        "TALLY_HOME": str(tmp_path / "tally"),
        "TALLY_LEDGER_URL": stage.ledger.url.render_as_string(hide_password=False),
        "TALLY_WAREHOUSE_URL": warehouse_server.url,
        "TALLY_WAREHOUSE_USER": warehouse_server.user,
        "TALLY_WAREHOUSE_PASSWORD": warehouse_server.password,
        "TALLY_WAREHOUSE_DATABASE": stage.warehouse.database,
    }
    seen: list[launch.Progress] = []
    with running_dagster(tmp_path / "dagster", environment) as url:
        wait_for_code(url)
        usage = launch.launch(url, USAGE, "2024-10-01", "2024-10-31")
        assert launch.wait(url, usage, LIMIT_SECONDS, seen.append) == launch.RunResult("SUCCESS", ())
        assert set(seen[-1].finished) == {"events_reconciled", "usage_hourly", "usage_hourly_rollup_matches_raw"}
        billing = launch.launch(url, BILLING, "2024-11-01", "2024-11-01")
        assert launch.wait(url, billing, LIMIT_SECONDS).failed_checks == ()
        (invoice,) = stage.invoices(shop)
        assert (invoice.number is not None, invoice.total) == (True, Decimal("24.00"))
        with pytest.raises(launch.RunFailed, match="no_such_asset"):
            launch.launch(url, ["no_such_asset"], "2024-11-01", "2024-11-01")
        with pytest.raises(launch.RunFailed, match="could not be found"):
            launch.wait(url, "00000000-0000-0000-0000-000000000000", LIMIT_SECONDS)


def test_without_dagster_it_says_so() -> None:
    with pytest.raises(Unavailable, match="Dagster does not answer"):
        launch.launch(f"http://127.0.0.1:{free_port()}", USAGE, "2024-10-01", "2024-10-01")


def test_days_are_checked_before_anything_is_asked() -> None:
    with pytest.raises(InvalidInput, match="'tomorrow' is not a day"):
        launch.launch("http://127.0.0.1:1", USAGE, "tomorrow", "2024-10-01")
    with pytest.raises(InvalidInput, match="lies before"):
        launch.launch("http://127.0.0.1:1", USAGE, "2024-10-02", "2024-10-01")
