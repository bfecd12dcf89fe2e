"""`tally import`: files of events through the public API, exact, counted once, and resumable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.progress import Progress

from api.limits import limits_of
from billing.errors import TallyError
from cli.access import find_access
from cli.console import fail, out, print_json, progress
from cli.importing.progress import FileImport, ImportBusyError, Progressed, RefusedRow, write_report
from cli.importing.run import Send, decoder, import_file
from cli.importing.send import EventSender, NotTakenError
from cli.stack.home import Home
from ingestion.files.mapping import ColumnMapping
from ingestion.files.moments import Moments, TimestampUnit
from ingestion.files.open import FileFormat, file_digest, open_file
from settings import Settings, load_settings

__all__ = ["import_files"]

_SHOWN = 20


@dataclass(frozen=True)
class _Job:
    """What the options say, for every file."""

    settings: Settings
    file_format: FileFormat | None
    delimiter: str | None
    columns: dict[str, str]
    constants: dict[str, str]
    properties: tuple[str, ...] | None
    moments: Moments
    again: bool

    def mapping(self, digest: str, *, ours: bool) -> ColumnMapping:
        return ColumnMapping(
            file_id=digest[:32],
            columns=self.columns,
            constants=self.constants,
            properties=self.properties,
            moments=self.moments,
            ours=ours,
        )

    def identity(self, digest: str, where: str) -> dict[str, Any]:
        """What has to be the same for an import to go on where it stopped."""
        return {
            "sha256": digest,
            "to": where,
            "map": self.columns,
            "set": self.constants,
            "properties": self.properties,
            "timestamp_unit": self.moments.unit,
            "timezone": self.moments.timezone and self.moments.timezone.key,
            "format": self.file_format,
            "delimiter": self.delimiter,
        }


@dataclass(frozen=True)
class _Outcome:
    """What became of one file. `resumed_after` is the row up to which an earlier run had come."""

    file: str
    resumed_after: int
    kept: FileImport

    def told(self) -> dict[str, Any]:
        counts = asdict(self.kept.progress)
        del counts["journal_bytes"], counts["row"]
        return {"file": self.file, "resumed_after": self.resumed_after, **counts}


def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(help="NDJSON, CSV or Parquet; .gz and .zst too.", exists=True, dir_okay=False, readable=True),
    ],
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="What the files are, where their names do not say it.")
    ] = None,
    maps: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN, repeatable: the column that is a field.")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE, repeatable: one value for every row.")
    ] = None,
    properties: Annotated[
        str | None, typer.Option(help="Columns that become properties: a,b,c. Default: all that are no field.")
    ] = None,
    timestamp_unit: Annotated[
        TimestampUnit, typer.Option(help="How timestamps are written: rfc3339, or a count of s, ms, us, ns since 1970.")
    ] = TimestampUnit.RFC3339,
    timezone: Annotated[
        str | None, typer.Option(help="IANA time zone of timestamps without an offset, such as Europe/Berlin.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="Between the cells of a CSV; default: comma, .tsv tab.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write the refused rows here: .csv or .ndjson.", dir_okay=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decode and report only; nothing is sent.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Send every row, also what was acknowledged before; nothing counts twice.")
    ] = False,
    retry_for: Annotated[
        float, typer.Option(min=0, help="Seconds to go on trying while the API is unavailable.")
    ] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Import events from files; running it again goes on where it stopped and counts nothing twice.

    Ends with 0 when every row is stored, 1 when it stopped before the end, 3 when rows were refused.
    """
    job = _Job(
        settings=load_settings(),
        file_format=file_format,
        delimiter=delimiter,
        columns=_pairs(maps, "--map"),
        constants=_pairs(sets, "--set"),
        properties=None if properties is None else tuple(name for name in properties.split(",") if name),
        moments=Moments(timestamp_unit, _timezone(timezone)),
        again=again,
    )
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        fail("--delimiter: use one character", code=2)
    _check(job, files)
    stopped: str | None = None
    hint: str | None = None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory())) if dry_run else Home(job.settings.home).imports
        send, where = _decoding(job) if dry_run else _sending(job, retry_for, stack)
        bar = stack.enter_context(progress(shown=not as_json))
        outcomes: list[_Outcome] = []
        for path in files:
            try:
                _import(job, path, folder, where, send, bar, outcomes)
            except ImportBusyError:
                stopped, hint = f"{path} is being imported by another process", "Wait for it, or end it."
            except NotTakenError as error:
                stopped, hint = error.message, error.hint
            except TallyError as error:
                stopped, hint = str(error), error.hint or "Run the same command again: it goes on where it stopped."
            except OSError as error:
                stopped = f"{path}: {error.strerror or error}"
            if stopped:
                break
        bar.stop()
        if report is not None:
            write_report(report, _refused(outcomes))
        _tell(outcomes, stopped, report, dry_run=dry_run, as_json=as_json)
    if stopped:
        fail(stopped, hint=hint)
    if any(outcome.kept.progress.refused for outcome in outcomes):
        raise typer.Exit(3)


def _check(job: _Job, files: Sequence[Path]) -> None:
    """Nothing is sent before every file is known to be readable and to have the columns."""
    for path in files:
        try:
            with closing(open_file(path, job.file_format, job.delimiter)) as reader:
                job.mapping("", ours=reader.ours).check(reader.columns)
        except TallyError as error:
            fail(error.detail, hint=error.hint, code=2)
        except OSError as error:
            fail(f"{path}: {error.strerror or error}", code=2)


def _sending(job: _Job, retry_for: float, stack: ExitStack) -> tuple[Send, str]:
    access = find_access(job.settings)
    sender = stack.enter_context(closing(EventSender(access.api, access.key, retry_for)))
    try:
        return sender.send, f"{access.api} {sender.whose()}"
    except NotTakenError as error:
        fail(error.message, hint=error.hint)
    except TallyError as error:
        fail(error.detail, hint=f"Is the API at {access.api} running? `tally up` starts one.")


def _decoding(job: _Job) -> tuple[Send, str]:
    return decoder(limits_of(job.settings), datetime.now(UTC)), ""


def _import(
    job: _Job, path: Path, folder: Path, where: str, send: Send, bar: Progress, outcomes: list[_Outcome]
) -> None:
    digest = file_digest(path)
    kept = FileImport(folder, job.identity(digest, where), again=job.again)
    with kept.held(), closing(open_file(path, job.file_format, job.delimiter)) as reader:
        outcomes.append(_Outcome(str(path), kept.progress.row, kept))
        task = bar.add_task(path.name, total=reader.total, note="")

        def told(position: int, now: Progressed) -> None:
            bar.update(task, completed=position, note=f"{now.rows:,} rows, {now.refused:,} refused")

        if not kept.progress.done:
            import_file(reader, job.mapping(digest, ours=reader.ours), kept, send, told)
        bar.update(task, completed=reader.total)


def _refused(outcomes: Sequence[_Outcome]) -> Iterator[tuple[str, RefusedRow]]:
    for outcome in outcomes:
        for row in outcome.kept.refused_rows():
            yield outcome.file, row


def _tell(
    outcomes: Sequence[_Outcome], stopped: str | None, report: Path | None, *, dry_run: bool, as_json: bool
) -> None:
    told = [outcome.told() for outcome in outcomes]
    total = {name: sum(each[name] for each in told) for name in ("rows", "accepted", "duplicates", "refused")}
    if as_json:
        rest = {"stopped": stopped, "report": report and str(report), "dry_run": dry_run, "files": told}
        print_json({**total, **rest})
        return
    for each in told:
        before = f" (up to row {each['resumed_after']:,} in an earlier run)" if each["resumed_after"] else ""
        counts = f"{each['rows']:,} rows, {each['accepted']:,} accepted, {each['duplicates']:,} duplicates"
        out.print(f"{each['file']}: {counts}, {each['refused']:,} refused{before}", markup=False)
    for file, row in islice(_refused(outcomes), _SHOWN):
        out.print(f"  {file} row {row.row}: {row.field or 'row'} {row.reason} ({row.code})", markup=False)
    if total["refused"] > _SHOWN:
        out.print(f"  and {total['refused'] - _SHOWN:,} more; --report FILE writes all of them")
    if dry_run:
        out.print("nothing was sent")


def _pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not name or not equals or not value:
            fail(f"{option} {text}: write FIELD=…, such as {option} customer_id=account", code=2)
        if name in found:
            fail(f"{option} names {name} twice", code=2)
        found[name] = value
    return found


def _timezone(name: str | None) -> ZoneInfo | None:
    try:
        return None if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        fail(f"--timezone {name}: use an IANA name, such as Europe/Berlin", code=2)
