"""`/metrics/pipeline`: how the pipeline is doing, for Prometheus. It names no tenant, customer or key.

Every API process gives the same figures: the newest measurement in the ledger, which the pipeline's own watch makes
each minute. A scrape reads one row. Ages are as of the scrape, so they grow while nobody measures.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipelines.steps.pipeline_samples import Sample

__all__ = ["PipelineFigures"]

# Sample -> (name, what it says, labels)
_GAUGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "warehouse_answers": ("tally_pipeline_warehouse_up", "Whether the warehouse answered the measurement.", ()),
    "waiting": ("tally_pipeline_lag_seconds", "Age of the oldest thing that waits at a stage.", ("stage",)),
    "dirty_days": ("tally_usage_dirty_days", "Days before today whose rollup lacks something.", ()),
    "events_left_out": ("tally_events_left_out", "Events of the last 35 days that do not count.", ("reason",)),
    "queue": ("tally_queue_waiting", "Work that is due.", ("queue",)),
    "given_up": ("tally_queue_given_up", "Work that is not tried again by itself.", ("queue",)),
    "unbilled_periods": ("tally_periods_unbilled", "Periods past their grace without a final invoice.", ()),
    "held_invoices": ("tally_invoices_held", "Drafts that a gate refuses.", ("gate",)),
    "invoices": ("tally_invoices", "Invoices of periods of the last 35 days.", ("status", "payment_status")),
    "unsent_invoices": ("tally_invoices_unsent", "Finalized invoices that are not at Stripe.", ()),
    "stripe_differences": ("tally_stripe_differences", "Differences that the last comparison has left.", ()),
}
_RUNS = ("job", "status")


class PipelineFigures(Collector):
    """One measurement, `measured_at`, as it is to be read at `now`."""

    def __init__(self, measured_at: datetime, samples: list[Sample], now: datetime) -> None:
        self._measured_at = measured_at
        self._samples = samples
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """The figures as Prometheus reads them."""
        yield GaugeMetricFamily(
            "tally_pipeline_measured_timestamp_seconds",
            "When the pipeline was last measured.",
            self._measured_at.timestamp(),
        )
        for key, (name, said, labels) in _GAUGES.items():
            gauge = GaugeMetricFamily(name, said, labels=labels)
            for sample in self._of(key):
                gauge.add_metric(sample.labels, self._value(sample))
            yield gauge
        runs = CounterMetricFamily("tally_runs", "Runs of the pipeline that have ended.", labels=_RUNS)
        for sample in self._of("runs"):
            runs.add_metric(sample.labels, self._value(sample))
        yield runs
        seconds = CounterMetricFamily("tally_run_seconds", "How long they took together.", labels=_RUNS)
        for sample in self._of("run_milliseconds"):
            seconds.add_metric(sample.labels, self._value(sample) / 1000)
        yield seconds

    def _of(self, key: str) -> Iterator[Sample]:
        return (sample for sample in self._samples if sample.name == key)

    def _value(self, sample: Sample) -> float:
        if isinstance(sample.value, datetime):
            return max(0.0, (self._now - sample.value).total_seconds())
        return sample.value
