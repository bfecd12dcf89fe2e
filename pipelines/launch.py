"""Starts asset runs over HTTP and waits for them: a small client of Dagster's GraphQL, without Dagster.

The command line and the API use it, and neither may import Dagster, which takes a second and brings its own world.
A day or a range of days is one run. Leaving `assetCheckSelection` out of the selector makes the assets' checks part of
it; an empty list would leave them all out, the gates among them.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import httpx

from billing.errors import InvalidInput, TallyError, Unavailable
from pipelines.day_range import partition_tags

__all__ = ["DagsterUnreachable", "Progress", "RunFailed", "RunResult", "launch", "wait"]

LOCATION = "tallyhouse"
_REQUEST_TIMEOUT = httpx.Timeout(30.0, connect=3.0)
_ATTEMPTS = 5
_POLL_SECONDS = 0.5
_FINISHED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})
_WAITING = frozenset({"QUEUED", "NOT_STARTED"})
_NOT_STARTED = "It waits for other runs, or for Dagster's daemon: `tally status` says whether that is running."
_OURS = "billing.errors."
_LOG_PAGE, _LOG_PAGES = 1000, 50

_LAUNCH = """
mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on Error { message }
  ... on RunConfigValidationInvalid { errors { message } }
} }"""
_STATUS = """
query($run: ID!) { runOrError(runId: $run) {
  __typename
  ... on Run { status stepStats { stepKey status } }
  ... on Error { message }
} }"""
_LOG = """
query($run: ID!, $cursor: String, $limit: Int) { logsForRun(runId: $run, afterCursor: $cursor, limit: $limit) {
  __typename
  ... on Error { message }
  ... on EventConnection { cursor hasMore events {
    __typename
    ... on RunFailureEvent { message error { message causes { message } } }
    ... on ExecutionStepFailureEvent { stepKey error { message causes { message } } }
    ... on AssetCheckEvaluationEvent { evaluation { checkName success severity description } }
  } }
} }"""


class RunFailed(TallyError):
    """The run could not be started, did not end well, or did not end in time. `detail` is what Dagster says."""


class DagsterUnreachable(RunFailed, Unavailable):
    """Dagster's webserver does not answer."""


@dataclass(frozen=True)
class Progress:
    """A look at a run: Dagster's status (QUEUED, STARTING, STARTED, …) and the keys of its steps."""

    status: str
    finished: tuple[str, ...]
    running: tuple[str, ...]


@dataclass(frozen=True)
class RunResult:
    """A run that ended well. `failed_checks` are those that did not stop it, each as one readable line."""

    status: str
    failed_checks: tuple[str, ...]


def launch(
    url: str,
    assets: Sequence[str],
    start_key: str,
    end_key: str,
    chosen: Mapping[str, str] | None = None,
    *,
    force: bool = False,
) -> str:
    """Start one run of `assets` with their checks over the days `start_key` to `end_key` (inclusive, YYYY-MM-DD).

    `chosen` are fields of `steps.chosen.Chosen`; `force` builds days again whose rollups have seen everything.
    Returns the run's id; the run is queued by then. The request is sent once, because sent twice it would be two runs.
    Raises InvalidInput for a wrong day, RunFailed with Dagster's reason, DagsterUnreachable.
    """
    first, last = _day(start_key, "start_key"), _day(end_key, "end_key")
    if last < first:
        raise InvalidInput("range_is_empty", f"{last} lies before {first}", field="end_key")
    config: dict[str, Any] = {"resources": {"tally": {"config": dict(chosen or {})}}}
    if force:
        config["ops"] = {"usage_hourly": {"config": {"force": True}}}
    params = {
        "runConfigData": config,
        "selector": {
            "repositoryLocationName": LOCATION,
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]} for asset in assets],
        },
        "executionMetadata": {
            "tags": [{"key": key, "value": value} for key, value in partition_tags(first, last).items()]
        },
    }
    answer = _ask(url, _LAUNCH, {"params": params}, "launchRun", attempts=1)
    if answer["__typename"] != "LaunchRunSuccess":
        raise RunFailed("run_not_launched", f"Dagster did not launch the run: {_reason(answer)}")
    run_id: str = answer["run"]["runId"]
    return run_id


def wait(
    url: str, run_id: str, timeout_seconds: float, on_progress: Callable[[Progress], None] | None = None
) -> RunResult:
    """Wait for a run to end, telling `on_progress` about every look at it.

    Raises RunFailed `run_failed` or `run_canceled` with the failing steps, `run_timed_out` (the run goes on), or
    DagsterUnreachable when the webserver stays away for several looks.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        run = _ask(url, _STATUS, {"run": run_id}, "runOrError")
        if run["__typename"] != "Run":
            raise RunFailed("run_not_found", f"run {run_id}: {_reason(run)}")
        status = run["status"]
        if on_progress is not None:
            on_progress(_progress(status, run["stepStats"]))
        if status in _FINISHED:
            break
        if time.monotonic() > deadline:
            said = f"run {run_id} is {status} after {timeout_seconds:.0f} s; it goes on"
            raise RunFailed("run_timed_out", said, hint=_NOT_STARTED if status in _WAITING else None)
        time.sleep(_POLL_SECONDS)
    events = list(_events(url, run_id))
    if status != "SUCCESS":
        raise RunFailed(f"run_{status.lower().replace('failure', 'failed')}", f"run {run_id}: {_failures(events)}")
    return RunResult(status, tuple(_failed_checks(events)))


def _day(key: str, field: str) -> date:
    try:
        return date.fromisoformat(key)
    except ValueError as error:
        raise InvalidInput("not_a_day", f"{key!r} is not a day", field=field, hint="Write YYYY-MM-DD.") from error


def _ask(url: str, query: str, variables: dict[str, Any], field: str, attempts: int = _ATTEMPTS) -> dict[str, Any]:
    for attempt in range(1, attempts + 1):
        try:
            answer = httpx.post(
                f"{url.rstrip('/')}/graphql",
                json={"query": query, "variables": variables},
                timeout=_REQUEST_TIMEOUT,
                trust_env=False,
            )
            # A failed mutation comes as HTTP 500 with the reason in its body, so the body decides, not the status.
            body = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            if attempt == attempts:
                raise DagsterUnreachable(
                    "dagster_unreachable", f"Dagster does not answer at {url}: {error}", hint="Is the stack up?"
                ) from error
            time.sleep(random.uniform(0.5, 1.0) * attempt)  # noqa: S311 - jitter, not a secret
        else:
            data: dict[str, Any] | None = (body.get("data") or {}).get(field)
            if data is None:
                messages = [error.get("message", "") for error in body.get("errors", [])]
                raise RunFailed("dagster_refused", "; ".join(messages) or f"HTTP {answer.status_code}")
            return data
    raise AssertionError("attempts is at least 1")


def _events(url: str, run_id: str) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    for _ in range(_LOG_PAGES):
        page = _ask(url, _LOG, {"run": run_id, "cursor": cursor, "limit": _LOG_PAGE}, "logsForRun")
        if page["__typename"] != "EventConnection":
            raise RunFailed("run_not_found", f"run {run_id}: {_reason(page)}")
        yield from page["events"]
        if not page["hasMore"]:
            return
        cursor = page["cursor"]


def _progress(status: str, steps: list[dict[str, str]]) -> Progress:
    running = tuple(step["stepKey"] for step in steps if step["status"] == "IN_PROGRESS")
    return Progress(status, tuple(step["stepKey"] for step in steps if step["stepKey"] not in running), running)


def _failures(events: list[dict[str, Any]]) -> str:
    steps = [
        f"{event['stepKey']}: {_innermost(event['error'])}"
        for event in events
        if event["__typename"] == "ExecutionStepFailureEvent"
    ]
    told = steps + _failed_checks(events)
    ended = [event for event in events if event["__typename"] == "RunFailureEvent"]
    return "; ".join(told) or "; ".join(_innermost(e["error"]) if e["error"] else e["message"] for e in ended)


def _failed_checks(events: list[dict[str, Any]]) -> list[str]:
    evaluations = [event["evaluation"] for event in events if event["__typename"] == "AssetCheckEvaluationEvent"]
    return [
        f"{check['checkName']} ({check['severity'].lower()}): {check['description'] or 'failed'}"
        for check in evaluations
        if not check["success"]
    ]


def _innermost(error: dict[str, Any] | None) -> str:
    if error is None:
        return "no reason given"
    said = str((error["causes"] or [error])[-1]["message"]).strip()
    # Our own errors are written for people; of others the name of the class is half of what they say.
    return said.partition(": ")[2] if said.startswith(_OURS) else said


def _reason(answer: dict[str, Any]) -> str:
    messages = [answer["message"]] if "message" in answer else [error["message"] for error in answer.get("errors", [])]
    return "; ".join(messages) or str(answer["__typename"])
