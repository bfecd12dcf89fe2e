"""`tally backfill` and `tally bill`: run the pipeline for days, through Dagster, and watch it."""

from datetime import date, timedelta
from typing import Annotated

import typer

from cli.console import fail, out, print_json
from cli.stack.home import Home
from cli.stack.state import read_state
from pipelines import launch
from settings import load_settings

__all__ = [
    "BILLING_ASSETS",
    "USAGE_ASSETS",
    "FromOption",
    "JsonOption",
    "ToOption",
    "backfill",
    "bill",
    "read_day",
    "run_assets",
]

USAGE_ASSETS = ("events_reconciled", "usage_hourly")
BILLING_ASSETS = (
    "billable_quantities",
    "draft_invoices",
    "priced_invoices",
    "finalized_invoices",
    "stripe_invoices",
)

FromOption = Annotated[str, typer.Option("--from", help="First day, YYYY-MM-DD (UTC).")]
ToOption = Annotated[str | None, typer.Option("--to", help="Last day, inclusive; default: the first day.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def backfill(start: FromOption, to: ToOption = None, as_json: JsonOption = False) -> None:
    """Build (or build again) the usage rollups of a range of days. Always safe: an unchanged day stays as it is."""
    _run(USAGE_ASSETS, read_day(start, "--from"), read_day(to or start, "--to"), as_json)


def bill(
    day: Annotated[str, typer.Option("--day", help="First billing day: the UTC day in which a period ends.")],
    to: ToOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bill every subscription whose period ends in the days, and sync. Running it again bills nothing twice."""
    _run(BILLING_ASSETS, read_day(day, "--day"), read_day(to or day, "--to"), as_json)


def run_assets(
    dagster_url: str, assets: tuple[str, ...], first: date, last: date, timeout_seconds: float
) -> tuple[str, tuple[str, ...]]:
    """Launch one run over the days and wait for it; returns its id and the checks that failed without stopping it.

    Raises launch.RunFailed with Dagster's reason.
    """
    run_id = launch.launch(dagster_url, assets, first.isoformat(), last.isoformat())
    return run_id, launch.wait(dagster_url, run_id, timeout_seconds).failed_checks


def _run(assets: tuple[str, ...], first: date, last: date, as_json: bool) -> None:
    if last < first:
        fail(f"--to {last} lies before {first}", code=2)
    settings = load_settings()
    state = read_state(Home(settings.home).state_file)
    url = state.public.get("dagster", settings.dagster_url) if state else settings.dagster_url
    limit = 120 + 2 * ((last - first) / timedelta(days=1))
    try:
        run_id, failed_checks = run_assets(url, assets, first, last, limit)
    except launch.DagsterUnreachable as error:
        fail(error.detail, hint="Start it with `tally up`.")
    except launch.RunFailed as error:
        fail(error.detail, hint=f"See the run in the Dagster UI at {url}")
    if as_json:
        print_json({"run_id": run_id, "url": f"{url}/runs/{run_id}", "failed_checks": list(failed_checks)})
    else:
        out.print(f"done: {url}/runs/{run_id}")
        for check in failed_checks:
            out.print(f"  check failed: {check}", markup=False)
    if failed_checks:
        raise typer.Exit(1)


def read_day(text: str, option: str) -> date:
    """The day that an option names; ends the command where it is none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        fail(f"{option} {text}: write a day as YYYY-MM-DD", code=2)
