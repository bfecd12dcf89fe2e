"""A machine whose clock is set back between two requests: what was acknowledged stays, and nothing breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from api.app import create_app
from api.deps import build_deps
from settings import Settings
from tests.support.api_stack import Tenant
from tests.support.ingest_rig import Rig
from tests.support.warehouse_fixtures import plain_client

_STORED = (
    "SELECT event_id, timestamp, ingested_at FROM tallyhouse.events FINAL "
    "WHERE tenant_id = {tenant_id:String} AND environment_id = {environment_id:String}"
)


class Clock:
    """Says what it was set to."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@asynccontextmanager
async def _api(rig: Rig, tenant: Tenant, home: Path, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    """The API in this process, on the rig's warehouse and ledger, going by `clock`."""
    environment = rig.environment | {"TALLY_HOME": str(home)}
    settings = Settings(_env_file=None, **{name[6:].lower(): value for name, value in environment.items()})  # type: ignore[arg-type,call-arg]
    app = create_app(replace(build_deps(settings), clock=clock))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        headers = {"X-API-Key": tenant.key}
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers, timeout=60) as http:
            yield http


def _event(event_id: str, at: datetime | None = None) -> dict[str, Any]:
    timed = {} if at is None else {"timestamp": at.isoformat()}
    return {"event_id": event_id, "event_name": "llm.request", "customer_id": "acme", **timed}


def _stored(rig: Rig, tenant: Tenant) -> dict[str, tuple[datetime, datetime]]:
    scope = {"tenant_id": tenant.scope.tenant_id, "environment_id": tenant.scope.environment_id}
    with plain_client(rig.warehouse, tz_mode="schema") as client:
        return {row[0]: (row[1], row[2]) for row in client.query(_STORED, parameters=scope).result_rows}


def _count(rig: Rig, tenant: Tenant, at: datetime) -> str:
    days = timedelta(days=10)
    window = {"start_time": (at - days).isoformat(), "end_time": (at + days).isoformat()}
    [row] = tenant.make("events/usage/meter", {"meter_id": "meter_requests", "customer_id": "acme", **window})["data"]
    value: str = row["value"]
    return value


def test_E1_a_clock_that_is_set_back_loses_nothing_and_dates_only_what_comes_without_a_time(
    rig: Rig, tmp_path: Path
) -> None:
    tenant = rig.tenant()
    began = datetime.now(UTC)
    hour, days = timedelta(hours=1), timedelta(days=3)
    clock = Clock(began)

    async def act() -> list[tuple[int, str]]:
        async with _api(rig, tenant, tmp_path, clock) as http:
            answers = []
            for moment, event in (
                (began, _event("a", began)),
                (began - hour / 6, _event("b", began)),
                (began - hour / 6, _event("c")),
                (began - days, _event("d")),
                (began - days, _event("e", began)),
                (began + hour, _event("e", began)),
                (began, _event("f")),
                (began, _event("a", began)),
            ):
                clock.now = moment
                answer = await http.post("/api/v1/events", json=event)
                answers.append((answer.status_code, answer.json().get("code", "")))
            return answers

    answers = asyncio.run(act())
    # Three days back, an event of today lies in the future: refused, not lost; its sender is told.
    assert answers.pop(4) == (422, "timestamp_in_the_future")
    assert {status for status, _ in answers} <= {200, 201, 202}
    stored = _stored(rig, tenant)
    assert sorted(stored) == ["a", "b", "c", "d", "e", "f"]
    assert [stored[name][0] for name in "cdf"] == [began - hour / 6, began - days, began]
    # When an event was received goes by the warehouse's clock, so the watermark does not see the jump.
    until = datetime.now(UTC)
    assert all(began <= ingested_at <= until for _, ingested_at in stored.values())
    for _ in range(2):
        assert _count(rig, tenant, began) == "6"
        rig.reconcile()
