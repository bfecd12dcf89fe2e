"""The background thread: prompt when woken, unharmed by a failure, gone when stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from api.worker import Worker


class Work:
    """Plays its rounds, then has nothing to do; a round may be an error."""

    def __init__(self, *rounds: int | Exception) -> None:
        self.rounds = list(rounds)
        self.idle = threading.Event()
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if not self.rounds:
            self.idle.set()
            return 0
        found = self.rounds.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def running() -> Iterator[list[Worker]]:
    started: list[Worker] = []
    yield started
    for worker in started:
        worker.stop()


def test_it_works_until_nothing_is_left_as_soon_as_it_is_woken(running: list[Worker]) -> None:
    work = Work(2, 1)
    worker = Worker(work)
    running.append(worker)
    worker.start()
    worker.wake()
    assert work.idle.wait(2), "it waited for its next look"
    assert work.calls == 3


def test_a_failure_is_logged_and_the_next_wake_is_answered(
    running: list[Worker], caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(RuntimeError("provider"))
    worker = Worker(work)
    running.append(worker)
    with caplog.at_level(logging.ERROR):
        worker.start()
        for _ in range(200):
            worker.wake()
            if work.idle.wait(0.01):
                break
    assert work.idle.is_set()
    assert "tried again" in caplog.text


def test_it_is_gone_once_stopped(running: list[Worker]) -> None:
    worker = Worker(Work(1))
    worker.start()
    worker.stop()
    assert "tally-worker" not in [thread.name for thread in threading.enumerate()]
