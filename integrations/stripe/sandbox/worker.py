"""Background work: jobs that are due on an account's clock, such as collecting, expiring and retrying."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

from integrations.stripe.sandbox import accounts
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.store import Store

logger = logging.getLogger("stripe_sandbox")

Job = Callable[[Context, str], None]
JOBS: dict[str, Job] = {}
IDLE_SECONDS = 1.0
DUE = "SELECT * FROM jobs WHERE account = ? AND due <= ? ORDER BY due, id LIMIT 1"
# A clock that advances has reached nothing yet and lets everything up to its target happen; it is ready after all that.
DUE_BY_CLOCK = """
    SELECT waiting.* FROM clock_jobs AS waiting
    JOIN objects ON objects.account = waiting.account AND objects.id = waiting.clock
    WHERE waiting.account = ? AND waiting.due <= coalesce(
        json_extract(objects.doc, '$.status_details.advancing.target_frozen_time'),
        json_extract(objects.doc, '$.frozen_time')
    )
    ORDER BY waiting.due, waiting.kind = 'test_clock.ready', waiting.id LIMIT 1
"""


def job(kind: str) -> Callable[[Job], Job]:
    """Registers what a scheduled kind of work does with its target's id."""

    def register(run: Job) -> Job:
        JOBS[kind] = run
        return run

    return register


class Worker:
    """One thread that runs due jobs. `wake()` makes it look at once."""

    def __init__(self, store: Store, base_url: str, defaults: dict[str, Any]) -> None:
        self.store = store
        self.base_url = base_url
        self.defaults = defaults
        self.stopped = False
        self.signal = threading.Condition()
        self.pending = True
        self.listeners: list[Callable[[], None]] = []
        self.thread = threading.Thread(target=self._loop, name="sandbox-worker", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.stopped = True
        self.wake()
        self.thread.join(timeout=5)

    def wake(self) -> None:
        """Something was committed: there may be jobs or deliveries."""
        with self.signal:
            self.pending = True
            self.signal.notify_all()
        for listener in self.listeners:
            listener()

    def _loop(self) -> None:
        while not self.stopped:
            with self.signal:
                if not self.pending:
                    self.signal.wait(timeout=IDLE_SECONDS)
                self.pending = False
            try:
                if self.run_due():
                    self.wake()
            except sqlite3.Error:
                logger.exception("background work failed")
                time.sleep(IDLE_SECONDS)

    def run_due(self, only: str | None = None) -> int:
        """Run every due job, oldest first, each in its own transaction; how many ran."""
        ran = 0
        while self._run_one(only):
            ran += 1
        return ran

    def _run_one(self, only: str | None) -> bool:
        with self.store.transaction() as db:
            for row in db.execute("SELECT account FROM jobs UNION SELECT account FROM clock_jobs").fetchall():
                account = accounts.load(db, row["account"], self.defaults)
                if account is None or (only and account.id != only):
                    continue
                if due := db.execute(DUE, (account.id, account.now)).fetchone():
                    db.execute("DELETE FROM jobs WHERE id = ?", (due["id"],))
                    self._run(db, account, due, None)
                    return True
                if due := db.execute(DUE_BY_CLOCK, (account.id,)).fetchone():
                    db.execute("DELETE FROM clock_jobs WHERE id = ?", (due["id"],))
                    self._run(db, account, due, due["clock"])
                    return True
        return False

    def _run(self, db: sqlite3.Connection, account: accounts.Account, due: sqlite3.Row, clock: str | None) -> None:
        db.execute("SAVEPOINT job")
        try:
            JOBS[due["kind"]](Context(db, account, self.base_url, at=due["due"], clock=clock), due["target"])
        except Exception:
            # A job that fails is a bug of the sandbox: it is logged and dropped, the others go on.
            logger.exception("job %s of %s failed", due["kind"], due["target"])
            db.execute("ROLLBACK TO job")
        db.execute("RELEASE job")
