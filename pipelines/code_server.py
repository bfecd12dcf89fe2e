"""`python -m pipelines.code_server -p PORT`: Dagster's code server, which ends the runs that the last one left.

With Dagster's default launcher a run is a child of the code server, and where that is killed, as a container is, nobody
marks the run: it stays STARTED for ever, with its place in the run queue and its pool slots, and later runs wait for
nothing. So it is marked as failed before this server answers, when no other process can have it, and `run_retries`
starts it again once `pipelines.daemon` reaches this server.
"""

import argparse
import socket
import sys

import dagster as dg
from dagster._cli import main as dagster_command

from pipelines.prepare_instance import prepare

__all__ = ["fail_left_behind"]

_LEFT_BEHIND = "The process of this run ended with the code server that had started it."
_IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def fail_left_behind(instance: dg.DagsterInstance) -> int:
    """Mark the runs as failed that nobody executes, as long as there is no code server, and give back their pool slots.

    Returns how many; none where another launcher has them.
    """
    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return 0
    left = instance.get_runs(filters=dg.RunsFilter(statuses=_IN_PROGRESS))
    for run in left:
        instance.report_run_failed(run, _LEFT_BEHIND)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return len(left)


def main() -> None:
    """Serve until the process is ended."""
    options = argparse.ArgumentParser(prog="python -m pipelines.code_server", add_help=False)
    options.add_argument("-h", "--host", default="127.0.0.1")
    options.add_argument("-p", "--port", type=int, required=True)
    options.add_argument("--log-level", default="info")
    given = options.parse_args()
    if _is_taken(given.host, given.port):
        sys.exit(f"port {given.port} is taken: a code server that runs there has runs of its own")
    with dg.DagsterInstance.get() as instance:
        prepare(instance)
        left = fail_left_behind(instance)
    if left:
        print(f"{left} runs were left behind by a killed code server; they are failed", flush=True)
    place = ["-h", given.host, "-p", str(given.port)]
    module = ["-m", "pipelines.definitions", "--location-name", "tallyhouse", "--log-level", given.log_level]
    sys.argv = ["dagster", "api", "grpc", *module, *place, "--use-python-environment-entry-point"]
    dagster_command()  # type: ignore[no-untyped-call]


def _is_taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


if __name__ == "__main__":
    main()
