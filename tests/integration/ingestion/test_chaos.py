"""kill -9 of API and warehouse at random moments under load: what was acknowledged is there, and once.

`CHAOS_SEED` repeats the choices of a run (not the moments, which are the machine's), `CHAOS_ROUNDS` says how many.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom

import pytest

from tests.support.event_sender import EventSender, sending
from tests.support.ingest_rig import Rig, running_rig
from tests.support.waiting import wait_until


def _more(sender: EventSender, chance: Random, *statuses: int) -> None:
    """Some more requests are acknowledged, or answered with one of `statuses`."""
    target = sender.requests(*statuses) + chance.randint(1, 40)

    def came() -> bool:
        sender.fail_if_broken()
        return sender.requests(*statuses) >= target

    wait_until(came, 60)


def _api_dies(rig: Rig, sender: EventSender, chance: Random) -> None:
    _more(sender, chance)
    rig.api.kill()
    rig.bring_back_api()


def _warehouse_dies(rig: Rig, sender: EventSender, chance: Random) -> None:
    _more(sender, chance)
    rig.warehouse.kill()
    _more(sender, chance, 202)
    rig.bring_back_warehouse()


def _both_die(rig: Rig, sender: EventSender, chance: Random) -> None:
    """The second API has to take over the journal of the first, and to keep it for later."""
    _more(sender, chance)
    rig.warehouse.kill()
    _more(sender, chance, 202)
    rig.api.kill()
    rig.bring_back_api()
    _more(sender, chance, 202)
    rig.bring_back_warehouse()


def _api_dies_while_it_drains(rig: Rig, sender: EventSender, chance: Random) -> None:
    _warehouse_dies(rig, sender, chance)
    rig.api.kill()
    rig.bring_back_api()


ROUNDS: tuple[Callable[[Rig, EventSender, Random], None], ...] = (
    _api_dies,
    _warehouse_dies,
    _both_die,
    _api_dies_while_it_drains,
)


def _survives(place: Path, rounds: int) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or SystemRandom().randrange(1_000_000))
    chance = Random(seed)  # noqa: S311 -- to be repeated, guards nothing
    with running_rig(place / "home") as rig:
        tenant = rig.tenant()
        with sending(rig.api.url, tenant.key, seed) as sender:
            # Each kind as often as the others, in any order.
            kinds = [kind for _ in range(-(-rounds // len(ROUNDS))) for kind in chance.sample(ROUNDS, len(ROUNDS))]
            for number, kind in enumerate(kinds[:rounds], 1):
                print(f"seed {seed}, round {number}: {kind.__name__.strip('_')}, {dict(sender.statuses)}", flush=True)
                kind(rig, sender, chance)
            _more(sender, chance)
        print(f"{len(sender.acknowledged)} events acknowledged: {dict(sender.statuses)}", flush=True)
        rig.assert_each_counts_once(tenant, sender)
        rig.assert_log_is_clean()


def test_E1_E5_what_was_acknowledged_survives_kill_9_of_api_and_warehouse_and_counts_once(tmp_path: Path) -> None:
    _survives(tmp_path, 3)


@pytest.mark.slow
def test_E1_E5_what_was_acknowledged_survives_kill_9_through_many_rounds(tmp_path: Path) -> None:
    _survives(tmp_path, int(os.environ.get("CHAOS_ROUNDS") or 20))
