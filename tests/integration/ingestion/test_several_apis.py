"""Several API processes before one warehouse: neither a lock nor a memory is shared, and an identity counts once."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from tests.support.api_process import running_api
from tests.support.api_stack import Tenant
from tests.support.at_once import in_threads
from tests.support.ingest_rig import Rig
from tests.support.waiting import wait_until

BATCHES = 5


def _batch(number: int) -> dict[str, Any]:
    return {
        "events": [
            {
                "event_id": f"event-{number}-{n}",
                "event_name": "llm.request",
                "customer_id": f"customer_{n % 2}",
                "timestamp": f"2026-01-{n + 1:02}T10:00:00Z",
                "properties": {"tokens": 0.5},
            }
            for n in range(20)
        ]
    }


def _post(tenant: Tenant, url: str, number: int) -> Callable[[], httpx.Response]:
    headers = {"X-API-Key": tenant.key}
    return lambda: httpx.post(
        f"{url}/api/v1/events/bulk", json=_batch(number), headers=headers, trust_env=False, timeout=60
    )


def test_E3_the_same_batches_sent_to_several_apis_at_once_count_once(rig: Rig, tmp_path: Path) -> None:
    """One of them shares the first one's home, the other has a home of its own."""
    tenant = rig.tenant()
    log = tmp_path / "api.log"
    beside, apart = rig.environment, {**rig.environment, "TALLY_HOME": str(tmp_path / "home")}
    with running_api(beside, log) as second, running_api(apart, log) as third:
        urls = (rig.api.url, second.url, third.url)
        for _ in range(2):
            answers = in_threads([_post(tenant, url, number) for number in range(BATCHES) for url in urls])
            assert {answer.status_code for answer in answers} <= {200, 201, 202}
        # On a machine that is busy some may have been queued.
        rig.wait_until_drained()
        wait_until(lambda: not any(tmp_path.glob("home/journal/*/*.segment")))
    expected = {f"customer_{n}": (50, Decimal(25)) for n in range(2)}
    assert rig.usage(tenant) == expected
    rig.reconcile()
    assert rig.usage(tenant) == expected
    assert len(rig.stored(tenant)) == 100
    assert "Traceback" not in log.read_text()
