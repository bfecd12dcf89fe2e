"""Parquet: read by row groups, a batch of rows at a time, every number with all its digits.

Integers and decimals are exact. A floating point column has no digits of its own: the shortest text that reads back to
the same number is taken (0.1 is `0.1`). NaN and infinities are texts. A null cell is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from billing.errors import InvalidInput
from ingestion.files.rows import Cell, Row, damaged

__all__ = ["EXPORT_MARK", "ParquetFile"]

EXPORT_MARK: Final = b"tallyhouse.events"
"""The key in a file's metadata by which an export is known again."""

_ROWS_AT_ONCE: Final = 5_000
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
_NOT_NUMBERS: Final = {"nan", "inf", "-inf"}


class ParquetFile:
    """Reads batches of rows; row groups that were imported before are not read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # With a buffer a column is read as it is needed, without one a whole row group's at once.
            self._file = pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise InvalidInput("file_not_parquet", f"{path} is not a Parquet file: {error}") from error
        self.columns = tuple(self._file.schema_arrow.names)
        self.total = self._file.metadata.num_rows
        self.ours = EXPORT_MARK in (self._file.schema_arrow.metadata or {})
        self._read = 0

    def rows(self, after: int) -> Iterator[Row]:
        """The rows with a number above `after`. Raises InvalidInput where the file is damaged."""
        self._read = 0
        try:
            for group in range(self._file.num_row_groups):
                about = self._file.metadata.row_group(group)
                if self._read + about.num_rows <= after:
                    self._read += about.num_rows
                    continue
                bytes_a_row = about.total_byte_size // max(about.num_rows, 1) + 1
                at_once = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // bytes_a_row))
                for batch in self._file.iter_batches(at_once, row_groups=[group]):
                    yield from self._rows(batch, after)
        except (pa.ArrowException, OSError) as error:
            raise damaged(self._path, error, self._read) from error

    def position(self) -> int:
        """Rows."""
        return self._read

    def close(self) -> None:
        """Gives the file back."""
        self._file.close()

    def _rows(self, batch: pa.RecordBatch, after: int) -> Iterator[Row]:
        columns = [_cells(column) for column in batch.columns]
        for cells in zip(*columns, strict=True):
            self._read += 1
            if self._read > after:
                yield Row(self._read, dict(zip(self.columns, cells, strict=True)))


def _cells(column: pa.Array) -> list[Cell]:
    kind = column.type
    if types.is_dictionary(kind):
        return _cells(column.dictionary_decode())
    if types.is_floating(kind):
        return [_number(text) for text in pc.cast(column, pa.string()).to_pylist()]
    if types.is_timestamp(kind) and kind.unit == "ns":
        # Digits past the microsecond are cut, as everywhere.
        column = pc.cast(column, pa.timestamp("us", kind.tz), safe=False)
    elif types.is_duration(kind):
        column = pc.cast(column, pa.int64())
    elif types.is_time(kind) or types.is_date(kind):
        column = pc.cast(column, pa.string())
    return [_cell(value) for value in column.to_pylist(maps_as_pydicts="strict")]


def _number(text: str | None) -> Cell:
    return text if text is None or text in _NOT_NUMBERS else msgspec.Raw(text.encode())


def _cell(value: Any) -> Cell:
    match value:
        case None | str() | datetime():
            return value
        case bool():
            return msgspec.Raw(b"true" if value else b"false")
        case int():
            return msgspec.Raw(str(value).encode())
        case Decimal():
            return msgspec.Raw(format(value, "f").encode())
        case float():
            return _number(repr(value))
        case bytes():
            return value.decode(errors="surrogateescape")
        case dict():
            return {str(key): _cell(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_cell(inner) for inner in value]
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)
