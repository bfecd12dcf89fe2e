"""`python -m pipelines.daemon -w WORKSPACE`: Dagster's daemon, which waits for the code that a run needs again.

Dagster's own asks the code server once when a run is to be started again, and where that does not answer it gives the
run up for good, and the backfill that it belongs to as well. A process that dies shortly before its code server does is
such a run.
"""

import argparse
import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterCodeLocationLoadError, DagsterUserCodeUnreachableError
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.workspace.context import IWorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import (
    consume_new_runs_for_automatic_reexecution,
    filter_runs_to_should_retry,
    retry_run,
)
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.controller import create_daemons_from_instance, daemon_controller_from_instance
from dagster._daemon.daemon import DagsterDaemon
from dagster._utils.interrupts import capture_interrupts

__all__ = ["PatientRetries", "daemons", "wait_for_code"]

_UNREACHABLE = (DagsterUserCodeUnreachableError, DagsterCodeLocationLoadError)
_LONGEST_WAIT_SECONDS = 3600
_LOOKS_AGAIN_SECONDS = 60
_PAUSE_SECONDS = 1.0

Starter = Callable[[IWorkspaceProcessContext[Any], Sequence[RunRecord], logging.Logger], Iterator[None]]


class PatientRetries(EventLogConsumerDaemon):
    """Starts failed runs again, one after the other, and waits for their code server.

    A daemon that is killed while it waits looks at the same failures again when it is back.
    """

    @property
    def handle_updated_runs_fns(self) -> Sequence[Starter]:
        return [_start_again]


def _start_again(
    context: IWorkspaceProcessContext[Any], records: Sequence[RunRecord], logger: logging.Logger
) -> Iterator[None]:
    """Each yield lets the daemon say that it is alive."""
    give_up = time.monotonic() + _LONGEST_WAIT_SECONDS
    by_id = {record.dagster_run.run_id: record for record in records}
    for run in list(filter_runs_to_should_retry([record.dagster_run for record in records], context.instance)):
        yield
        while not _is_started(run, context, logger) and time.monotonic() < give_up:
            time.sleep(_PAUSE_SECONDS)
            yield
        # What was started is found and left alone; for what was not, the reason is written down and the run given up.
        yield from consume_new_runs_for_automatic_reexecution(context, [by_id[run.run_id]], logger)


def _is_started(run: dg.DagsterRun, context: IWorkspaceProcessContext[Any], logger: logging.Logger) -> bool:
    """Whether there is nothing to wait for: the run was started again, or fails to for another reason."""
    try:
        retry_run(run, context)
    except _UNREACHABLE:
        logger.info("run %s is started again when its code server answers", run.run_id)
        return False
    except Exception:
        logger.exception("run %s is not started again", run.run_id)
    return True


def daemons(instance: dg.DagsterInstance) -> list[DagsterDaemon[Any]]:
    """Dagster's daemons for an instance, with the patient one in the place of its like."""
    found = create_daemons_from_instance(instance)
    return [PatientRetries() if isinstance(one, EventLogConsumerDaemon) else one for one in found]


def wait_for_code(target: WorkspaceFileTarget) -> None:
    """Return once every code server of the workspace answers, or after a minute.

    A daemon that finds none at its start looks again after a minute, and until then no sensor has a look.
    """
    give_up = time.monotonic() + _LOOKS_AGAIN_SECONDS
    for origin in target.create_origins():
        if not isinstance(origin, GrpcServerCodeLocationOrigin) or origin.port is None:
            continue
        while time.monotonic() < give_up:
            try:
                socket.create_connection((origin.host, origin.port), timeout=1).close()
                break
            except OSError:
                time.sleep(_PAUSE_SECONDS / 4)


def main() -> None:
    """Run until the process is ended."""
    options = argparse.ArgumentParser(prog="python -m pipelines.daemon")
    options.add_argument("-w", "--workspace", required=True, help="the workspace.yaml to work for")
    options.add_argument("--log-level", default="info")
    given = options.parse_args()
    target = WorkspaceFileTarget([given.workspace])
    wait_for_code(target)
    try:
        with (
            capture_interrupts(),
            dg.DagsterInstance.get() as instance,
            daemon_controller_from_instance(
                instance, target, gen_daemons=daemons, log_level=given.log_level
            ) as controller,
        ):
            controller.check_daemon_loop()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
