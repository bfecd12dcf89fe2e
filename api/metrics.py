"""`/metrics`: what the way in for events is doing, for Prometheus. It names no tenant, customer or key.

The figures are of this process alone; those of the pipeline, which all processes share, are at `/metrics/pipeline`.
Both are given to callers on this machine, and to others only with the token of the settings: how much comes in is
nobody else's business.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import datetime

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from api.auth import secret_of
from api.deps import Deps
from api.pipeline_metrics import PipelineFigures
from billing.errors import NotAllowed, NotAuthenticated
from ingestion.intake import Figures
from pipelines.steps.pipeline_samples import read_samples

__all__ = ["install"]

_HERE = frozenset({"127.0.0.1", "::1"})


def install(app: FastAPI) -> None:
    """Serve the figures of this process at /metrics, and those of the pipeline below it."""

    @app.get("/metrics", include_in_schema=False, response_class=Response)
    async def metrics(request: Request) -> Response:
        deps: Deps = request.app.state.deps
        _check(request, deps.settings.metrics_token.get_secret_value())
        registry = CollectorRegistry()
        registry.register(_Intake(deps.intake.figures, deps.clock))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/metrics/pipeline", include_in_schema=False, response_class=Response)
    def pipeline_metrics(request: Request) -> Response:
        deps: Deps = request.app.state.deps
        _check(request, deps.settings.metrics_token.get_secret_value())
        registry = CollectorRegistry()
        found = read_samples(deps.ledger)
        if found is not None:
            registry.register(PipelineFigures(*found, deps.clock()))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _check(request: Request, token: str) -> None:
    if token:
        if not secrets.compare_digest((secret_of(request) or "").encode(), token.encode()):
            raise NotAuthenticated(
                "metrics_token_wrong",
                "The figures are given with the metrics token only.",
                hint="Send Authorization: Bearer with the value of TALLY_METRICS_TOKEN.",
            )
        return
    # Behind a proxy on this machine every caller seems to be here, so what a proxy has handed on is not.
    if request.client is None or request.client.host not in _HERE or "x-forwarded-for" in request.headers:
        raise NotAllowed(
            "metrics_only_here",
            "The figures are given to callers on this machine only.",
            hint="Set TALLY_METRICS_TOKEN and send it as a bearer token.",
        )


class _Intake(Collector):
    def __init__(self, figures: Figures, clock: Callable[[], datetime]) -> None:
        self._figures = figures
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """The figures as Prometheus reads them."""
        now = self._figures
        events = CounterMetricFamily("tally_events", "Events by what became of them.", labels=["outcome"])
        for outcome in ("stored", "queued", "duplicates", "refused", "set_aside"):
            events.add_metric([outcome], getattr(now, outcome))
        yield events
        yield CounterMetricFamily(
            "tally_requests_turned_away", "Requests that were told to come back later.", now.turned_away
        )
        yield SummaryMetricFamily(
            "tally_insert_seconds",
            "Inserts, and how long they took.",
            now.inserts,
            now.insert_seconds,
        )
        yield GaugeMetricFamily("tally_waiting_requests", "Requests that wait for an insert.", now.waiting_requests)
        yield GaugeMetricFamily("tally_waiting_bytes", "Events that wait in memory.", now.waiting_bytes)
        yield GaugeMetricFamily("tally_journal_bytes", "Size of the journal.", now.journal_bytes)
        yield GaugeMetricFamily("tally_journal_events", "Events that wait in the journal.", now.journal_events)
        oldest = now.journal_oldest_at
        age = 0.0 if oldest is None else max(0.0, self._clock().timestamp() - oldest)
        yield GaugeMetricFamily("tally_journal_oldest_seconds", "Age of the oldest part of the journal.", age)
