"""`tally export`: the events of days as Parquet files, exact, one file a UTC day."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Final

import pyarrow.parquet as pq
import typer

from api.names import CustomerNames, looks_like_ours
from billing.errors import NotFound, TallyError
from billing.scope import Scope
from cli.access import find_access, open_warehouse, scope_of
from cli.bill import FromOption, JsonOption, ToOption, read_day
from cli.console import fail, out, print_json, progress
from ingestion.files.parquet import EXPORT_MARK
from ledger.db import Ledger
from settings import Settings, load_settings
from warehouse_sql.client import Warehouse
from warehouse_sql.export import EXPORTED, arrived_by_name, exported_events
from warehouse_sql.reconcile import supersede_duplicates

__all__ = ["export_events"]

_SCHEMA: Final = EXPORTED.with_metadata({EXPORT_MARK: b"1"})


@dataclass(frozen=True)
class _Asked:
    """Whose events, and which."""

    scope: Scope
    event_name: str | None
    customer_id: str | None
    superseded: bool


@dataclass(frozen=True)
class _Written:
    """A file, and how many events it has."""

    file: str
    day: str
    events: int


def export_events(
    start: FromOption,
    to: ToOption = None,
    event_name: Annotated[str | None, typer.Option("--event-name", help="Only events of this name.")] = None,
    customer: Annotated[str | None, typer.Option("--customer", help="Only this customer's: our id or yours.")] = None,
    folder: Annotated[
        Path, typer.Option("--out", help="Folder of the files; made where it is missing.", file_okay=False)
    ] = Path("export"),
    everything: Annotated[
        bool, typer.Option("--all", help="Also events that count nowhere because their identity had come before.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Export events as Parquet: OUT/2024-03-01.parquet and so on, a file for each UTC day, also an empty one."""
    first, last = read_day(start, "--from"), read_day(to or start, "--to")
    if last < first:
        fail(f"--to {last} lies before {first}", code=2)
    settings = load_settings()
    written: list[_Written] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scope, customer_id = _whose(settings, customer)
        with closing(open_warehouse(settings)) as warehouse, progress(shown=not as_json) as bar:
            # Which of two events with one identity counts has to be settled first.
            settled = supersede_duplicates(warehouse).watermark
            asked = _Asked(scope, event_name, customer_id, everything)
            days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
            arrived = {day: arrived_by_name(warehouse, scope, day, event_name) for day in days}
            task = bar.add_task("export", total=sum(sum(names.values()) for names in arrived.values()), note="")
            for day, names in arrived.items():
                bar.update(task, note=f"{day}")
                path = folder / f"{day}.parquet"
                events = _write_day(path, warehouse, asked, day, names, lambda seen: bar.advance(task, seen))
                written.append(_Written(str(path), str(day), events))
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror or error}")
    total = sum(each.events for each in written)
    if as_json:
        print_json({"events": total, "settled_until": settled.isoformat(), "files": [asdict(each) for each in written]})
    else:
        out.print(f"{total:,} events in {len(written)} files in {folder}", markup=False)


def _whose(settings: Settings, customer: str | None) -> tuple[Scope, str | None]:
    """The environment of the key, and the name under which the warehouse knows the customer."""
    ledger = Ledger(settings.resolved_ledger_url)
    try:
        scope = scope_of(ledger, find_access(settings).key)
        if customer is None or not looks_like_ours(customer):
            return scope, customer
        names = CustomerNames(ledger).external(scope, [customer])
    finally:
        ledger.dispose()
    if customer not in names:
        raise NotFound(
            "customer_not_found", f"There is no customer {customer}.", hint="`--customer` takes your id too."
        )
    return scope, names[customer]


def _write_day(
    path: Path,
    warehouse: Warehouse,
    asked: _Asked,
    day: date,
    names: Mapping[str, int],
    seen: Callable[[int], None],
) -> int:
    """Writes one file, whole or not at all, and returns how many events it has."""
    draft = path.with_name(f".{path.name}.new")
    events = 0
    try:
        with pq.ParquetWriter(draft, _SCHEMA, compression="zstd") as file:
            for name, arrived in names.items():
                left = arrived
                for page in exported_events(
                    warehouse, asked.scope, day, name, asked.customer_id, superseded=asked.superseded
                ):
                    file.write_table(page.replace_schema_metadata(_SCHEMA.metadata))
                    events += page.num_rows
                    seen(min(left, page.num_rows))
                    left -= min(left, page.num_rows)
                # Repeated events and those of other customers are not in the pages.
                seen(left)
        with draft.open("rb") as file_on_disk:
            os.fsync(file_on_disk.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return events
