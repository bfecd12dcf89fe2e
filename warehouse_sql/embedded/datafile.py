"""Rows in a file that the engine opens by its path: in memory while small, in the data directory when large."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO


class DataFile:
    """A file without a name in any directory where the system allows it; gone when it is closed or the process ends."""

    def __init__(self, directory: Path, *, in_memory: bool) -> None:
        self._file: IO[bytes]
        if sys.platform != "linux":
            self._file = tempfile.NamedTemporaryFile(dir=directory)  # noqa: SIM115 -- closed by close
            self._path = self._file.name
            return
        if in_memory:
            self._file = os.fdopen(os.memfd_create("rows", os.MFD_CLOEXEC), "w+b")
        else:
            self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 -- closed by close
        self._path = f"/proc/self/fd/{self._file.fileno()}"

    def write(self, chunks: Iterable[bytes]) -> None:
        """Appends bytes."""
        self._file.writelines(chunks)

    def read(self, start: int, size: int) -> bytes:
        """At most `size` bytes from `start` on."""
        self._file.seek(start)
        return self._file.read(size)

    def path(self) -> str:
        """Where the engine finds what was written; whoever opens it starts at its first byte."""
        self._file.flush()
        return self._path

    def close(self) -> None:
        """Frees the file."""
        self._file.close()
