"""The record of a running stack: who runs, where, and whether it is still alive."""

import json
import os
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cli.stack.home import write_private

__all__ = ["ServiceState", "StackState", "is_alive", "read_state", "stop_group"]


@dataclass
class ServiceState:
    """One process group of the stack."""

    pid: int
    url: str
    started_at: float
    restarts: int = 0


@dataclass
class StackState:
    """What `tally up --json` prints, and what `status` and `down` work from."""

    supervisor_pid: int
    ready: bool = False
    services: dict[str, ServiceState] = field(default_factory=dict)
    public: dict[str, str] = field(default_factory=dict)
    failure: str | None = None

    def save(self, path: Path) -> None:
        """Write atomically; the file holds the development key, so it is private."""
        write_private(path, json.dumps(asdict(self)))


def read_state(path: Path) -> StackState | None:
    """Return the recorded stack, or None when nothing was started here."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    services = {name: ServiceState(**state) for name, state in raw.pop("services").items()}
    return StackState(services=services, **raw)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie waiting for its parent counts as gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] != "Z"


def group_is_alive(group: int) -> bool:
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def stop_group(group: int, grace_seconds: float = 10.0) -> None:
    """End a process group: ask first, then insist after the grace."""
    for sign, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(group, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not group_is_alive(group) or not is_alive(group):
                break
            time.sleep(0.05)
        else:
            continue
        # The leader is gone: whatever it left behind goes too.
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            return
        return
