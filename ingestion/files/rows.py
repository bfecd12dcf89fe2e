"""What every kind of file is read into: numbered rows of named cells, without holding the file in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import msgspec
import pyarrow as pa

from billing.errors import InvalidInput
from ingestion.refusal import BadEventError

__all__ = ["LONGEST_LINE", "Cell", "Reader", "Row", "damaged", "open_stream"]

Cell: TypeAlias = "str | msgspec.Raw | datetime | dict[str, Cell] | list[Cell] | None"
"""A text, JSON as it was written (numbers, booleans), a moment, something nested, or nothing."""

LONGEST_LINE: Final = 8 * 1024 * 1024
"""More than any event within its bounds needs; a file without line ends must not fill the memory."""


@dataclass(frozen=True)
class Row:
    """A row by its number, from 1: either its cells or why they cannot be read."""

    number: int
    cells: dict[str, Cell]
    bad: BadEventError | None = None


class Reader(Protocol):
    """A file being read."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The names of all columns, where the kind of file says them beforehand."""

    @property
    def total(self) -> int:
        """How much there is to read, in the unit of `position`: bytes, or rows in a Parquet file."""

    @property
    def ours(self) -> bool:
        """Whether `tally export` wrote it."""

    def rows(self, after: int) -> Iterator[Row]:
        """The rows with a number above `after`. Raises InvalidInput where the file is damaged or is not of its kind."""

    def position(self) -> int:
        """How much of `total` has been read."""

    def close(self) -> None:
        """Gives the file back."""


def open_stream(path: Path, codec: str | None) -> tuple[io.BufferedReader, io.BufferedReader]:
    """The unpacked bytes, and the file below them, whose position tells how far we are.

    `codec` is gzip, zstd or None. A compressed file that ends early raises OSError when its end is reached.
    """
    file = path.open("rb")
    if codec is None:
        return file, file
    unpacked = pa.CompressedInputStream(pa.PythonFile(file, "r"), codec)
    return io.BufferedReader(unpacked, 1 << 18), file


def damaged(path: Path, error: Exception, after: int) -> InvalidInput:
    """The file cannot be read on."""
    return InvalidInput(
        "file_damaged",
        f"{path} cannot be read after row {after}: {error}",
        hint="Get the file again; what was imported before stays and is not counted twice.",
    )
