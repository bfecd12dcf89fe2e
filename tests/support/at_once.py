"""Runs the same thing several times at once: in threads that start together, or in processes."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
LIMIT_SECONDS = 60


def in_threads(calls: Sequence[Callable[[], T]]) -> list[T]:
    """The results of `calls`, each in a thread of its own; raises what the first of them raised."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        start.wait(LIMIT_SECONDS)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(LIMIT_SECONDS) for future in [pool.submit(run, call) for call in calls]]


class Workers:
    """Processes of `python -m module` that wait for work together; see `ledger_worker` for how they are spoken to."""

    def __init__(self, module: str, count: int) -> None:
        root = Path(__file__).parents[2]
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", module], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(count)
        ]
        for process in self._processes:
            assert _answer(process) == "ready"

    def all_at_once(self, *request: str) -> list[Any]:
        """What each of them answers to the same request."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        return [_answer(process) for process in self._processes]

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


def _answer(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout is not None
    # A worker that dies closes its output, which ends the wait; one that hangs is killed.
    limit = threading.Timer(LIMIT_SECONDS, process.kill)
    limit.start()
    try:
        return json.loads(process.stdout.readline())
    finally:
        limit.cancel()
