"""`tally backfill` and `tally bill`: run the pipeline for days, through Dagster, and watch it."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer

from billing.errors import InvalidInput
from cli.console import fail, out, print_json, progress
from cli.stack.home import Home
from cli.stack.state import read_state
from pipelines import launch
from pipelines.steps.run_days import require_days
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
    "late_adjustments",
    "draft_invoices",
    "priced_invoices",
    "finalized_invoices",
    "stripe_invoices",
)

TenantOption = Annotated[str, typer.Option("--tenant", help="Only this tenant: tenant_…")]
EnvironmentOption = Annotated[str, typer.Option("--environment", help="Only this environment: env_…")]
FromOption = Annotated[str, typer.Option("--from", help="First day, YYYY-MM-DD (UTC).")]
ToOption = Annotated[str | None, typer.Option("--to", help="Last day, inclusive; default: the first day.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def backfill(
    start: FromOption,
    to: ToOption = None,
    tenant: TenantOption = "",
    environment: EnvironmentOption = "",
    meter: Annotated[str, typer.Option("--meter", help="Only this meter: meter_…")] = "",
    force: Annotated[bool, typer.Option("--force", help="Build days again that have seen everything.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Build (or build again) the usage rollups of a range of days. Always safe: an unchanged day stays as it is."""
    chosen = {"tenant_id": tenant, "environment_id": environment, "meter_id": meter}
    _run(USAGE_ASSETS, read_day(start, "--from"), read_day(to or start, "--to"), chosen, force=force, as_json=as_json)


def bill(
    day: Annotated[str, typer.Option("--day", help="First billing day: the UTC day in which a period ends.")],
    to: ToOption = None,
    tenant: TenantOption = "",
    environment: EnvironmentOption = "",
    subscription: Annotated[str, typer.Option("--subscription", help="Only this subscription: sub_…")] = "",
    as_json: JsonOption = False,
) -> None:
    """Bill every subscription whose period ends in the days, and sync. Running it again bills nothing twice."""
    chosen = {"tenant_id": tenant, "environment_id": environment, "subscription_id": subscription}
    _run(BILLING_ASSETS, read_day(day, "--day"), read_day(to or day, "--to"), chosen, force=False, as_json=as_json)


def run_assets(
    dagster_url: str, assets: tuple[str, ...], first: date, last: date, timeout_seconds: float
) -> tuple[str, tuple[str, ...]]:
    """Launch one run over the days and wait for it; returns its id and the checks that failed without stopping it.

    Raises launch.RunFailed with Dagster's reason.
    """
    run_id = launch.launch(dagster_url, assets, first.isoformat(), last.isoformat())
    return run_id, launch.wait(dagster_url, run_id, timeout_seconds).failed_checks


def _run(
    assets: tuple[str, ...], first: date, last: date, chosen: Mapping[str, str], *, force: bool, as_json: bool
) -> None:
    try:
        require_days(first, last, datetime.now(UTC).date())
    except InvalidInput as error:
        fail(error.detail, hint=error.hint, code=2)
    settings = load_settings()
    state = read_state(Home(settings.home).state_file)
    url = state.public.get("dagster", settings.dagster_url) if state else settings.dagster_url
    limit = 120 + 2 * ((last - first) / timedelta(days=1))
    try:
        run_id = launch.launch(url, assets, first.isoformat(), last.isoformat(), chosen, force=force)
        failed_checks = _watch(url, run_id, assets, limit, shown=not as_json)
    except launch.DagsterUnreachable as error:
        fail(error.detail, hint="Start it with `tally up`.")
    except launch.RunFailed as error:
        fail(error.detail, hint=error.hint or f"See the run in the Dagster UI at {url}")
    if as_json:
        print_json({"run_id": run_id, "url": f"{url}/runs/{run_id}", "failed_checks": list(failed_checks)})
    else:
        out.print(f"done: {url}/runs/{run_id}")
        for check in failed_checks:
            out.print(f"  check failed: {check}", markup=False)
    if failed_checks:
        raise typer.Exit(1)


def _watch(url: str, run_id: str, assets: tuple[str, ...], limit: float, *, shown: bool) -> tuple[str, ...]:
    with progress(shown=shown) as bar:
        task = bar.add_task("run", total=len(assets), note="queued")

        def show(seen: launch.Progress) -> None:
            done = sum(asset in seen.finished for asset in assets)
            bar.update(task, completed=done, note=", ".join(seen.running) or seen.status.lower())

        return launch.wait(url, run_id, limit, show).failed_checks


def read_day(text: str, option: str) -> date:
    """The day that an option names; ends the command where it is none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        fail(f"{option} {text}: write a day as YYYY-MM-DD", code=2)
