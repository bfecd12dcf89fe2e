"""`tally rerate`: final periods rated again with today's events, and by other prices; chosen differences billed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from billing.errors import TallyError
from billing.instant import format_instant
from billing.line_adjustment import Treatment
from billing.money import format_decimal
from billing.scope import Scope
from cli.access import find_access, scope_of, with_running_stack
from cli.bill import FromOption, JsonOption, ToOption, read_day
from cli.console import fail, out, print_json, progress
from pipelines.parts import Tally, tally_of
from pipelines.steps.chosen import Chosen
from pipelines.steps.isolation import Failure
from pipelines.steps.rerate import Applied, Decision, Rerated, RerateWanted, apply_rerate, frame_of, rerate, rows_of
from pipelines.steps.settle_adjustments import Settled, settle_adjustments
from settings import load_settings

__all__ = ["rerate_command"]

_MOST_SHOWN = 50


def rerate_command(
    start: FromOption,
    to: ToOption = None,
    subscription: Annotated[str, typer.Option("--subscription", help="Only this subscription: sub_…")] = "",
    price_version: Annotated[
        list[str] | None,
        typer.Option("--price-version", help="price_…=VERSION: rate the price by it. Repeat for more."),
    ] = None,
    as_of_prices: Annotated[
        str | None, typer.Option("--as-of-prices", help="YYYY-MM-DD: the versions in force then (UTC), of all prices.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--out", help="Write the differences to this Parquet file.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Bill the differences, or those of --invoice.")] = False,
    invoice: Annotated[list[str] | None, typer.Option("--invoice", help="Only of this invoice: inv_… Repeat.")] = None,
    line: Annotated[list[str] | None, typer.Option("--line", help="Only of this line: line_… Repeat.")] = None,
    treatment: Annotated[
        Treatment | None, typer.Option("--treatment", help="How they are billed; default: as the environment has it.")
    ] = None,
    person: Annotated[str, typer.Option("--person", help="With --apply: who decides this, a person's name.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="With --apply: why; kept in the audit log.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Rate final periods that end in the days again, with the events of today, and show what differs.

    Changes nothing without --apply.
    """
    wanted = RerateWanted(
        start=_midnight(read_day(start, "--from")),
        end=_midnight(read_day(to or start, "--to")) + timedelta(days=1),
        subscription_id=subscription or None,
        versions=_versions(price_version or []),
        prices_at=None if as_of_prices is None else _midnight(read_day(as_of_prices, "--as-of-prices")),
    )
    if apply and not (person.strip() and reason.strip()):
        fail("--apply needs --person and --reason", hint="Say who decides this and why; both are audited.", code=2)
    settings = with_running_stack(load_settings())
    access = find_access(settings)
    parts = tally_of(settings)
    try:
        scope = scope_of(parts.ledger, access.key)
        rated = _rated(parts, scope, wanted, shown=not as_json)
        if file is not None:
            frame_of(rated).write_parquet(file)
        applied = settled = None
        if apply:
            decision = Decision(person, reason, "cli", tuple(invoice or ()), tuple(line or ()), treatment)
            applied = apply_rerate(parts.ledger, parts.warehouse, scope, wanted, decision, parts.clock())
            chosen = Chosen(scope.tenant_id, scope.environment_id, subscription)
            settled = settle_adjustments(parts.ledger, parts.clock(), chosen, "cli")
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    finally:
        parts.warehouse.close()
        parts.ledger.dispose()
    failures = [*rated.failures, *(applied.failures if applied else ()), *(settled.failures if settled else ())]
    if as_json:
        print_json(_as_json(rated, applied, settled, failures, file))
    else:
        _show(rated, applied, settled, failures, file)
    if failures:
        raise typer.Exit(1)


def _rated(parts: Tally, scope: Scope, wanted: RerateWanted, *, shown: bool) -> Rerated:
    with progress(shown=shown) as bar:
        task = bar.add_task("rate", total=None, note="invoices")

        def tell(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of, note="invoices")

        return rerate(parts.ledger, parts.warehouse, scope, wanted, tell)


def _versions(texts: Sequence[str]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for text in texts:
        price_id, _, version = text.partition("=")
        if not (price_id and version.isascii() and version.isdigit()):
            fail(f"--price-version {text}: write it as price_…=2", code=2)
        found[price_id] = int(version)
    return found


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _as_json(
    rated: Rerated, applied: Applied | None, settled: Settled | None, failures: Sequence[Failure], file: Path | None
) -> dict[str, object]:
    return {
        "invoices": rated.invoices,
        "lines": rated.lines,
        "watermark": format_instant(rated.watermark),
        "file": None if file is None else str(file),
        "differences": [_plain(row) for row in rows_of(rated)],
        "applied": None
        if applied is None
        else [
            {"adjustment_id": one.id, "line_id": one.line_id, "amount": format_decimal(one.amount)}
            for one in applied.adjustments
        ],
        "invoices_made": [] if settled is None else [invoice.id for _, invoice in settled.invoices],
        "credit_notes_made": [] if settled is None else [note.id for _, note in settled.credit_notes],
        "failures": [_plain(asdict(failure)) for failure in failures],
    }


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """Amounts and instants as texts, which keep every digit."""
    return {
        name: format_decimal(value)
        if isinstance(value, Decimal)
        else (format_instant(value) if isinstance(value, datetime) else value)
        for name, value in values.items()
    }


def _show(
    rated: Rerated, applied: Applied | None, settled: Settled | None, failures: Sequence[Failure], file: Path | None
) -> None:
    out.print(f"rated {rated.lines} lines of {rated.invoices} final invoices; {len(rated.differences)} differ")
    if rated.differences:
        table = Table("invoice", "customer", "line", "billed", "comes to", "difference", box=None, pad_edge=False)
        for each in rated.differences[:_MOST_SHOWN]:
            texts = (
                each.invoice.number or each.invoice.id,
                each.customer_id,
                f"{each.line.display_name} ({each.line.id})",
                f"{format_decimal(each.billed)} for {format_decimal(each.billed_quantity)}",
                f"{format_decimal(each.rated.due)} for {format_decimal(each.rated.quantity)}",
                f"{format_decimal(each.amount)} {each.invoice.currency}",
            )
            table.add_row(*map(Text, texts))
        out.print(table)
        if len(rated.differences) > _MOST_SHOWN:
            out.print(f"… and {len(rated.differences) - _MOST_SHOWN} more; --out FILE.parquet has them all")
    if file is not None:
        out.print(f"written to {file}", markup=False)
    if applied is not None:
        out.print(f"recorded {len(applied.adjustments)} adjustments")
    if settled is not None:
        for _, invoice in settled.invoices:
            out.print(f"  invoice {invoice.number}: {format_decimal(invoice.total)} {invoice.currency}", markup=False)
        for _, note in settled.credit_notes:
            out.print(f"  credit note {note.number}: {format_decimal(note.total)} {note.currency}", markup=False)
    for failure in failures:
        out.print(f"  not rated: {failure.subject}: {failure.detail}", markup=False)
