"""Minutes of steady load: the API's memory does not grow, and all of it is counted.

`SOAK_SECONDS` says how long; `make soak` takes five minutes.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from tests.support.event_sender import EventSender, sending
from tests.support.ingest_rig import Rig, running_rig

_PARTS = 5
_MOST_MB = 400


@dataclass(frozen=True)
class Sample:
    """The state of things at one moment: memory in MB, CPU in seconds."""

    seconds: float
    requests: int
    events: int
    api_mb: float
    api_cpu: float
    warehouse_mb: float
    warehouse_cpu: float


def _memory(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _cpu(pid: int) -> float:
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _sampler(rig: Rig, sender: EventSender) -> Callable[[], Sample]:
    api, warehouse, began = rig.api.process.pid, rig.warehouse.pid, time.monotonic()
    return lambda: Sample(
        time.monotonic() - began,
        sender.requests(),
        len(sender.acknowledged),
        _memory(api),
        _cpu(api),
        _memory(warehouse),
        _cpu(warehouse),
    )


def _told(parts: list[list[Sample]]) -> str:
    """A line for each fifth: the median of the memory, and what happened in a second."""
    lines = ["until s  requests/s  events/s  API MB  API CPU  warehouse MB  warehouse CPU"]
    for samples in parts:
        first, last = samples[0], samples[-1]
        took = last.seconds - first.seconds
        lines.append(
            f"{last.seconds:7.0f}  {(last.requests - first.requests) / took:10.0f}"
            f"  {(last.events - first.events) / took:8.0f}"
            f"  {median([each.api_mb for each in samples]):6.1f}  {(last.api_cpu - first.api_cpu) / took:7.2f}"
            f"  {median([each.warehouse_mb for each in samples]):12.1f}"
            f"  {(last.warehouse_cpu - first.warehouse_cpu) / took:13.2f}"
        )
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_the_apis_memory_does_not_grow_under_a_steady_load(tmp_path: Path) -> None:
    lasts = float(os.environ.get("SOAK_SECONDS") or 60)
    with running_rig(tmp_path / "home") as rig:
        tenant = rig.tenant()
        with sending(rig.api.url, tenant.key, 1, most_events=150, pause=0.05) as sender:
            sample = _sampler(rig, sender)
            samples = [sample()]
            while samples[-1].seconds < lasts:
                threading.Event().wait(lasts / 150)
                sender.fail_if_broken()
                samples.append(sample())
        # Neighbouring parts share the sample at which one ends and the next begins.
        bounds = [round(part * (len(samples) - 1) / _PARTS) for part in range(_PARTS + 1)]
        parts = [samples[start : end + 1] for start, end in pairwise(bounds)]
        print("\n" + _told(parts), flush=True)
        print(f"{len(sender.acknowledged)} events, {dict(sender.statuses)}", flush=True)
        memory = [median([each.api_mb for each in part]) for part in parts]
        assert memory[-1] <= 1.1 * memory[_PARTS // 2]
        assert max(each.api_mb for each in samples) < _MOST_MB
        rig.assert_each_counts_once(tenant, sender)
        rig.assert_log_is_clean()
