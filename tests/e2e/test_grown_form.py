"""The services of docker-compose.yml as processes, with the environment of the file: they come up, and they are killed.

`KILL_SEED` repeats the choices of a run (not the moments, which are the machine's), `KILL_ROUNDS` says how many
backfills of usage there are before periods are billed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import httpx
import psycopg
import pytest
from cryptography.fernet import Fernet

from bench.postgres import NoPostgres
from tests.support.compose_services import ComposeServices, running_services
from tests.support.event_sender import Acknowledged, EventSender, sending
from tests.support.invoice_model.periods import Body, Span, grid_periods
from tests.support.price_model import total
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

USAGE = ["events_reconciled", "usage_hourly"]
BILLING = ["billable_quantities", "draft_invoices", "priced_invoices", "finalized_invoices", "stripe_invoices"]
REQUESTS: Body = {
    "pricing_model": "tiered",
    "tiers": [{"up_to": "20", "unit_price": "0.1", "flat_fee": "5"}, {"up_to": None, "unit_price": "0.05"}],
}
TOKENS: Body = {"pricing_model": "per_unit", "unit_price": "0.0125"}
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
PAST = timedelta(days=80)
LIMIT_SECONDS = 1800

_BACKFILL = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  __typename ... on PartitionBackfill { status error { message } } ... on PythonError { message } } }"""
_RUNS = """{ runsOrError(filter: {}, limit: 200) { ... on Runs { results {
  runId status tags { key value } } } } }"""
_DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    """What the file asks the environment for."""
    return {
        "POSTGRES_PASSWORD": "of-postgres",
        "TALLY_WAREHOUSE_PASSWORD": "of-the-warehouse",
        "TALLY_ENCRYPTION_KEYS": f"k1:{Fernet.generate_key().decode()}",
        "TALLY_STRIPE_API_BASE": "http://127.0.0.1:9",
        # What bills is the backfill that is killed, not the sensor beside it.
        "TALLY_AUTOMATIC_BILLING": "false",
    }


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Iterator[ComposeServices]:
    try:
        with running_services(tmp_path_factory.mktemp("grown") / "services", variables) as services:
            yield services
    except NoPostgres as reason:
        pytest.skip(str(reason))


def in_service(grown: ComposeServices, service: str, *command: str) -> str:
    """`docker compose exec`: the command's output."""
    where = grown.services[service]
    done = subprocess.run(
        command, env=where.environment, cwd=where.workdir, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(grown: ComposeServices, query: str, **variables: Any) -> dict[str, Any]:
    """An answer of Dagster's webserver."""
    body = {"query": query, "variables": variables}
    answer = httpx.post(f"{grown.url('dagster')}/graphql", json=body, timeout=120, trust_env=False).json()
    assert not answer.get("errors"), answer
    found: dict[str, Any] = answer["data"]
    return found


@contextmanager
def a_tenant(grown: ComposeServices, name: str) -> Iterator[tuple[str, httpx.Client]]:
    """The key of a new tenant, and a client that sends it."""
    made = json.loads(in_service(grown, "api", "tally", "keys", "create", "--tenant", name, "--json"))
    key: str = made["api_key"]
    headers = {"X-API-Key": key}
    with httpx.Client(base_url=grown.url("api"), headers=headers, trust_env=False, timeout=60) as client:
        yield key, client


def make(client: httpx.Client, path: str, body: Body) -> Body:
    answer = client.post(f"/api/v1/{path}", json=body)
    assert answer.is_success, answer.text
    made: Body = answer.json()
    return made


def test_every_service_is_well_with_nothing_but_the_environment_of_the_file(
    grown: ComposeServices, variables: dict[str, str]
) -> None:
    for service in grown.services.values():
        assert not service.health or service.is_healthy(), service.name
    # The one-shot migration has left nothing to do, and whoever has no password stays outside.
    migrated = json.loads(in_service(grown, "migrate", "tally", "migrate", "--json"))
    assert migrated == {"ledger": [], "warehouse": []}
    wrong = grown.setting("TALLY_LEDGER_URL").replace("+psycopg", "").replace(variables["POSTGRES_PASSWORD"], "guess")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong).close()
    with closing(psycopg.connect(grown.setting("TALLY_LEDGER_URL").replace("+psycopg", ""))) as ledger:
        assert ledger.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)

    def daemons_are_well() -> bool:
        found = ask(grown, _DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        needed = {one["daemonType"]: one["healthy"] for one in found if one["required"]}
        return {"SENSOR", "SCHEDULER", "BACKFILL", "QUEUED_RUN_COORDINATOR", "MONITORING"} <= needed.keys() and all(
            needed.values()
        )

    wait_until(daemons_are_well, 300, 1)
    for secret in variables.values():
        logs = [log for log in grown.home.glob("*.log") if secret in log.read_text()]
        assert logs == [] or secret in {variables["TALLY_STRIPE_API_BASE"], "false"}


@pytest.mark.parametrize("name", ["api", "code", "dagster"])
def test_a_health_check_fails_while_its_service_hangs(grown: ComposeServices, name: str) -> None:
    service = grown.services[name]
    with service.hanging():
        assert not service.is_healthy()
    service.wait_until_healthy()


def launch(grown: ComposeServices, assets: Sequence[str], first: date, last: date) -> str:
    """A backfill of the days, as the button in the UI starts it."""
    days = [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]
    params = {"assetSelection": [{"path": [asset]} for asset in assets], "partitionNames": days}
    answer = ask(grown, _BACKFILL, p=params)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    backfill: str = answer["backfillId"]
    return backfill


def status_of(grown: ComposeServices, backfill: str) -> str:
    found = ask(grown, _STATUS, id=backfill)["partitionBackfillOrError"]
    assert not found["error"], found
    status: str = found["status"]
    return status


def runs_of(grown: ComposeServices, backfill: str) -> dict[str, str]:
    """Run id -> status."""
    found = ask(grown, _RUNS)["runsOrError"]["results"]
    return {
        run["runId"]: run["status"] for run in found if {"key": "dagster/backfill", "value": backfill} in run["tags"]
    }


def workers_of(grown: ComposeServices) -> list[int]:
    """The processes that execute runs: children of the code server that were spawned with a run."""
    code = grown.services["code"].process
    assert code is not None
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_text()
        except (OSError, IndexError):
            continue
        if parent == code.pid and "spawn_main" in words:
            found.append(int(folder.name))
    return found


class Killer:
    """Kills what it is told while a backfill goes on; the requests that a sender gets through are its clock."""

    def __init__(self, grown: ComposeServices, sender: EventSender, chance: Random) -> None:
        self.grown = grown
        self.sender = sender
        self.chance = chance
        self.killed: list[str] = []

    def through(self, backfill: str) -> None:
        """Each kind once, in any order, and then to the backfill's end."""
        kinds = [self._worker, self._daemon, self._code, self._worker_and_code]
        for kill in self.chance.sample(kinds, len(kinds)):
            wait_until(lambda: self._is_over(backfill) or self._is_at_work(backfill), LIMIT_SECONDS, 0.5)
            # A run is short: its process is killed soon after it has begun.
            self._some_time(20 if kill in {self._daemon, self._code} else 3)
            if self._is_over(backfill):
                break
            kill(backfill)
        wait_until(lambda: self._is_over(backfill), LIMIT_SECONDS, 0.5)
        found = runs_of(self.grown, backfill)
        print(f"killed {self.killed}; runs {found}; backfill {status_of(self.grown, backfill)}", flush=True)
        assert status_of(self.grown, backfill) == "COMPLETED_SUCCESS", found
        assert self.killed

    def _is_over(self, backfill: str) -> bool:
        return status_of(self.grown, backfill) not in {"REQUESTED", "CANCELING", "FAILING"}

    def _is_at_work(self, backfill: str) -> bool:
        return "STARTED" in runs_of(self.grown, backfill).values()

    def _some_time(self, most: int) -> None:
        target = self.sender.requests() + self.chance.randint(0, most)

        def came() -> bool:
            self.sender.fail_if_broken()
            return self.sender.requests() >= target

        wait_until(came, 300)

    def _worker(self, backfill: str) -> None:
        for worker in workers_of(self.grown)[:1]:
            os.kill(worker, signal.SIGKILL)
            self.killed.append("worker")

    def _worker_and_code(self, backfill: str) -> None:
        """The code server goes when the run is marked and not started again yet, and stays away for a while."""
        known = runs_of(self.grown, backfill)
        self._worker(backfill)
        wait_until(lambda: runs_of(self.grown, backfill) != known or self._is_over(backfill), LIMIT_SECONDS, 0.5)
        self.grown.services["code"].kill(comes_back=False)
        self.killed.append("code, for a while")
        self._some_time(150)
        self.grown.services["code"].start()
        self.grown.services["code"].wait_until_healthy()

    def _daemon(self, backfill: str) -> None:
        self.grown.services["daemon"].kill()
        self.killed.append("daemon")

    def _code(self, backfill: str) -> None:
        self.grown.services["code"].kill()
        self.grown.services["code"].wait_until_healthy()
        self.killed.append("code")


def test_E1_M3_backfills_that_are_killed_while_events_come_end_in_exact_usage_and_one_invoice_a_period(
    grown: ComposeServices,
) -> None:
    seed = int(os.environ.get("KILL_SEED") or SystemRandom().randrange(1_000_000))
    rounds = int(os.environ.get("KILL_ROUNDS") or 1)
    print(f"\nKILL_SEED={seed} KILL_ROUNDS={rounds}", flush=True)
    chance = Random(seed)  # noqa: S311 - to be repeated, guards nothing
    first_day, today = (TODAY - PAST).date(), TODAY.date()
    with a_tenant(grown, f"Killed {seed}") as (key, client):
        plan = a_plan(client)
        with sending(grown.url("api"), key, seed, threads=2, pause=0.05, moment=_some_day) as sender:
            for _ in range(rounds):
                Killer(grown, sender, chance).through(launch(grown, USAGE, first_day, today))
        past = dict(sender.acknowledged)
        assert usage(client) == counted(past.values())
        subscriptions = subscribe(client, plan)
        with sending(grown.url("api"), key, seed + 1, threads=2, pause=0.05, moment=_today) as sender:
            Killer(grown, sender, chance).through(launch(grown, BILLING, first_day, today))
        every = {**past, **sender.acknowledged}
        assert usage(client) == counted(every.values())
        assert_each_period_has_one_invoice(client, subscriptions, list(every.values()))


def _some_day(chance: Random) -> str:
    """Before today, by the minute."""
    minutes = chance.randrange(24 * 60 * PAST.days)
    return (TODAY - PAST + timedelta(minutes=minutes)).isoformat()


def _today(chance: Random) -> str:
    return (TODAY + (datetime.now(UTC) - TODAY) * chance.random()).isoformat()


def a_plan(client: httpx.Client) -> str:
    """Requests in tiers, and their tokens by the unit."""
    prices = []
    for key, price, aggregation in (
        ("requests", REQUESTS, {"type": "count"}),
        ("tokens", TOKENS, {"type": "sum", "property": "tokens"}),
    ):
        meter = {"id": f"meter_{key}", "name": key, "event_name": "llm.request", "aggregation": aggregation}
        feature = {"name": key, "key": key, "feature_type": "metered", "meter_id": make(client, "meters", meter)["id"]}
        prices.append({"feature_id": make(client, "features", feature)["id"], "display_name": key, **price})
    plan = {"name": "Usage", "key": "usage", "billing_period": "monthly", "currency": "USD", "prices": prices}
    made: str = make(client, "plans", plan)["id"]
    return made


def subscribe(client: httpx.Client, plan: str) -> dict[str, Body]:
    """Each customer of the sender since a day of its own; by the customer's id."""
    found = {}
    for number in range(1, 6):
        customer = f"customer_{number}"
        make(client, "customers", {"name": customer, "customer_id": customer})
        start = (TODAY - PAST + timedelta(days=3 * number)).isoformat()
        body = {"customer_id": customer, "plan_id": plan, "start_date": start}
        found[customer] = make(client, "subscriptions", body) | {"start": start}
    return found


def usage(client: httpx.Client) -> dict[str, tuple[int, Decimal]]:
    """Per customer: requests and tokens, as the API tells them."""
    window = {"start_time": (TODAY - PAST).isoformat(), "end_time": (TODAY + timedelta(days=1)).isoformat()}
    counts, sums = (
        {
            row["customer_id"]: row["value"]
            for row in make(client, "events/usage/meter", {"meter_id": meter, **window})["data"]
        }
        for meter in ("meter_requests", "meter_tokens")
    )
    return {customer: (int(count), Decimal(sums[customer])) for customer, count in counts.items()}


def counted(events: Iterable[Acknowledged]) -> dict[str, tuple[int, Decimal]]:
    found: dict[str, tuple[int, Decimal]] = {}
    for event in events:
        count, tokens = found.get(event.customer_id, (0, Decimal(0)))
        found[event.customer_id] = (count + 1, tokens + event.tokens)
    return found


def assert_each_period_has_one_invoice(
    client: httpx.Client, subscriptions: Mapping[str, Body], events: Sequence[Acknowledged]
) -> None:
    """With the total that the model works out from the events, and numbers without a gap."""
    numbers = []
    for customer, subscription in subscriptions.items():
        agreed = {"start": subscription["start"], "billing_period": "monthly"}
        ended = list(takewhile(lambda period: period.end <= TODAY, grid_periods(agreed)))
        query = {"subscription_id": subscription["id"], "limit": "100"}
        found = client.get("/api/v1/invoices", params=query).json()["items"]
        invoices = sorted(found, key=lambda invoice: str(invoice["period_start"]))
        assert {invoice["invoice_status"] for invoice in invoices} == {"finalized"}
        billed = [(datetime.fromisoformat(one["period_start"]), Fraction(one["total"])) for one in invoices]
        own = [event for event in events if event.customer_id == customer]
        assert billed == [(period.start, _owed(period, own)) for period in ended]
        numbers += [invoice["invoice_number"] for invoice in invoices]
    assert len(numbers) >= 2 * len(subscriptions)
    counters: defaultdict[str, list[int]] = defaultdict(list)
    for number in sorted(numbers):
        month, _, counter = number.rpartition("-")
        counters[month].append(int(counter))
    assert all(found == list(range(1, len(found) + 1)) for found in counters.values()), numbers


def _owed(period: Span, events: Sequence[Acknowledged]) -> Fraction:
    inside = [event for event in events if period.holds(datetime.fromisoformat(event.timestamp))]
    tokens = sum((event.tokens for event in inside), Decimal(0))
    return total(str(len(inside)), REQUESTS, "USD")[1] + total(str(tokens), TOKENS, "USD")[1]
