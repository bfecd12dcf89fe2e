"""The recording sandbox, a fresh account and ledger per test, and the contract that every exchange is held to."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ledger.db import Ledger
from tests.contract import contract
from tests.integration.stripe.gateway.world import World
from tests.support.ledger_rows import a_scope
from tests.support.sandbox_process import SandboxProcess, new_account, running_sandbox


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with running_sandbox(record=tmp_path_factory.mktemp("stripe") / "exchanges.jsonl") as process:
        yield process
        violations = contract.check_all(distinct(process.recorded()))
        assert not violations, violations[:20]


def distinct(exchanges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The exchanges that make something, and a few of each kind that only look: checking one takes milliseconds."""
    looks: Counter[tuple[str, int, str]] = Counter()
    kept = []
    for exchange in exchanges:
        kind = (str(contract.route(exchange["method"], exchange["path"])[0]), exchange["status"], exchange["query"])
        looks[kind] += 1
        if exchange["method"] != "GET" or looks[kind] <= 3:
            kept.append(exchange)
    return kept


@pytest.fixture(scope="session")
def fresh_ledger(tmp_path_factory: pytest.TempPathFactory, ledger_template: Path) -> Iterator[Callable[[], Ledger]]:
    """Empties one ledger again and again: an engine of its own per test would compile every statement anew."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")

    def emptied() -> Ledger:
        ledger.dispose()
        for left in path.parent.glob("ledger.db*"):
            left.unlink()
        shutil.copy(ledger_template, path)
        return ledger

    yield emptied
    ledger.dispose()


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def new_world(sandbox: SandboxProcess, fresh_ledger: Callable[[], Ledger], http: httpx.Client) -> Callable[[], World]:
    """Makes an environment with no connection yet, in place of the one before: a new account and an empty ledger."""

    def make() -> World:
        ledger = fresh_ledger()
        with ledger.begin() as session:
            scope = a_scope(session)
        return World(sandbox, new_account(), ledger, scope, http)

    return make


@pytest.fixture
def world(new_world: Callable[[], World]) -> World:
    return new_world()
