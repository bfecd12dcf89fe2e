"""The processes of a local stack: how each is started and how one knows that it answers.

The commands are the ones of the grown form; only the addresses in their environment differ.
"""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from cli.stack.home import Home, LocalSecrets
from settings import Settings

__all__ = ["Addresses", "Service", "environment", "local_services", "write_dagster_home"]

_REPO = Path(__file__).resolve().parents[2]
_PYTHON = sys.executable
_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Addresses:
    """Where each part answers. `own_*` says whether this stack starts the part or uses one that exists."""

    api: str
    dagster: str
    sandbox: str
    warehouse: str
    code_port: int
    own_warehouse: bool = True
    own_sandbox: bool = True


@dataclass(frozen=True)
class Service:
    """One process group. `answers` is asked until it says yes; `after` names preparations that must be done first."""

    name: str
    url: str
    command: tuple[str, ...]
    answers: Callable[[], bool]
    after: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def _answers(url: str) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            return httpx.get(url, timeout=2.0, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return ask


def _listens(port: int) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return True
        except OSError:
            return False

    return ask


def _code_location_is_loaded(dagster_url: str) -> bool:
    query = (
        "{ workspaceOrError { ... on Workspace {"
        " locationEntries { loadStatus locationOrLoadError { __typename } } } } }"
    )
    try:
        answer = httpx.post(f"{dagster_url}/graphql", json={"query": query}, timeout=5.0, trust_env=False).json()
        entries = answer["data"]["workspaceOrError"]["locationEntries"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False
    return bool(entries) and all(
        entry["loadStatus"] == "LOADED" and entry["locationOrLoadError"]["__typename"] == "RepositoryLocation"
        for entry in entries
    )


def _daemon_is_healthy(dagster_url: str) -> bool:
    query = "{ instance { daemonHealth { allDaemonStatuses { required healthy } } } }"
    try:
        answer = httpx.post(f"{dagster_url}/graphql", json={"query": query}, timeout=5.0, trust_env=False).json()
        statuses = answer["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False
    return bool(statuses) and all(status["healthy"] for status in statuses if status["required"])


def environment(settings: Settings, home: Home, secrets: LocalSecrets, addresses: Addresses) -> dict[str, str]:
    """The environment of every service: the caller's, with the addresses and secrets of this stack on top."""
    password = settings.warehouse_password.get_secret_value() or secrets.warehouse_password
    keys = settings.encryption_keys.get_secret_value() or secrets.encryption_keys
    ledger = settings.ledger_url or f"sqlite:///{(home.root / 'ledger.sqlite3').resolve()}"
    return {
        **os.environ,
        "TALLY_HOME": str(home.root),
        "TALLY_LEDGER_URL": ledger,
        "TALLY_WAREHOUSE_URL": addresses.warehouse,
        "TALLY_WAREHOUSE_USER": settings.warehouse_user,
        "TALLY_WAREHOUSE_PASSWORD": password,
        "TALLY_WAREHOUSE_DATABASE": settings.warehouse_database,
        "TALLY_STRIPE_API_BASE": addresses.sandbox if addresses.own_sandbox else settings.stripe_api_base,
        "TALLY_ENCRYPTION_KEYS": keys,
        "TALLY_PUBLIC_URL": addresses.api,
        "TALLY_DAGSTER_URL": addresses.dagster,
        "TALLY_CODE_PORT": str(addresses.code_port),
        "DAGSTER_HOME": str(home.dagster.resolve()),
        "PYTHONUNBUFFERED": "1",
    }


def write_dagster_home(home: Home) -> None:
    """Copy the repo's Dagster configuration; the workspace finds the code server's port in the environment."""
    for name in ("dagster.yaml", "workspace.yaml"):
        (home.dagster / name).write_text((_REPO / "dagster_home" / name).read_text())


def local_services(settings: Settings, home: Home, addresses: Addresses) -> list[Service]:
    """The services to start, in an order in which each one's needs come before it."""
    workspace = str((home.dagster / "workspace.yaml").resolve())
    services = []
    if addresses.own_warehouse:
        port = addresses.warehouse.rpartition(":")[2]
        services.append(
            Service(
                name="warehouse",
                url=addresses.warehouse,
                command=(
                    *(_PYTHON, "-m", "warehouse_sql.embedded", "--path", str(home.warehouse)),
                    *("--port", port, "--user", settings.warehouse_user),
                ),
                answers=_answers(f"{addresses.warehouse}/ping"),
            )
        )
    if addresses.own_sandbox:
        port = addresses.sandbox.rpartition(":")[2]
        services.append(
            Service(
                name="sandbox",
                url=addresses.sandbox,
                command=(_PYTHON, "-m", "integrations.stripe.sandbox", "--path", str(home.sandbox), "--port", port),
                answers=_answers(f"{addresses.sandbox}/"),
            )
        )
    services += [
        Service(
            name="code",
            url=f"grpc://127.0.0.1:{addresses.code_port}",
            command=(_PYTHON, "-m", "pipelines.code_server", "-p", str(addresses.code_port), "--log-level", "warning"),
            answers=_listens(addresses.code_port),
            after=("dagster storage",),
        ),
        Service(
            name="api",
            url=addresses.api,
            command=(_PYTHON, "-m", "api", "--host", "127.0.0.1", "--port", addresses.api.rpartition(":")[2]),
            answers=_answers(f"{addresses.api}/readyz"),
            after=("ledger", "tables"),
        ),
        Service(
            name="dagster",
            url=addresses.dagster,
            command=(
                *(str(_BIN / "dagster-webserver"), "-h", "127.0.0.1", "-p", addresses.dagster.rpartition(":")[2]),
                *("-w", workspace, "--log-level", "warning"),
            ),
            answers=lambda: _code_location_is_loaded(addresses.dagster),
            after=("dagster storage",),
        ),
        Service(
            name="daemon",
            url="",
            command=(_PYTHON, "-m", "pipelines.daemon", "-w", workspace, "--log-level", "warning"),
            # A backfill waits for a code server that is being restarted, and does not fail.
            environment={"DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1"},
            answers=lambda: _daemon_is_healthy(addresses.dagster),
            after=("dagster storage",),
        ),
    ]
    return services
