"""What a file's import has come to, kept under TALLY_HOME so that it goes on where it was cut off.

After each bulk the refused rows are appended to a journal, and then the state is replaced in one step; it says how long
the journal was. So a kill at any moment leaves both in step: what the journal has beyond is cut off, and the rows after
the state's are sent again, which counts nothing twice.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cli.stack.home import write_private

__all__ = ["FileImport", "ImportBusyError", "Progressed", "RefusedRow", "write_report"]


class ImportBusyError(Exception):
    """Another process imports the same file to the same place."""


@dataclass(frozen=True)
class RefusedRow:
    """Why a row of a file was not taken."""

    row: int
    code: str
    field: str | None
    reason: str


@dataclass
class Progressed:
    """Up to and with `row` everything is acknowledged."""

    row: int = 0
    rows: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    done: bool = False
    journal_bytes: int = 0


class FileImport:
    """The state of one file's import to one place, under one mapping."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, again: bool = False) -> None:
        name = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:40]
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._state_file = folder / f"{name}.json"
        self._journal_file = folder / f"{name}.refused.ndjson"
        self._lock_file = folder / f"{name}.lock"
        self._identity = identity
        self._again = again
        self.progress = Progressed()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Locked, read, and cut to what was acknowledged. Raises ImportBusyError."""
        with self._lock_file.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ImportBusyError from error
            if not self._again and self._state_file.exists():
                self.progress = Progressed(**json.loads(self._state_file.read_text())["progress"])
            with self._journal_file.open("ab") as journal:
                journal.truncate(self.progress.journal_bytes)
            yield

    def acknowledge(self, progress: Progressed, refused: Sequence[RefusedRow]) -> None:
        """Keep it: the refused rows first, then that everything up to `progress.row` is done."""
        if refused:
            with self._journal_file.open("ab") as journal:
                journal.writelines(json.dumps(asdict(each)).encode() + b"\n" for each in refused)
                journal.flush()
                os.fsync(journal.fileno())
                progress.journal_bytes = journal.tell()
        self.progress = progress
        write_private(self._state_file, json.dumps({"import": self._identity, "progress": asdict(progress)}))

    def refused_rows(self) -> Iterator[RefusedRow]:
        """All rows of the file that were refused, those of earlier runs as well."""
        with self._journal_file.open("rb") as journal:
            for line in journal:
                yield RefusedRow(**json.loads(line))


def write_report(path: Path, rows: Iterator[tuple[str, RefusedRow]]) -> None:
    """The refused rows, each with its file: CSV, or NDJSON by the suffix; the whole report or none."""
    draft = path.with_name(f".{path.name}.new")
    with draft.open("w", newline="", encoding="utf-8") as file:
        if path.suffix.lower() in {".ndjson", ".jsonl"}:
            file.writelines(json.dumps({"file": name, **asdict(row)}) + "\n" for name, row in rows)
        else:
            writer = csv.writer(file)
            writer.writerow(("file", "row", "code", "field", "reason"))
            writer.writerows((name, row.row, row.code, row.field, row.reason) for name, row in rows)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
