"""One background thread that works off the inbox, the outbox, ratings, and corrections of events that were cut off.

It only makes things prompt. Everything that it does is in the ledger first, claimed under a lease there, and repeated
by the scheduled sweep; so this thread may stop or die at any moment.
"""

import logging
import threading
from collections.abc import Callable

__all__ = ["Worker"]

# Woken or not: a retry that has become due is picked up, and so is what another process put there.
_LOOKS_EVERY_SECONDS = 5.0
_STOPS_WITHIN_SECONDS = 25.0

_log = logging.getLogger("tally.api.worker")


class Worker:
    """`work` does a bounded amount and returns how much it did; it is called again at once while it finds something."""

    def __init__(self, work: Callable[[], int]) -> None:
        self._work = work
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tally-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something to do. Returns at once."""
        self._wanted.set()

    def stop(self) -> None:
        """Let the piece of work at hand finish, and no other begin."""
        self._stopping.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(_STOPS_WITHIN_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wanted.wait(_LOOKS_EVERY_SECONDS)
            self._wanted.clear()
            while not self._stopping.is_set() and self._worked():
                pass

    def _worked(self) -> bool:
        try:
            return self._work() > 0
        except Exception:  # noqa: BLE001 - whatever it was, the next piece of work deserves its turn
            _log.exception("background work failed; it stays in the ledger and is tried again")
            return False
