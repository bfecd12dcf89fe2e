"""`tally up`, `status`, `down` and `keys` as a person or a script uses them, on real processes."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest


class Tally:
    """The command, on a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words],
            env={**os.environ, "TALLY_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


@pytest.fixture
def tally(tmp_path: Path) -> Iterator[Tally]:
    command = Tally(tmp_path / "home")
    yield command
    command("down")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        # As servers do: a port that an earlier stack has just left counts as free.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", 8080))
        except OSError:
            pass  # Somebody else has it already, which is as good.
        else:
            server.listen()
        yield 8080


def test_a_stack_starts_detached_beside_taken_ports_and_says_what_runs(tally: Tally, taken_port: int) -> None:
    stack = json.loads(tally("up", "--detach", "--json").stdout)
    assert set(stack) == {"api", "dagster", "sandbox", "warehouse", "tenant_id", "environment_id", "api_key"}
    assert stack["api"] != f"http://127.0.0.1:{taken_port}"

    me = httpx.get(
        f"{stack['api']}/api/v1/me", headers={"X-API-Key": stack["api_key"]}, trust_env=False, timeout=60
    ).json()
    assert (me["tenant_id"], me["environment_id"]) == (stack["tenant_id"], stack["environment_id"])
    assert httpx.get(f"{stack['api']}/docs", trust_env=False, timeout=60).status_code == 200
    assert httpx.get(f"{stack['sandbox']}/", trust_env=False, timeout=60).status_code == 200
    assert httpx.get(f"{stack['warehouse']}/ping", trust_env=False, timeout=60).text == "Ok.\n"
    assert httpx.get(f"{stack['dagster']}/server_info", trust_env=False, timeout=60).status_code == 200

    # A second `up` starts nothing: it answers with the same stack.
    assert json.loads(tally("up", "--json").stdout) == stack
    assert json.loads(tally("status", "--json").stdout)["running"] is True

    other = json.loads(tally("keys", "create", "--tenant", "Another", "--json").stdout)
    theirs = httpx.get(
        f"{stack['api']}/api/v1/me", headers={"X-API-Key": other["api_key"]}, trust_env=False, timeout=60
    ).json()
    assert theirs["tenant_id"] == other["tenant_id"] != stack["tenant_id"]
    tally(
        "keys",
        "revoke",
        other["key_id"],
        "--tenant-id",
        other["tenant_id"],
        "--environment-id",
        other["environment_id"],
    )

    secrets_file = tally.home / "secrets.json"
    assert secrets_file.stat().st_mode & 0o077 == 0
    # The key is printed by the supervisor that was asked for it, and by nothing else.
    logs = [log for log in (tally.home / "logs").iterdir() if log.name != "supervisor.log"]
    for secret in json.loads(secrets_file.read_text()).values():
        assert [log.name for log in logs if secret in log.read_text(errors="replace")] == []

    assert json.loads(tally("down", "--json").stdout) == {"stopped": True}
    assert json.loads(tally("status", "--json", code=1).stdout) == {"running": False}


def test_keys_with_an_unknown_scope_are_refused_with_the_known_ones(tally: Tally) -> None:
    done = tally("keys", "create", "--tenant", "T", "--scope", "events:eat", code=2)
    assert "unknown scope events:eat" in done.stderr
    assert "events:write" in done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("bill", "--day", "tomorrow"), "write a day as YYYY-MM-DD"),
        (("backfill", "--from", "2024-02-02", "--to", "2024-02-01"), "lies before"),
        (("demo", "--trace", "nowhere.csv"), "no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_mistyped_command_says_what_is_wrong(tally: Tally, words: tuple[str, ...], complaint: str) -> None:
    assert complaint in tally(*words, code=2).stderr
