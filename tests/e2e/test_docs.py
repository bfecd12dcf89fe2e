"""The commands of the docs are run as they stand, in their order, against a real stack."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack.home import Home
from cli.stack_commands import start_detached, stop_stack

REPO = Path(__file__).resolve().parents[2]
PAGES = (
    "catalog",
    "subscriptions",
    "events",
    "usage",
    "files",
    "stripe",
    "dagster",
    "invoices",
    "adjustments",
    "late-events",
    "stripe",
)


def _blocks(page: str, language: str) -> list[str]:
    text = (REPO / "docs" / f"{page}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    place = Home(tmp_path / "home")
    yield place
    stop_stack(place)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the docs use curl, which this machine lacks")
def test_the_commands_of_the_docs_work_in_their_order(home: Home) -> None:
    stack = start_detached(home)
    *first, last = [_blocks(page, "sh") for page in PAGES]
    # Only the look at the invoices is repeated after billing.
    [again] = [block for block in last if block.startswith('get "invoices?')]
    script = "\n".join(["set -euo pipefail", *(block for blocks in first for block in blocks), again])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=REPO,
        env={
            **os.environ,
            "API": stack["api"],
            "KEY": stack["api_key"],
            "SANDBOX": stack["sandbox"],
            "TALLY_HOME": str(home.root),
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    untrue = [output for output in _blocks("invoices", "text") if f"\n{output}" not in done.stdout]
    assert not untrue, done.stdout[-5000:]
    # One request of 2024-01-21 at the guide's price, beside the base fee: 29.00 + 10.00 + 2 x 0.01.
    assert '"total":"39.02"' in done.stdout.splitlines()[-1].replace(": ", ":"), done.stdout[-3000:]
