"""Starts the real embedded warehouse as a process of its own, for tests that need one."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

READY_SECONDS = 60.0


@dataclass
class WarehouseProcess:
    """A running embedded warehouse: where it is and how to end it."""

    process: subprocess.Popen[str]
    url: str
    user: str
    password: str = field(repr=False)
    path: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def kill(self) -> None:
        """kill -9, as the worst moment would."""
        self.process.kill()
        self._ended()

    def stop(self) -> int:
        """A clean stop; its exit status. Kills a process that does not stop in a minute."""
        self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def _ended(self) -> int:
        try:
            # Reads the pipes as well, so that a talkative process cannot block on them.
            self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate(timeout=30)
        return self.process.returncode


def start_warehouse(
    path: Path,
    *,
    user: str = "tally_test",
    password: str | None = None,
    port: int = 0,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> WarehouseProcess:
    """Starts the server on `path`, returns once it is ready; RuntimeError with its words where it does not start."""
    password = password or secrets.token_urlsafe(24)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "warehouse_sql.embedded",
            "--path",
            str(path),
            "--port",
            str(port),
            "--user",
            user,
            *arguments,
        ],
        env={**os.environ, **(environment or {}), "TALLY_WAREHOUSE_PASSWORD": password},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = _first_line(process)
    if not line.startswith("ready "):
        process.kill()
        raise RuntimeError(f"the warehouse did not start: {line}{process.communicate(timeout=30)[1]}")
    return WarehouseProcess(process, line.removeprefix("ready ").strip(), user, password, path)


@contextmanager
def running_warehouse(path: Path, **options: Any) -> Iterator[WarehouseProcess]:
    """A warehouse for the length of a block, stopped at its end; takes the options of `start_warehouse`."""
    warehouse = start_warehouse(path, **options)
    try:
        yield warehouse
    finally:
        if warehouse.process.returncode is None:
            warehouse.stop()


def _first_line(process: subprocess.Popen[str]) -> str:
    lines: Queue[str] = Queue()
    if process.stdout is None:
        return ""
    stdout = process.stdout
    threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
    try:
        return lines.get(timeout=READY_SECONDS)
    except Empty:
        return ""
