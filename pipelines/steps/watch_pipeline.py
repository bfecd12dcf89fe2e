"""Turns what was measured into alerts: one opens when something goes wrong, and ends when it is right again.

An alert's subject says what it is about, so that looking again finds the alert that stands instead of making another.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from billing.instant import format_instant
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import alerts
from ledger.store.alerts import AlertRecord
from pipelines.steps.measure_pipeline import PipelineState, gate_of

__all__ = ["KINDS", "Condition", "Watched", "conditions_of", "watch"]

KINDS = (
    "run_failed",
    "gate_failed",
    "usage_late",
    "given_up",
    "stripe_differs",
    "warehouse_unavailable",
)
_OF_USAGE = "usage_late"
_MOST_NAMED = 20


@dataclass(frozen=True)
class Condition:
    """Something that is wrong now. `subject` stays the same for as long as it is the same thing."""

    kind: str
    subject: str
    summary: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Watched:
    """What changed: alerts that opened and that ended."""

    opened: tuple[AlertRecord, ...]
    resolved: tuple[AlertRecord, ...]


def watch(ledger: Ledger, state: PipelineState) -> Watched:
    """Open an alert for each condition that has none, and end those whose condition is gone.

    While the warehouse does not answer nothing is known of usage, so its alerts stay. Unavailable as the ledger is.
    """
    looked_at = [kind for kind in KINDS if state.usage is not None or kind != _OF_USAGE]
    conditions = {(one.kind, one.subject): one for one in conditions_of(state)}
    with ledger.begin() as session:
        standing = alerts.hold(session, looked_at)
        opened = [
            alerts.open_alert(session, one.kind, one.subject, one.summary, one.detail, state.at)
            for key, one in conditions.items()
            if key not in standing
        ]
        for key, alert in standing.items():
            now = conditions.get(key)
            if now is not None and (now.summary, now.detail) != (alert.summary, alert.detail):
                alerts.describe(session, alert.id, now.summary, now.detail)
        gone = [alert for key, alert in standing.items() if key not in conditions]
        resolved = [alert for alert in gone if alerts.resolve(session, alert, state.at)]
    return Watched(tuple(one for one in opened if one is not None), tuple(resolved))


def conditions_of(state: PipelineState) -> Iterator[Condition]:
    """Everything that is wrong with the pipeline, in the order of its stages."""
    if state.unavailable is not None:
        yield Condition("warehouse_unavailable", "warehouse", f"the warehouse does not answer: {state.unavailable}")
    yield from _failed_runs(state)
    yield from _late_usage(state)
    yield from _held(state)
    yield from _given_up(state)
    for scope, (at, left) in sorted(state.stripe.differences.items()):
        if left:
            said = {**_named(scope), "differences": left, "compared_at": format_instant(at)}
            summary = f"{left} differences between our books and Stripe's are left in {scope.environment_id}"
            yield Condition("stripe_differs", scope.environment_id, summary, said)


def _failed_runs(state: PipelineState) -> Iterator[Condition]:
    for job, days, run_id, ended_at in state.failing_runs:
        said = {"job": job, "days": days, "run_id": run_id, "ended_at": format_instant(ended_at)}
        summary = f"the last run of {job}{f' for {days}' if days else ''} has failed"
        yield Condition("run_failed", f"{job}:{days}", summary, said)


def _late_usage(state: PipelineState) -> Iterator[Condition]:
    for one in state.usage.environments if state.usage is not None else ():
        if one.waiting_since is not None and state.at - one.waiting_since > one.allowed:
            said = {
                **_named(one.scope),
                "waiting_since": format_instant(one.waiting_since),
                "allowed_seconds": int(one.allowed.total_seconds()),
            }
            summary = f"usage of {one.scope.environment_id} lacks events received {format_instant(one.waiting_since)}"
            yield Condition(_OF_USAGE, one.scope.environment_id, summary, said)


def _held(state: PipelineState) -> Iterator[Condition]:
    """One for the invoices of an environment, billing day and gate."""
    found: dict[tuple[Scope, str, str], list[str]] = {}
    for draft in state.billing.held:
        for gate in {gate_of(problem) for problem in draft.problems}:
            day = draft.period_end.date().isoformat()
            found.setdefault((draft.scope, day, gate), []).append(draft.invoice_id)
    for (scope, day, gate), ids in sorted(found.items()):
        said = {**_named(scope), "day": day, "gate": gate, "held": len(ids), "invoices": ids[:_MOST_NAMED]}
        what = "invoice is" if len(ids) == 1 else "invoices are"
        summary = f"{len(ids)} {what} held by {gate} in {scope.environment_id}, billing day {day}"
        yield Condition("gate_failed", f"{scope.environment_id}:{day}:{gate}", summary, said)


def _given_up(state: PipelineState) -> Iterator[Condition]:
    for queue, counts in state.stripe.given_up.items():
        for scope, count in sorted(counts.items()):
            said = {**_named(scope), "queue": queue, "given_up": count}
            what = "webhooks from Stripe were" if queue == "inbox" else "pieces of work for Stripe were"
            summary = f"{count} {what} given up in {scope.environment_id}"
            yield Condition("given_up", f"{scope.environment_id}:{queue}", summary, said)


def _named(scope: Scope) -> dict[str, str]:
    return {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id}
