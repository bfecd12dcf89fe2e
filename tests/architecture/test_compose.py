"""docker-compose.yml: a valid compose file, whose services have what the grown form needs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from settings import Settings

COMPOSE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
OURS = ("migrate", "api", "code", "dagster", "daemon")


def compose() -> dict[str, Any]:
    """The file with its anchors and merges resolved, without extensions."""
    written = yaml.safe_load(COMPOSE.read_text())
    return {name: part for name, part in written.items() if not name.startswith("x-")}


def read(written: dict[str, Any]) -> PyCompose:
    found = PyCompose.from_yaml(yaml.safe_dump(written))
    found.validate()
    return found


def test_the_file_is_what_the_compose_specification_allows() -> None:
    assert set(read(compose()).service_names()) == {"clickhouse", "postgres", *OURS}


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("healtcheck", {"test": ["NONE"]}),
        ("ports", ["8080:http"]),
        ("depends_on", {"code": {"condition": "never"}}),
        ("command", {"run": 1}),
    ],
    ids=["misspelt", "no port", "no condition", "no command"],
)
def test_a_file_that_the_specification_does_not_allow_is_refused(part: str, wrong: Any) -> None:
    written = compose()
    written["services"]["api"][part] = wrong
    with pytest.raises(ValueError, match=r"services\.api"):
        read(written)


def test_every_service_that_stays_up_is_watched_and_comes_back() -> None:
    for name, service in compose()["services"].items():
        if name == "migrate":
            assert service["restart"] == "no"
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name


def test_everything_waits_for_the_migration_and_the_migration_for_the_stores() -> None:
    services = compose()["services"]
    assert {name: needs["condition"] for name, needs in services["migrate"]["depends_on"].items()} == {
        "clickhouse": "service_healthy",
        "postgres": "service_healthy",
    }
    assert services["api"]["depends_on"] == services["code"]["depends_on"]
    assert services["code"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    for name in ("dagster", "daemon"):
        assert services[name]["depends_on"]["code"]["condition"] == "service_healthy"


def test_secrets_come_from_the_environment_and_every_variable_is_a_setting() -> None:
    known = {f"TALLY_{name.upper()}" for name in Settings.model_fields} | {
        "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR",
        "DAGSTER_HOME",
        "DAGSTER_LOGS",
        "DAGSTER_PG_URL",
    }
    services = compose()["services"]
    for name in OURS:
        environment = services[name]["environment"]
        assert environment.keys() <= known, name
        for variable in ("TALLY_WAREHOUSE_PASSWORD", "TALLY_ENCRYPTION_KEYS"):
            assert re.fullmatch(r"\$\{\w+:\?.+\}", environment[variable]), variable
        for variable in ("TALLY_LEDGER_URL", "DAGSTER_PG_URL"):
            assert ":${POSTGRES_PASSWORD:?" in environment[variable], variable


def test_only_loopback_addresses_of_the_host_are_open_and_there_is_one_daemon() -> None:
    services = compose()["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    daemons = [name for name, service in services.items() if "pipelines.daemon" in service.get("command", [])]
    assert daemons == ["daemon"]
    assert "deploy" not in services["daemon"]
