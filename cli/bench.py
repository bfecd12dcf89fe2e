"""`tally bench`: what this machine does with events and usage queries, and whether it reaches the goals."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from bench import billing as billing_bench
from bench import ingest as ingest_bench
from bench import query as query_bench
from bench import sync as sync_bench
from bench.figures import BenchFailed, Goal, Machine
from billing.errors import TallyError
from cli.console import fail, out, print_json, say

__all__ = ["app"]

app = typer.Typer(
    help="Measure on scratch data: a warehouse and an API of their own, removed afterwards.", no_args_is_help=True
)

R = TypeVar("R", ingest_bench.Report, query_bench.Report, billing_bench.Report, sync_bench.Report)
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Write the JSON to this file as well.")]
_INGEST = ingest_bench.Sizes()
_QUERY = query_bench.Sizes()
_BILLING = billing_bench.Sizes()
_SYNC = sync_bench.Sizes()


@app.command("ingest")
def ingest(
    requests: Annotated[int, typer.Option(min=1, help="Bulk requests in each round.")] = _INGEST.requests,
    events_each: Annotated[int, typer.Option(min=1, max=10_000, help="Events in one of them.")] = _INGEST.events_each,
    connections: Annotated[int, typer.Option(min=1, max=1000, help="How many at once.")] = _INGEST.connections,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median one counts.")] = _INGEST.rounds,
    singles: Annotated[int, typer.Option(min=1, help="Requests of one event.")] = _INGEST.singles,
    single_connections: Annotated[
        int, typer.Option(min=1, max=1000, help="How many of them at once.")
    ] = _INGEST.single_connections,
    as_json: JsonOption = False,
    out_file: OutOption = None,
) -> None:
    """Events acknowledged a second over HTTP, beside the engine's own insert of the same rows.

    Exit code 1 where the table does not hold exactly what was acknowledged. A goal that is not reached is no failure.
    """
    sizes = ingest_bench.Sizes(rounds, requests, events_each, connections, singles, single_connections)
    report = _measured(lambda: ingest_bench.measure(sizes, _tell), as_json, out_file)
    if not as_json:
        _show(report.machine, _ingest_rows(report), report.goals)


@app.command("query")
def query(
    events: Annotated[int, typer.Option(min=1000, help="Events of one month.")] = _QUERY.events,
    customers: Annotated[int, typer.Option(min=1, max=99_999, help="Whose they are.")] = _QUERY.customers,
    questions: Annotated[int, typer.Option(min=1, help="Questions about one customer each.")] = _QUERY.questions,
    repeats: Annotated[int, typer.Option(min=1, help="Times that each large answer is timed.")] = _QUERY.repeats,
    day_events: Annotated[
        int, typer.Option(min=1000, help="Events of the day whose build is measured.")
    ] = _QUERY.day_events,
    as_json: JsonOption = False,
    out_file: OutOption = None,
) -> None:
    """How quickly usage is answered and rolled up, beside the same questions in SQL by hand.

    Exit code 1 where two answers to one question differ. A goal that is not reached is no failure.
    """
    sizes = query_bench.Sizes(events, customers, questions, repeats, day_events)
    report = _measured(lambda: query_bench.measure(sizes, _tell), as_json, out_file)
    if not as_json:
        _show(report.machine, _query_rows(report), report.goals)


@app.command("billing")
def billing(
    subscriptions: Annotated[
        int, typer.Option(min=2, max=100_000, help="Subscriptions of three priced lines each.")
    ] = _BILLING.subscriptions,
    events_each: Annotated[
        int, typer.Option(min=1, max=1000, help="Events of each in the month.")
    ] = _BILLING.events_each,
    as_json: JsonOption = False,
    out_file: OutOption = None,
) -> None:
    """How long a billing day takes, from rollups to finalized invoices in PostgreSQL, and how that grows.

    Needs PostgreSQL's binaries on the machine. Exit code 1 where a subscription has not exactly one final invoice or
    the invoices are not what their prices give. A goal that is not reached is no failure.
    """
    sizes = billing_bench.Sizes(subscriptions, events_each)
    report = _measured(lambda: billing_bench.measure(sizes, _tell), as_json, out_file)
    if not as_json:
        _show(report.machine, _billing_rows(report), report.goals)


@app.command("sync")
def sync(
    invoices: Annotated[
        int, typer.Option(min=4, max=100_000, help="Finalized invoices of three lines each.")
    ] = _SYNC.invoices,
    as_json: JsonOption = False,
    out_file: OutOption = None,
) -> None:
    """How fast finalized invoices get to Stripe, beside the same calls sent bare, to a sandbox that limits nothing.

    In PostgreSQL where its binaries are there, else in SQLite. Exit code 1 where an invoice is not at Stripe exactly
    once with its total. A goal that is not reached is no failure.
    """
    report = _measured(lambda: sync_bench.measure(sync_bench.Sizes(invoices), _tell), as_json, out_file)
    if not as_json:
        _show(report.machine, _sync_rows(report), report.goals)


def _tell(line: str) -> None:
    say("bench", line)


def _measured(measure: Callable[[], R], as_json: bool, out_file: Path | None) -> R:
    if out_file is not None and not out_file.absolute().parent.is_dir():
        fail(f"--out {out_file}: the folder does not exist", code=2)
    try:
        report = measure()
    except (BenchFailed, RuntimeError, OSError) as error:
        fail(str(error))
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    document: dict[str, Any] = asdict(report)
    document["goals"] = [{**asdict(goal), "met": goal.met} for goal in report.goals]
    if out_file is not None:
        out_file.write_text(json.dumps(document, indent=2) + "\n")
    if as_json:
        print_json(document)
    return report


def _show(machine: Machine, rows: Sequence[tuple[str, str, str]], goals: Sequence[Goal]) -> None:
    out.print(f"{machine.measured_at}, {machine.cpus} CPUs, load average {machine.load_average} before")
    table = Table(pad_edge=False)
    for heading, side in (("", "left"), ("figure", "right"), ("", "left")):
        table.add_column(heading, justify="right" if side == "right" else "left")
    for row in rows:
        table.add_row(*row)
    out.print(table)
    for goal in goals:
        bound = f"{'at most' if goal.at_most else 'at least'} {goal.bound:,g}"
        out.print(f"{'reached' if goal.met else 'MISSED ':<8} {goal.name}: {goal.figure:,g} (goal: {bound})")


def _ingest_rows(report: ingest_bench.Report) -> list[tuple[str, str, str]]:
    rows = [("events acknowledged/s in bulk", f"{report.bulk.events_per_second:,.0f}", _sent(report.bulk))]
    for one in report.engine:
        told = f"{one.inserts} inserts; µs of CPU an event: {one.warehouse_cpu_us}"
        base = " (the base)" if one.way == report.base else ""
        rows.append((f"engine alone: {one.way}", f"{one.events_per_second:,.0f}", told + base))
    single = report.single
    return [
        *rows,
        ("bulk through the base", f"{report.ratio:.2f}", f"by CPU {report.cpu_ratio:.2f}"),
        ("single events acknowledged/s", f"{single.events_per_second:,.0f}", _sent(single)),
        ("single events, p50 and p99", f"{single.p50_ms:.0f} / {single.p99_ms:.0f} ms", "at full load"),
        ("API, peak memory", f"{max(report.bulk.api_peak_mb, single.api_peak_mb):,.0f} MB", ""),
        ("warehouse, peak memory", f"{max(report.bulk.warehouse_peak_mb, single.warehouse_peak_mb):,.0f} MB", ""),
    ]


def _sent(sent: ingest_bench.Sent) -> str:
    return (
        f"{sent.acknowledged:,} acknowledged = stored, {sent.inserts} inserts; µs of CPU an event: "
        f"API {sent.api_cpu_us}, warehouse {sent.warehouse_cpu_us}, load {sent.load_cpu_us}"
    )


def _billing_rows(report: billing_bench.Report) -> list[tuple[str, str, str]]:
    rows = []
    for one in (report.half, report.whole):
        told = (
            f"{one.lines:,} lines, {one.total} USD; {', '.join(f'{name} {took}' for name, took in one.steps.items())}"
        )
        rows.append((f"{one.subscriptions:,} subscriptions", f"{one.seconds:,.1f} s", told))
    one = report.whole
    return [
        *rows,
        ("twice the subscriptions", f"{report.growth:.2f} times as long", ""),
        ("reading the ledger", f"{one.reading_seconds:,.1f} s", f"{one.statements:,} statements, read and write"),
        ("writing the ledger", f"{one.writing_seconds:,.1f} s", ""),
        ("asking the warehouse", f"{one.warehouse_seconds:,.1f} s", "summed over the threads that ask"),
        ("rating the lines, alone", f"{one.rating_seconds:,.1f} s", ""),
        ("billing process", f"{one.cpu_seconds:,.1f} s of CPU", f"peak {one.peak_mb:,.0f} MB"),
    ]


def _sync_rows(report: sync_bench.Report) -> list[tuple[str, str, str]]:
    sent, bare = report.sent, report.bare
    spent = (
        f"{sent.steps_ms} steps and ledger, {sent.turns_ms} pace, {sent.client_ms} Stripe's client, "
        f"{sent.http_ms} sending"
    )
    return [
        ("invoices/s", f"{sent.per_second:,.1f}", f"{sent.invoices:,} in {sent.seconds:,.1f} s from {report.ledger}"),
        ("calls for an invoice", f"{sent.calls_each:.2f}", ", ".join(f"{k} {n:g}" for k, n in sent.calls.items())),
        ("our CPU for an invoice", f"{sent.cpu_ms:.1f} ms", spent),
        ("a core of ours could send", f"{report.per_core:,.1f} /s", ""),
        ("ledger's commits for an invoice", f"{sent.commits_each:.2f}", f"PostgreSQL {sent.postgres_ms} ms of CPU"),
        ("sandbox's CPU for an invoice", f"{sent.sandbox_ms:.1f} ms", ""),
        (
            "the same calls, bare",
            f"{bare.floor_ms:.1f} ms",
            f"{bare.calls} calls, {bare.calls_per_second:,.0f}/s; sandbox {bare.sandbox_ms_each} ms a call",
        ),
        ("ours through bare", f"{report.ratio:.1f}", "by CPU"),
    ]


def _query_rows(report: query_bench.Report) -> list[tuple[str, str, str]]:
    rollups = [f"{name} {report.stored_mb.get(name, 0):,.0f} MB" for name in ("usage_hourly", "usage_daily")]
    cpu = report.everybodys_days.cpu_seconds
    one, everybody, month, day = report.customer_month, report.everybodys_days, report.month_build, report.large_day
    month_told = (
        f"{month.events:,} events, {month.rows:,} rows, peak {month.peak_mb:,.0f} MB; before that reconciled in "
        f"{month.reconcile_seconds:.1f} s, peak {month.reconcile_peak_mb:,.0f} MB"
    )
    day_told = (
        f"{day.events:,} events, peak {day.peak_mb:,.0f} MB; the grouping by hand {day.by_hand_seconds or 0:.1f} s, "
        f"peak {day.by_hand_peak_mb or 0:,.0f} MB"
    )
    return [
        (
            "one customer's month, p50 and p99",
            f"{one.p50_ms:.1f} / {one.p99_ms:.1f} ms",
            f"{one.questions} customers over HTTP; ms of CPU: API {one.api_cpu_ms}, warehouse {one.warehouse_cpu_ms}",
        ),
        (
            "the bare sum by hand, and SELECT 1",
            f"{one.by_hand_ms:.1f} / {one.nothing_ms:.1f} ms",
            "p50, asked of the warehouse",
        ),
        (
            "all customers by day, rollups",
            f"{everybody.rollup_seconds:.3f} s",
            f"{everybody.rows:,} rows as JSON; {cpu['rollup']:.3f} s of CPU",
        ),
        ("the same over HTTP", f"{everybody.over_http_seconds:.3f} s", f"{cpu['over_http']:.3f} s of CPU"),
        ("the same from the events", f"{everybody.raw_seconds:.3f} s", f"{cpu['raw']:.3f} s of CPU"),
        (
            "the same by hand, FINAL",
            f"{everybody.by_hand_seconds:.3f} s",
            f"{cpu['by_hand']:.3f} s of CPU; each event once",
        ),
        (
            "the same by hand, no FINAL",
            f"{everybody.by_hand_with_duplicates_seconds:.3f} s",
            "resent events count twice",
        ),
        ("the month's rollups, built", f"{month.seconds:.1f} s", month_told),
        ("one large day's rollups, built", f"{day.seconds:.1f} s", day_told),
        (
            "on disk",
            f"{sum(report.stored_mb.values()):,.0f} MB",
            f"{report.bytes_per_event} bytes an event; " + ", ".join(rollups),
        ),
        ("warehouse, peak memory of the queries", f"{report.warehouse_peak_mb:,.0f} MB", ""),
    ]
