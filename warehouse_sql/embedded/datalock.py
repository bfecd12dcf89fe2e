"""One process per data directory: the engine corrupts nothing, but a second one would see a half of it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class DataDirectoryInUse(Exception):
    """Another process holds the data directory."""


class DataLock:
    """An advisory lock on a directory; the kernel frees it when the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "warehouse.lock"
        self._descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(self._descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise DataDirectoryInUse(
                f"{directory} is in use by another warehouse server (process {owner}). One process may use a data "
                "directory: connect to that server, or start this one on another --path."
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Gives the directory free; the file stays, removing it would race with the next owner."""
        os.close(self._descriptor)
