"""Which kind of file it is, by its name or as it is told."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Final

from billing.errors import InvalidInput
from ingestion.files.csv_rows import CsvFile
from ingestion.files.ndjson import NdjsonFile
from ingestion.files.parquet import ParquetFile
from ingestion.files.rows import Reader

__all__ = ["FileFormat", "file_digest", "open_file"]


class FileFormat(StrEnum):
    """The kinds of file that are read."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


_SUFFIXES: Final = {
    ".ndjson": FileFormat.NDJSON,
    ".jsonl": FileFormat.NDJSON,
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
}
_CODECS: Final = {".gz": "gzip", ".zst": "zstd"}


def open_file(path: Path, file_format: FileFormat | None = None, delimiter: str | None = None) -> Reader:
    """The rows of a file; `file_format` and `delimiter` override what its name says.

    Raises InvalidInput where the kind is not known or the file is not of it, OSError where it cannot be opened.
    """
    codec = _CODECS.get(path.suffix.lower())
    suffix = (path.with_suffix("") if codec else path).suffix.lower()
    kind = file_format or _SUFFIXES.get(suffix)
    match kind:
        case FileFormat.NDJSON:
            return NdjsonFile(path, codec)
        case FileFormat.CSV:
            return CsvFile(path, codec, delimiter or ("\t" if suffix == ".tsv" else ","))
        case FileFormat.PARQUET if codec is None:
            return ParquetFile(path)
        case FileFormat.PARQUET:
            raise InvalidInput(
                "parquet_compressed", f"{path} is a packed Parquet file.", hint="Unpack it: it is compressed inside."
            )
        case _:
            raise InvalidInput(
                "file_format_unknown",
                f"The name of {path} does not say what kind of file it is.",
                hint=f"Say it with --format {'|'.join(FileFormat)}.",
            )


def file_digest(path: Path) -> str:
    """SHA-256 of the file as it lies on disk. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
