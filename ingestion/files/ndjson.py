"""NDJSON: one JSON object a line; its keys are the columns. A row's number is that of its line, blank ones included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from ingestion.files.rows import LONGEST_LINE, Cell, Row, damaged, open_stream
from ingestion.refusal import BadEventError
from ingestion.wire import read_one

__all__ = ["NdjsonFile"]

_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class NdjsonFile:
    """Reads line by line. Values stay the JSON that was written."""

    columns = None
    ours = False

    def __init__(self, path: Path, codec: str | None) -> None:
        self._path = path
        self._stream, self._file = open_stream(path, codec)
        self.total = path.stat().st_size

    def rows(self, after: int) -> Iterator[Row]:
        """The rows with a number above `after`. Raises InvalidInput where the file is damaged."""
        number = 0
        try:
            while line := self._stream.readline(LONGEST_LINE):
                number += 1
                whole = line.endswith(b"\n") or len(line) < LONGEST_LINE
                if not whole:
                    self._skip_line()
                if number > after and line.strip():
                    yield _row(number, line, whole=whole)
        except OSError as error:
            raise damaged(self._path, error, number) from error

    def position(self) -> int:
        """Bytes of the file, as it lies on disk."""
        return self._file.tell()

    def close(self) -> None:
        """Gives the file back."""
        self._stream.close()
        self._file.close()

    def _skip_line(self) -> None:
        while (rest := self._stream.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
            pass


def _row(number: int, line: bytes, *, whole: bool) -> Row:
    if not whole:
        return Row(number, {}, BadEventError("too_long", f"is longer than {LONGEST_LINE} bytes", None))
    try:
        # A byte order mark is what some editors put at the beginning.
        found = read_one(_object, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
    except BadEventError as bad:
        return Row(number, {}, bad)
    cells: dict[str, Cell] = {**found}
    return Row(number, cells)
