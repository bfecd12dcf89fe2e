"""How fast Stripe is called: one pace for all processes of an account, slower when Stripe says so."""

from collections import Counter
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from billing.errors import InvalidInput
from billing.ports import ProviderUnavailable
from ledger.models import CallPace
from pipelines.steps.call_pace import CallPaces
from pipelines.steps.connections import Gateways
from pipelines.steps.sync_config import check_sync_config
from tests.integration.stripe.gateway.world import World
from tests.support.ledger_rows import BOX


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def paced(world: World, clock: Clock) -> Gateways:
    return Gateways(world.ledger, BOX, world.gateway, CallPaces(world.ledger, clock, clock.sleep))


def names(world: World) -> dict[str, int]:
    with world.ledger.read() as session:
        rows = session.execute(select(CallPace.name, CallPace.eased_percent))
        return {name.partition(":test")[2].lstrip(":"): percent for name, percent in rows}


def test_two_processes_together_call_no_faster_than_the_connection_says(world: World) -> None:
    connection = world.connect(calls_per_second=40, endpoint_calls_per_second=25)
    clock = Clock(world.now)
    processes = [CallPaces(world.ledger, clock, clock.sleep).of(connection) for _ in range(2)]
    made = []
    for number in range(200):
        call = ("POST /v1/invoices", "GET /v1/invoices/*", "POST /v1/invoices/*/finalize")[number % 3]
        processes[number // 7 % 2].wait(call)
        made.append((clock.now, call))
    for start, _ in made:
        second = [call for at, call in made if start <= at < start + timedelta(seconds=1)]
        # What half a second allows may come late, and then together with the next calls.
        assert len(second) <= 60
        assert max(Counter(second).values()) <= 38
    assert made[-1][0] - made[0][0] < timedelta(seconds=200 / 40 * 1.5)


def test_a_change_of_the_setting_counts_at_once_and_another_mode_has_a_pace_of_its_own(world: World) -> None:
    connection = world.connect(calls_per_second=1)
    clock = Clock(world.now)
    paces = CallPaces(world.ledger, clock, clock.sleep)
    pace = paces.of(connection)
    for _ in range(3):
        pace.wait("GET /v1/events")
    assert clock.now - world.now == timedelta(seconds=2)
    assert paces.of(connection) is pace


def test_too_many_requests_at_an_endpoint_slow_that_endpoint_and_the_call_is_repeated(world: World) -> None:
    world.connect(collection="manual")
    clock = Clock(world.now)
    # Less than one call ever: each try is refused.
    world.control.settings(endpoint_calls_per_second=0.01)
    gateway = paced(world, clock).require(world.scope).gateway
    with pytest.raises(ProviderUnavailable) as caught:
        gateway.list_invoices(world.now)
    assert caught.value.code == "provider_rate_limited"
    eased = names(world)
    assert (eased["GET /v1/invoices"], eased[""]) == (10, 100)
    # A second's rest after each of the six refusals but the last.
    assert clock.now - world.now >= timedelta(seconds=5)


def test_too_many_requests_of_an_account_slow_all_of_it(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    world.control.fault(action="rate_limit", path="/v1/invoices")
    clock = Clock(world.now)
    assert world.sync(invoice.id, paced(world, clock)).outcome == "synced"
    eased = names(world)
    assert eased[""] == 50
    assert set(eased) == {
        "",
        "GET /v1/customers",
        "POST /v1/customers",
        "POST /v1/invoices",
        "POST /v1/invoices/*/add_lines",
        "POST /v1/invoices/*/finalize",
    }


def test_a_locked_object_is_no_matter_of_pace(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    world.control.fault(action="lock_timeout", path="/v1/invoices")
    assert world.sync(invoice.id, paced(world, Clock(world.now))).outcome == "synced"
    assert set(names(world).values()) == {100}


@pytest.mark.parametrize("pace", [0, 10_001, "80", True, 1.5])
def test_a_pace_is_a_number_of_calls(pace: object) -> None:
    for name in ("calls_per_second", "endpoint_calls_per_second"):
        with pytest.raises(InvalidInput) as caught:
            check_sync_config({name: pace})
        assert caught.value.field == f"sync_config.{name}"
