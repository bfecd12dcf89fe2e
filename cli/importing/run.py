"""A file's rows in bulks, one after the other: the first of two rows with the same identity has to arrive first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from cli.importing.progress import FileImport, Progressed, RefusedRow
from cli.importing.send import Acknowledged
from ingestion.decode import decode_events
from ingestion.event import Limits
from ingestion.files.mapping import ColumnMapping
from ingestion.files.rows import Reader
from ingestion.media import Form
from ingestion.refusal import BadEventError

__all__ = ["Send", "decoder", "import_file"]

Send = Callable[[list[bytes]], Acknowledged]

_ROWS_AT_ONCE: Final = 1000
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024


@dataclass
class _Bulk:
    """Lines that are sent together, the rows that they are, and the rows before and among them that cannot be sent."""

    lines: list[bytes] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)
    last_row: int = 0
    size: int = 0
    position: int = 0


def import_file(
    reader: Reader, mapping: ColumnMapping, kept: FileImport, send: Send, told: Callable[[int, Progressed], None]
) -> Progressed:
    """Imports what is not acknowledged yet, and keeps what is as it goes; `told` hears how far it has come.

    Raises what `send` and `reader.rows` raise; what was acknowledged until then is kept.
    """
    with ThreadPoolExecutor(1) as pool:
        # One bulk is on its way while the next one is read; never two, so that rows arrive in their order.
        on_the_way: tuple[_Bulk, Future[Acknowledged]] | None = None
        try:
            for bulk in _bulks(reader, mapping, kept.progress.row):
                if on_the_way:
                    _keep(kept, *on_the_way, told)
                on_the_way = bulk, pool.submit(_send, send, bulk)
        finally:
            # Where the file cannot be read on, what is on its way is still acknowledged.
            if on_the_way:
                _keep(kept, *on_the_way, told)
    kept.acknowledge(replace(kept.progress, done=True), ())
    return kept.progress


def decoder(limits: Limits, now: datetime) -> Send:
    """Takes lines as the API would, and stores nothing."""

    def decode(lines: list[bytes]) -> Acknowledged:
        decoded = decode_events(b"\n".join(lines), limits, now, Form.NDJSON)
        return Acknowledged(len(decoded.events), 0, decoded.refused)

    return decode


def _send(send: Send, bulk: _Bulk) -> Acknowledged:
    return send(bulk.lines) if bulk.lines else Acknowledged()


def _keep(kept: FileImport, bulk: _Bulk, answer: Future[Acknowledged], told: Callable[[int, Progressed], None]) -> None:
    progress, refused = _summed(kept.progress, bulk, answer.result())
    kept.acknowledge(progress, refused)
    told(bulk.position, progress)


def _summed(before: Progressed, bulk: _Bulk, answer: Acknowledged) -> tuple[Progressed, list[RefusedRow]]:
    by_api = [RefusedRow(bulk.rows[each.index], each.code, each.field, each.reason) for each in answer.refused]
    refused = sorted([*bulk.refused, *by_api], key=lambda each: each.row)
    after = replace(
        before,
        row=bulk.last_row,
        rows=before.rows + len(bulk.rows) + len(bulk.refused),
        accepted=before.accepted + answer.accepted,
        duplicates=before.duplicates + answer.duplicates,
        refused=before.refused + len(refused),
    )
    return after, refused


def _bulks(reader: Reader, mapping: ColumnMapping, after: int) -> Iterator[_Bulk]:
    bulk = _Bulk()
    for row in reader.rows(after):
        try:
            line = mapping.line(row)
        except BadEventError as bad:
            bulk.refused.append(RefusedRow(row.number, bad.code, bad.field, bad.reason))
        else:
            bulk.lines.append(line)
            bulk.rows.append(row.number)
            bulk.size += len(line)
        bulk.last_row, bulk.position = row.number, reader.position()
        if len(bulk.rows) + len(bulk.refused) >= _ROWS_AT_ONCE or bulk.size >= _BYTES_AT_ONCE:
            yield bulk
            bulk = _Bulk()
    if bulk.last_row:
        yield bulk
