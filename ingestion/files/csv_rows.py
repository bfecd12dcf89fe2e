"""CSV with a header, which is not counted as a row: cells are the texts that stand there, an empty cell is none."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from billing.errors import InvalidInput
from ingestion.files.rows import LONGEST_LINE, Row, damaged, open_stream
from ingestion.refusal import BadEventError

__all__ = ["CsvFile"]


class CsvFile:
    """Reads record by record, in UTF-8 with or without a byte order mark."""

    ours = False

    def __init__(self, path: Path, codec: str | None, delimiter: str) -> None:
        self._path = path
        self._stream, self._file = open_stream(path, codec)
        self.total = path.stat().st_size
        # Bytes that are no text refuse their row only: they survive the decoding, and are found when they are sent.
        self._text = io.TextIOWrapper(self._stream, "utf-8-sig", errors="surrogateescape", newline="")
        self._records = csv.reader(self._lines(), delimiter=delimiter, strict=True)
        try:
            self.columns = self._header()
        except InvalidInput:
            self.close()
            raise

    def rows(self, after: int) -> Iterator[Row]:
        """The rows with a number above `after`. Raises InvalidInput where the file is damaged."""
        number = 0
        while True:
            try:
                cells = next(self._records)
            except StopIteration:
                return
            except csv.Error as error:
                number += 1
                if number > after:
                    yield Row(number, {}, BadEventError("csv_unreadable", f"is not CSV: {error}", None))
                continue
            except OSError as error:
                raise damaged(self._path, error, number) from error
            if not cells:
                continue
            number += 1
            if number > after:
                yield self._row(number, cells)

    def position(self) -> int:
        """Bytes of the file, as it lies on disk."""
        return self._file.tell()

    def close(self) -> None:
        """Gives the file back."""
        self._text.close()
        self._file.close()

    def _row(self, number: int, cells: list[str]) -> Row:
        if len(cells) != len(self.columns):
            reason = f"has {len(cells)} cells, the header has {len(self.columns)}"
            return Row(number, {}, BadEventError("wrong_number_of_cells", reason, None))
        return Row(number, {name: cell or None for name, cell in zip(self.columns, cells, strict=True)})

    def _header(self) -> tuple[str, ...]:
        try:
            names = tuple(name.strip() for name in next(self._records, []))
        except (csv.Error, OSError) as error:
            raise damaged(self._path, error, 0) from error
        if not names or "" in names or len(set(names)) < len(names):
            raise InvalidInput(
                "csv_header",
                f"{self._path} has no header that names each column once.",
                hint="The first line has to hold the columns' names.",
            )
        return names

    def _lines(self) -> Iterator[str]:
        while line := self._text.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE:
                raise OSError(f"a line is longer than {LONGEST_LINE} characters")
            yield line
