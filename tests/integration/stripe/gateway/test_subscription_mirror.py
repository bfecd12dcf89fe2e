"""Subscriptions and their mirrors at Stripe: a change on one side comes to the other, and Stripe bills none of it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.store import subscriptions
from ledger.store.customers import CustomerRecord
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps import change_subscription, mirrors, stripe_sweep, sync_customer, sync_subscription
from pipelines.steps.change_subscription import Effective, When
from pipelines.steps.create_subscription import NewSubscription, create_subscription
from tests.integration.stripe.gateway.cutting import Cut, CuttingGateway
from tests.integration.stripe.gateway.test_catalog_mirror import a_plan
from tests.integration.stripe.gateway.world import World, answered
from tests.support.at_once import in_threads

DAY = timedelta(days=1)
FLAT = {"pricing_model": "flat", "amount": "29.00"}
BOTH = {"subscription": {"inbound": True, "outbound": True}}


def subscribed(world: World, customer: CustomerRecord | None = None, **terms: Any) -> SubscriptionRecord:
    customer = customer or world.customer()
    key = terms.pop("plan", "pro")
    a_plan(world, FLAT, key=key)
    wanted: dict[str, Any] = {
        "start_date": world.now - 10 * DAY,
        "end_date": None,
        "billing_anchor": "subscription_start",
        "collection_method": "charge_automatically",
        "timezone": "UTC",
    }
    with world.ledger.begin() as session:
        new = NewSubscription(customer.id, key, **{**wanted, **terms})
        return create_subscription(session, world.scope, new, "key_1", world.now)


def sweep(world: World) -> stripe_sweep.Swept:
    return stripe_sweep.sweep(world.ledger, world.gateways(), world.now)


def change(
    world: World,
    ours: SubscriptionRecord,
    move: Callable[[Session, Scope, str, When], SubscriptionRecord],
    effective: Effective = "now",
) -> None:
    with world.ledger.begin() as session:
        move(session, world.scope, ours.id, When(effective, None, "key_1", world.now))


def ours_now(world: World, ours: SubscriptionRecord) -> tuple[str, Any]:
    with world.ledger.read() as session:
        found = subscriptions.get_subscription(session, world.scope, ours.id)
    return str(found.life().status_at(world.now)), found.end_date


def there(world: World) -> dict[str, Any]:
    [found] = world.get("/v1/subscriptions", status="all")["data"]
    return dict(found)


def later(world: World, gap: timedelta) -> None:
    """Both clocks go on, and what time has changed is found, heard and worked off."""
    world.now += gap
    world.control.clock(advance=int(gap.total_seconds()))
    world.control.wait_idle()
    world.hear()
    mirrors.ask_for_changed(world.ledger, world.scope, world.now)
    sweep(world)


def test_a_running_subscription_is_mirrored_at_no_cost_and_stripe_never_bills_it(world: World) -> None:
    world.connect(**BOTH)
    customer = world.customer()
    world.save_card(customer)
    ours = subscribed(world, customer)
    sweep(world)
    mirror = there(world)
    [item] = mirror["items"]["data"]
    assert (mirror["status"], mirror["metadata"]["tallyhouse_subscription_id"]) == ("active", ours.id)
    assert (item["price"]["unit_amount"], item["price"]["product"]) == (
        0,
        world.mapping("plan", ours.plan_id).provider_id,
    )
    assert mirror["start_date"] == int(ours.start_date.timestamp())
    period = ours.period_at(world.now)
    assert period is not None
    assert item["current_period_end"] == int(period.end.timestamp())
    assert world.mapping("subscription", ours.id).provider_id == mirror["id"]
    for _ in range(3):
        later(world, 31 * DAY)
    invoices = world.stripe_invoices()
    assert {(each["total"], each["status"]) for each in invoices} == {(0, "paid")}
    assert len(invoices) >= 3
    assert world.get("/v1/charges")["data"] == []


def test_nothing_goes_out_unless_the_connection_says_so(world: World) -> None:
    world.connect()
    subscribed(world)
    sweep(world)
    assert world.get("/v1/subscriptions", status="all")["data"] == []


def test_pause_plan_and_end_go_out(world: World) -> None:
    world.connect(**BOTH)
    ours = subscribed(world)
    sweep(world)
    change(world, ours, change_subscription.pause)
    sweep(world)
    assert there(world)["pause_collection"]["behavior"] == "void"
    change(world, ours, change_subscription.resume)
    sweep(world)
    assert there(world)["pause_collection"] is None

    other = a_plan(world, FLAT, key="business")
    with world.ledger.begin() as session:
        when = When("now", None, "key_1", world.now)
        change_subscription.change_plan(session, world.scope, ours.id, when, other.id)
    sweep(world)
    [item] = there(world)["items"]["data"]
    assert item["price"]["product"] == world.mapping("plan", other.id).provider_id
    assert item["price"]["unit_amount"] == 0

    change(world, ours, change_subscription.cancel, "period_end")
    sweep(world)
    _, end = ours_now(world, ours)
    assert there(world)["cancel_at"] == int(end.timestamp())
    change(world, ours, change_subscription.withdraw_cancellation)
    sweep(world)
    assert there(world)["cancel_at"] is None
    change(world, ours, change_subscription.cancel)
    sweep(world)
    assert there(world)["status"] == "canceled"


def test_what_begins_later_comes_when_its_time_has_come(world: World) -> None:
    world.connect(**BOTH)
    ours = subscribed(world, start_date=world.now + DAY)
    sweep(world)
    assert world.get("/v1/subscriptions", status="all")["data"] == []
    change(world, ours, change_subscription.pause, world.now + 3 * DAY)
    sweep(world)
    later(world, DAY + timedelta(hours=1))
    assert (there(world)["status"], there(world)["pause_collection"]) == ("active", None)
    later(world, 2 * DAY)
    assert there(world)["pause_collection"] is not None
    assert mirrors.ask_for_changed(world.ledger, world.scope, world.now) == 0


def test_a_trial_is_one_there_too(world: World) -> None:
    world.connect(**BOTH)
    subscribed(world, start_date=world.now - DAY, trial_days=14)
    sweep(world)
    mirror = there(world)
    assert mirror["status"] == "trialing"
    assert abs(mirror["trial_end"] - (world.now + 13 * DAY).timestamp()) < 60


def test_pause_and_end_come_in(world: World) -> None:
    world.connect(**BOTH)
    ours = subscribed(world)
    sweep(world)
    path = f"/v1/subscriptions/{there(world)['id']}"
    world.post(path, "dashboard:1", **{"pause_collection[behavior]": "void"})
    world.hear()
    assert ours_now(world, ours) == ("paused", None)
    world.post(path, "dashboard:2", pause_collection="")
    world.hear()
    assert ours_now(world, ours) == ("active", None)
    world.post(path, "dashboard:3", cancel_at_period_end="true")
    world.hear()
    with world.ledger.read() as session:
        period = subscriptions.get_subscription(session, world.scope, ours.id).schedule().period_at(world.now)
    assert ours_now(world, ours) == ("active", period.end)
    world.post(path, "dashboard:4", cancel_at="")
    world.hear()
    assert ours_now(world, ours) == ("active", None)
    world.delete(path)
    world.now += timedelta(minutes=10)
    world.hear()
    assert ours_now(world, ours)[0] == "cancelled"
    assert sweep(world).retried == 0
    assert there(world)["status"] == "canceled"


def test_what_was_changed_on_both_sides_stays_as_it_is_here(world: World) -> None:
    world.connect(**BOTH)
    ours = subscribed(world)
    sweep(world)
    path = f"/v1/subscriptions/{there(world)['id']}"
    ours_end = world.now + 5 * DAY
    change(world, ours, change_subscription.cancel, ours_end)
    world.post(path, "dashboard:1", cancel_at=str(int((world.now + 9 * DAY).timestamp())))
    world.hear()
    sweep(world)
    assert ours_now(world, ours) == ("active", ours_end)
    assert there(world)["cancel_at"] == int(ours_end.timestamp())


def test_a_change_there_and_another_one_here_reach_the_other_side(world: World) -> None:
    world.connect(**BOTH)
    ours = subscribed(world)
    sweep(world)
    world.post(f"/v1/subscriptions/{there(world)['id']}", "dashboard", **{"pause_collection[behavior]": "void"})
    end = world.now + 5 * DAY
    change(world, ours, change_subscription.cancel, end)
    sweep(world)
    assert ours_now(world, ours) == ("paused", end)
    assert (there(world)["cancel_at"], there(world)["pause_collection"]["behavior"]) == (int(end.timestamp()), "void")
    world.hear()
    sweep(world)
    assert ours_now(world, ours) == ("paused", end)


def test_where_nothing_comes_in_a_change_there_is_undone_and_an_end_is_shown(world: World) -> None:
    world.connect(subscription={"outbound": True})
    ours = subscribed(world)
    sweep(world)
    path = f"/v1/subscriptions/{there(world)['id']}"
    world.post(path, "dashboard", **{"pause_collection[behavior]": "void"})
    world.hear()
    sweep(world)
    assert (ours_now(world, ours)[0], there(world)["pause_collection"]) == ("active", None)
    world.delete(path)
    world.hear()
    assert ours_now(world, ours)[0] == "active"
    assert (world.mapping("subscription", ours.id).last_error or "").startswith("ended_at_provider")


def test_events_in_any_order_and_repeated_end_in_the_same_state(world: World) -> None:
    world.connect(**BOTH)
    ours = subscribed(world)
    sweep(world)
    path = f"/v1/subscriptions/{there(world)['id']}"
    for number in range(3):
        world.post(path, f"dashboard:{number}:on", **{"pause_collection[behavior]": "void"})
        world.post(path, f"dashboard:{number}:off", pause_collection="")
    world.post(path, "dashboard:last", **{"pause_collection[behavior]": "void"})
    events = [event for event in world.events() if event["type"].startswith("customer.subscription")]
    world.hear([*reversed(events), *events])
    assert ours_now(world, ours)[0] == "paused"
    with world.ledger.read() as session:
        history = subscriptions.get_subscription(session, world.scope, ours.id).history
    assert [each.kind.value for each in history] == ["paused"]


def test_a_mirror_that_somebody_gave_a_price_is_named(world: World) -> None:
    world.connect(**BOTH)
    ours = subscribed(world)
    sweep(world)
    mirror = there(world)
    [item] = mirror["items"]["data"]
    price = {"currency": "usd", "product": item["price"]["product"], "unit_amount": "500"}
    form = {f"items[0][price_data][{name}]": value for name, value in price.items()}
    form |= {"items[0][id]": item["id"], "items[0][price_data][recurring][interval]": "month"}
    world.post(f"/v1/subscriptions/{mirror['id']}", "dashboard", **form)
    world.hear()
    assert (world.mapping("subscription", ours.id).last_error or "").startswith("billed_at_provider")


def test_a_subscription_of_somebody_else_is_ignored_visibly(world: World) -> None:
    world.connect(**BOTH)
    product = world.post("/v1/products", "dashboard:1", name="Other")
    customer = world.post("/v1/customers", "dashboard:2", name="Other")
    price = {"currency": "usd", "product": product["id"], "unit_amount": "500", "recurring][interval": "month"}
    form = {f"items[0][price_data][{name}]": value for name, value in price.items()}
    world.post("/v1/subscriptions", "dashboard:3", customer=customer["id"], **form)
    processed = world.hear()
    assert (processed.dead, processed.retried) == (0, 0)
    assert processed.ignored > 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_S1_a_crash_around_any_call_makes_one_mirror(world: World, when: str) -> None:
    world.connect(**BOTH)
    customer = world.customer()
    points = 0
    while True:
        ours = subscribed(world, customer, plan=f"plan_{points}")
        change(world, ours, change_subscription.pause)
        cut = CuttingGateway(points + 1, when)
        link = world.gateways(cut.around).require(world.scope)
        try:
            sync_subscription.push_subscription(world.ledger, world.scope, link, ours.id, world.now)
        except Cut:
            sync_subscription.push_subscription(world.ledger, world.scope, world.link(), ours.id, world.now)
        points += 1
        found = world.get("/v1/subscriptions", status="all", limit="100")["data"]
        assert len(found) == points
        assert found[0]["pause_collection"] is not None
        if len(cut.calls) < points:
            break
    assert {"create_product", "create_subscription", "update_subscription"} <= set(cut.calls)


def test_S1_workers_at_once_make_one_mirror(world: World) -> None:
    world.connect(**BOTH)
    ours = subscribed(world)

    def push() -> str | None:
        return sync_subscription.push_subscription(world.ledger, world.scope, world.link(), ours.id, world.now)

    assert len({*in_threads([lambda: answered(push)] * 3), push()} - {None}) == 1
    assert there(world)["metadata"]["tallyhouse_subscription_id"] == ours.id


def test_a_deleted_customer_gets_a_new_one_before_the_mirror_is_made(world: World) -> None:
    world.connect(**BOTH)
    ours = subscribed(world)
    gone = sync_customer.ensure_customer(world.ledger, world.scope, world.link(), ours.customer_id, world.now)
    world.delete(f"/v1/customers/{gone}")
    sweep(world)
    world.now += timedelta(minutes=1)
    sweep(world)
    assert there(world)["customer"] != gone


def test_a_period_that_stripe_has_not_is_left_for_people_with_the_reason(world: World) -> None:
    world.connect(**BOTH)
    customer = world.customer()
    a_plan(world, FLAT, key="decade", period="P10Y")
    with world.ledger.begin() as session:
        new = NewSubscription(customer.id, "decade", world.now, None, "subscription_start", "send_invoice", "UTC")
        ours = create_subscription(session, world.scope, new, "key_1", world.now)
    assert sweep(world).dead == 1
    failed = world.mapping("subscription", ours.id)
    assert (failed.state, (failed.last_error or "").partition(":")[0]) == ("failed", "interval_not_at_provider")
    assert mirrors.ask_for_changed(world.ledger, world.scope, world.now) == 0
