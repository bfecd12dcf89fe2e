"""Disks that are full, the warehouse's and the journal's: what is acknowledged is kept, the rest is told to come back,
and with room again everything goes on by itself.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.ingest_rig import running_rig
from tests.support.waiting import wait_until

Mount = Callable[[str, int], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Makes a small disk of so many MiB under a name."""
    made: list[Path] = []

    def make(name: str, mebibytes: int) -> Path:
        place = tmp_path / name
        place.mkdir()
        if shutil.which("mount") is None:
            pytest.skip("there is no `mount` here to make a small disk with")
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        if done.returncode:
            pytest.skip(f"a small disk needs the right to mount a tmpfs: {done.stderr.strip()}")
        made.append(place)
        return place

    yield make
    for place in made:
        subprocess.run(["umount", str(place)], check=True, timeout=30)


def _fill(place: Path) -> Path:
    """Takes all the room there is; the file to remove for having it back."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for piece in (1 << 20, 1 << 12):
            with suppress(OSError):
                while file.write(bytes(piece)) == piece:
                    pass
    return filler


def _event(event_id: str, tokens: int) -> dict[str, Any]:
    # Larger than what a page that is partly used still has room for.
    properties = {"tokens": tokens, "text": "x" * 6000}
    common = {"event_name": "llm.request", "customer_id": "acme", "timestamp": "2026-01-05T10:00:00Z"}
    return {"event_id": event_id, **common, "properties": properties}


def test_E1_E5_full_disks_lose_nothing_that_was_acknowledged_and_recover_by_themselves(mount: Mount) -> None:
    home, data = mount("home", 4), mount("data", 64)
    with running_rig(home, data / "warehouse") as rig:
        tenant = rig.tenant()
        assert tenant.post("events", _event("a", 1)).status_code in {201, 202}
        rig.wait_until_drained()

        in_warehouse = _fill(data)
        answer = tenant.post("events", _event("b", 2))
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")

        in_home = _fill(home)
        refused = [tenant.post("events", _event("c", 4)) for _ in range(3)]
        assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(503, "journal_failed")}
        assert {answer.headers["Retry-After"] for answer in refused} == {"10"}

        in_home.unlink()
        assert tenant.post("events", _event("d", 8)).status_code == 202
        rig.api.kill()
        rig.bring_back_api()
        assert tenant.post("events/bulk", {"events": [_event("e", 16), _event("c", 32)]}).status_code == 202

        in_warehouse.unlink()
        rig.wait_until_drained()
        wait_until(lambda: tenant.post("events", _event("f", 64)).status_code in {200, 201})
        assert rig.usage(tenant) == {"acme": (6, 123)}
        rig.reconcile()
        assert rig.usage(tenant) == {"acme": (6, 123)}
        assert rig.stored(tenant) == ["a", "b", "c", "d", "e", "f"]
        assert list(home.glob("journal/refused-*")) == []
        rig.assert_log_is_clean()
