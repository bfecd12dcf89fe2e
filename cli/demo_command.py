"""`tally demo`: the main job, on scratch data, proven customer by customer."""

import json
import os
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import httpx
import polars as pl
import typer
from rich.table import Table

from cli.console import fail, out
from cli.demo.client import DemoFailed
from cli.demo.run import Demo, Outcome
from cli.demo.trace import BUNDLED_TRACE, TraceError, choose_period, load_trace
from cli.stack.home import Home
from cli.stack.supervisor import StackFailed
from cli.stack_commands import start_detached, stop_stack
from pipelines.launch import RunFailed
from settings import load_settings

__all__ = ["demo"]


def demo(
    trace: Annotated[Path, typer.Option(help="CSV with TIMESTAMP, ContextTokens, GeneratedTokens.")] = BUNDLED_TRACE,
    customers: Annotated[int, typer.Option(min=1, max=1000, help="Row i belongs to customer i modulo this.")] = 50,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running afterwards.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
) -> None:
    """Turn a trace of real requests into paid invoices and prove each total. Exit code 0 only if all agree."""
    now = datetime.now(UTC)
    try:
        rows = load_trace(trace)
        first, last = rows.select(a=pl.col("at").min(), b=pl.col("at").max()).row(0)
        period = choose_period(first, last, now)
    except TraceError as error:
        fail(str(error), code=2)
    if report is not None and not report.absolute().parent.is_dir():
        fail(f"--report {report}: the folder does not exist", code=2)

    started = time.monotonic()
    home = Home(load_settings().home / "demo")
    if stop_stack(home):
        out.print("ended the stack of an earlier demo")
    shutil.rmtree(home.root, ignore_errors=True)
    out.print(f"0  stack       starting on scratch data in {home.root}")
    try:
        public = start_detached(home)
        out.print(f"               up after {time.monotonic() - started:.0f} s")
        run = Demo(public, rows, period, customers, out.print)
        try:
            outcomes = run.run()
        finally:
            run.close()
    except (StackFailed, DemoFailed, RunFailed, httpx.HTTPError) as error:
        _end(home, keep)
        fail(str(error), hint=f"Logs are in {home.logs}")
    ok = all(outcome.agrees for outcome in outcomes)
    out.print(_table(outcomes))
    agreeing = sum(outcome.agrees for outcome in outcomes)
    word = "all agree" if ok else "NOT all agree"
    out.print(
        f"{word}: {agreeing} of {len(outcomes)} customers, {len(rows):,} rows, {time.monotonic() - started:.0f} s"
    )
    if report is not None:
        document = {
            "ok": ok,
            "plan": run.plan,
            "feature_meters": run.feature_meters,
            "period": {"start": period.start.isoformat(), "end": period.end.isoformat()},
            "customers": [asdict(outcome) for outcome in outcomes],
        }
        report.write_text(json.dumps(document, indent=2) + "\n")
        out.print(f"report: {report}")
    _where_to_look(public, home, keep)
    _end(home, keep)
    raise typer.Exit(0 if ok else 1)


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title=None, pad_edge=False)
    for heading in ("customer", "prompt", "completion", "requests", "billed", "expected", "Stripe", "payment", ""):
        table.add_column(heading, justify="left" if heading in {"customer", "payment", ""} else "right")
    for row in outcomes:
        table.add_row(
            row.customer_id,
            row.usage["prompt_tokens"],
            row.usage["completion_tokens"],
            row.usage["requests"],
            row.billed,
            row.expected,
            row.stripe_total,
            row.payment_status,
            "ok" if row.agrees else "DIFFERS",
        )
    return table


def _where_to_look(public: dict[str, str], home: Home, keep: bool) -> None:
    if not keep:
        out.print("look around: `make demo ARGS=--keep` leaves it running (API docs, Dagster UI, the sandbox's pages)")
        return
    out.print("look around:")
    out.print(f"  API docs        {public['api']}/docs  (X-API-Key: {public['api_key']})")
    out.print(f"  Dagster UI      {public['dagster']}")
    out.print(f"  Stripe sandbox  {public['sandbox']}/")
    out.print(f"  stop it         TALLY_HOME={os.path.relpath(home.root)} tally down")


def _end(home: Home, keep: bool) -> None:
    if not keep:
        stop_stack(home)
