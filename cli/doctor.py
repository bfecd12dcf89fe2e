"""`tally doctor`: the guide's production checklist, run for real."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import httpx
import typer
from rich.table import Table
from rich.text import Text

from billing.errors import TallyError
from cli.access import find_access, scope_of, with_running_stack
from cli.console import fail, out, print_json
from ledger.secretbox import SecretBox
from pipelines.parts import tally_of
from pipelines.steps.production_checks import check_production
from pipelines.steps.production_place import Finding, Level, Place
from settings import Settings, load_settings

__all__ = ["doctor"]

_COLOURS = {Level.GREEN: "green", Level.AMBER: "yellow", Level.RED: "red"}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Go through the production checklist for the environment of TALLY_API_KEY. Exit code 1 when anything is red."""
    given = load_settings()
    access = find_access(given)
    settings = with_running_stack(given)
    findings = [_answers("API", f"{access.api}/readyz"), *_ledger_findings(settings, access.key)]
    red = any(each.level is Level.RED for each in findings)
    if as_json:
        print_json({"ok": not red, "findings": [asdict(each) for each in findings]})
    else:
        out.print(_shown(findings))
    if red:
        raise typer.Exit(1)


def _ledger_findings(settings: Settings, key: str) -> list[Finding]:
    parts = tally_of(settings)
    ring = settings.encryption_key_ring
    try:
        place = Place(
            ledger=parts.ledger,
            warehouse=parts.warehouse,
            gateways=parts.gateways,
            box=SecretBox(ring, next(iter(ring))) if ring else None,
            scope=scope_of(parts.ledger, key),
            public_url=settings.public_url,
            sends_alerts=bool(settings.alert_url),
            support_url=settings.support_url,
            now=datetime.now(UTC),
        )
        return check_production(place)
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    finally:
        parts.warehouse.close()
        parts.ledger.dispose()


def _answers(name: str, url: str) -> Finding:
    try:
        answer = httpx.get(url, timeout=10, trust_env=False)
    except httpx.HTTPError as error:
        detail = f"{url} does not answer ({type(error).__name__})"
        return Finding(name, Level.RED, detail, "Start it with tally up, or correct TALLY_PUBLIC_URL.")
    if not answer.is_success:
        return Finding(name, Level.RED, f"{url} answers {answer.status_code}", "GET it to see which part is down.")
    return Finding(name, Level.GREEN, "ledger and warehouse answer through it")


def _shown(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in findings:
        words = Text(each.detail)
        if each.level is not Level.GREEN and each.way_out:
            words.append(f"\n{each.way_out}", style="dim")
        table.add_row(Text(each.level.value, style=_COLOURS[each.level]), Text(each.check), words)
    return table
