"""`python -m pipelines.code_server -p PORT`: Dagster's code server, which ends the runs that the last one left.

With Dagster's default launcher a run is a child of the code server, and where that is killed, as a container is, nobody
marks the run: it stays STARTED for ever, with its place in the run queue and its pool slots, and later runs wait for
nothing. So they are marked as failed here, and `run_retries` starts each of them once more.

Not at once: the daemon tries to start the new run as soon as it sees the failed one, asks the code server for it, and
where that does not answer gives the run up for good, and the backfill that it belongs to as well.
"""

import argparse
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import dagster as dg
from dagster._cli import main as dagster_command

from pipelines.prepare_instance import prepare

__all__ = ["fail_left_behind", "left_behind"]

_LEFT_BEHIND = "The process of this run ended with the code server that had started it."
_IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_ANSWERS_WITHIN_SECONDS = 600
# So long the daemon and the webserver may take to see that the code server is back.
_SEEN_WITHIN_SECONDS = 15


def left_behind(instance: dg.DagsterInstance) -> tuple[str, ...]:
    """The runs that nobody executes, as long as there is no code server; none where another launcher has them."""
    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return ()
    return tuple(run.run_id for run in instance.get_runs(filters=dg.RunsFilter(statuses=_IN_PROGRESS)))


def fail_left_behind(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Mark runs as failed whose process is gone, and give back their pool slots. What has ended by now stays so."""
    for run_id in run_ids:
        run = instance.get_run_by_id(run_id)
        if run is not None and run.status in _IN_PROGRESS:
            instance.report_run_failed(run, _LEFT_BEHIND)
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def main() -> None:
    """Serve until the process is ended; one beside it fails what was left behind once this one answers."""
    options = argparse.ArgumentParser(prog="python -m pipelines.code_server", add_help=False)
    options.add_argument("-h", "--host", default="127.0.0.1")
    options.add_argument("-p", "--port", type=int, required=True)
    options.add_argument("--log-level", default="info")
    options.add_argument("--fail", nargs="*", default=None, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.fail is not None:
        _wait_until_seen(given.host, given.port)
        with dg.DagsterInstance.get() as instance:
            fail_left_behind(instance, given.fail)
        return
    with dg.DagsterInstance.get() as instance:
        prepare(instance)
        left = left_behind(instance)
    place = ["-h", given.host, "-p", str(given.port)]
    if left:
        print(f"{len(left)} runs were left behind by a killed code server and will be failed", flush=True)
        # The interpreter that runs us, and ids that Dagster gave out.
        subprocess.Popen([sys.executable, "-m", "pipelines.code_server", *place, "--fail", *left])  # noqa: S603
    module = ["-m", "pipelines.definitions", "--location-name", "tallyhouse", "--log-level", given.log_level]
    sys.argv = ["dagster", "api", "grpc", *module, *place, "--use-python-environment-entry-point"]
    dagster_command()  # type: ignore[no-untyped-call]


def _wait_until_seen(host: str, port: int) -> None:
    deadline = time.monotonic() + _ANSWERS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host, port), timeout=1):
                break
        except OSError:
            time.sleep(0.5)
    time.sleep(_SEEN_WITHIN_SECONDS)


if __name__ == "__main__":
    main()
