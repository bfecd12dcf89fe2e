"""The figures of the pipeline as they are kept: flat samples, from which the API makes what Prometheus reads.

Ages are kept as the moment since which something has waited, so that they are right when they are read. No sample names
a tenant or an environment.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing.instant import format_instant, parse_instant
from ledger.db import Ledger
from ledger.store import pipeline_figures
from pipelines.steps.measure_pipeline import PipelineState

__all__ = ["Sample", "keep_samples", "read_samples"]


@dataclass(frozen=True)
class Sample:
    """`value` is a count, or the moment since which something waits."""

    name: str
    labels: tuple[str, ...]
    value: int | datetime


def keep_samples(ledger: Ledger, state: PipelineState) -> None:
    """Keep what was measured, over the measurement before. Unavailable as the ledger is."""
    kept = [[sample.name, list(sample.labels), _kept(sample.value)] for sample in samples_of(state)]
    with ledger.begin() as session:
        pipeline_figures.keep_figures(session, {"samples": kept}, state.at)


def read_samples(ledger: Ledger) -> tuple[datetime, list[Sample]] | None:
    """The newest measurement and its moment, None before the first. One row is read. Unavailable as the ledger is."""
    with ledger.read() as session:
        found = pipeline_figures.newest_figures(session)
    if found is None:
        return None
    at, figures = found
    return at, [Sample(name, tuple(labels), _read(value)) for name, labels, value in figures["samples"]]


def samples_of(state: PipelineState) -> Iterator[Sample]:
    """What is known of each stage; nothing about usage while the warehouse does not answer."""
    since = {"bill": state.billing.waiting_since, "stripe": state.stripe.waiting_since}
    yield Sample("warehouse_answers", (), int(state.usage is not None))
    if state.usage is not None:
        since["rollup"] = state.usage.waiting_since
        yield Sample("dirty_days", (), state.usage.dirty_days)
        for reason, events in Counter(
            {
                reason: sum(one.events for one in state.usage.left_out if one.reason == reason)
                for reason in ("conflict", "unusable")
            }
        ).items():
            yield Sample("events_left_out", (reason,), events)
    for name, queue in state.queues.items():
        since[name] = queue.oldest_at if queue.waiting else None
        yield Sample("queue", (name,), queue.waiting)
        yield Sample("given_up", (name,), queue.given_up)
    for stage, moment in since.items():
        yield Sample("waiting", (stage,), 0 if moment is None else moment)
    yield Sample("unbilled_periods", (), state.billing.periods)
    for gate, held in state.billing.held_by_gate.items():
        yield Sample("held_invoices", (gate,), held)
    for states, count in state.billing.invoices.items():
        yield Sample("invoices", states, count)
    yield Sample("unsent_invoices", (), sum(unsent.invoices for unsent in state.stripe.unsent.values()))
    yield Sample("stripe_differences", (), sum(left for _, left in state.stripe.differences.values()))
    for total in state.runs:
        yield Sample("runs", (total.job, total.status), total.runs)
        yield Sample("run_milliseconds", (total.job, total.status), total.milliseconds)


def _kept(value: int | datetime) -> Any:
    return format_instant(value) if isinstance(value, datetime) else value


def _read(value: Any) -> int | datetime:
    return parse_instant(value, "since") if isinstance(value, str) else int(value)
