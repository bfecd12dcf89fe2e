"""The house rules that a tool can hold: names, settings, docs, imports."""

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from typer.main import get_command

from cli.main import app
from settings import Settings

REPO = Path(__file__).resolve().parents[2]
PARTS = (
    "api",
    "bench",
    "billing",
    "cli",
    "ingestion",
    "integrations",
    "ledger",
    "pipelines",
    "settings",
    "warehouse_sql",
)


@pytest.mark.parametrize("name", PARTS)
def test_no_dependency_claims_the_name_of_one_of_our_packages(name: str) -> None:
    owners = set(packages_distributions().get(name, ())) - {"tallyhouse"}
    assert not owners, f"{owners} would shadow our {name} in an editable install"


@pytest.mark.parametrize("name", PARTS)
def test_every_package_ships_its_types(name: str) -> None:
    assert (REPO / name / "py.typed").is_file()


def test_every_setting_stands_in_env_example_and_nothing_else() -> None:
    shown = set(re.findall(r"^#?(TALLY_[A-Z_]+)=", (REPO / ".env.example").read_text(), re.MULTILINE))
    assert shown == {f"TALLY_{name.upper()}" for name in Settings.model_fields}


def test_every_command_stands_in_the_docs() -> None:
    docs = "\n".join(page.read_text() for page in [REPO / "README.md", *(REPO / "docs").glob("*.md")])
    missing = [name for name in get_command(app).commands if f"tally {name}" not in docs]  # type: ignore[attr-defined]
    assert not missing


def test_every_direct_dependency_has_a_reason_in_the_readme() -> None:
    listed = re.findall(r'^  "([a-z0-9-]+)', (REPO / "pyproject.toml").read_text(), re.MULTILINE)
    readme = (REPO / "README.md").read_text().lower()
    assert [name for name in listed if name not in readme] == []


def test_a_command_that_is_mistyped_says_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "demo", "--customers", "none"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--customers" in done.stderr


def test_no_float_literal_and_no_float_call_stands_in_billing() -> None:
    found = []
    for path in (REPO / "billing").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
            is_call = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "float"
            if is_literal or is_call:
                found.append(f"{path.relative_to(REPO)}:{node.lineno}")
    assert found == []


def test_statements_for_the_warehouse_are_sql_files_only() -> None:
    # The embedded server is no client: it makes a request's own external tables under quoted names.
    server = REPO / "warehouse_sql" / "embedded"
    pattern = re.compile(r"""f["'].*\b(SELECT|INSERT INTO|DELETE FROM|ALTER TABLE)\b.*\{""")
    found = [
        f"{path.relative_to(REPO)}:{number}"
        for part in PARTS
        for path in (REPO / part).rglob("*.py")
        if server not in path.parents
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_every_practice_and_hole_of_the_security_page_names_tests_that_exist() -> None:
    page = (REPO / "docs" / "security.md").read_text().partition("## The rights of a restricted key")[0]
    defined = {
        name
        for path in (REPO / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }
    rows = [re.findall(r"`(test_\w+)`", line) for line in page.splitlines() if line.startswith("| ")]
    named = [row for row in rows if row]
    # Three tables with a heading each: fifteen practices, eleven holes, five scenarios.
    assert (len(rows) - len(named), len(named)) == (6, 31)
    assert [name for row in named for name in row if name not in defined] == []


def test_every_promise_of_the_docs_has_a_test_that_is_named_after_it() -> None:
    promised = re.findall(r"^\| ([EUMS]\d) \|", (REPO / "docs" / "promises.md").read_text(), re.MULTILINE)
    tests = "\n".join(path.read_text() for path in (REPO / "tests").rglob("test_*.py"))
    assert len(promised) == 19
    assert [promise for promise in promised if f"def test_{promise}_" not in tests] == []
