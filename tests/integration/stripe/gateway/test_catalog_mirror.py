"""Plans and prices at Stripe: made once, followed when they change, and never a reason for Stripe to charge."""

from datetime import timedelta
from typing import Any

import pytest

from billing.price import parse_price
from billing.price_version import ApplyTo
from ledger.store import features, plans, prices
from ledger.store.plans import PlanRecord
from pipelines.steps import change_plan, change_prices, mirrors, stripe_sweep, sync_plan
from pipelines.steps.change_prices import PriceChanges, Timing
from pipelines.steps.create_plan import NewPlan, create_plan
from pipelines.steps.new_price import NewPlanPrice
from tests.integration.stripe.gateway.cutting import Cut, CuttingGateway
from tests.integration.stripe.gateway.world import World, answered
from tests.support.at_once import in_threads
from tests.support.ledger_rows import a_meter

PER_UNIT = {"pricing_model": "per_unit", "unit_price": "0.005"}


def a_plan(world: World, *specs: dict[str, Any], key: str = "pro", period: str = "monthly") -> PlanRecord:
    with world.ledger.begin() as session:
        meter = a_meter(session, world.scope, f"{key}_seats")
        feature = features.create_feature(
            session,
            world.scope,
            name="Seats",
            key=f"{key}_seats",
            feature_type="metered",
            meter_id=meter.id,
            now=world.now,
        )
        wanted = [
            NewPlanPrice(parse_price(spec), feature.id, f"Price {number}", None, None)
            for number, spec in enumerate(specs)
        ]
        new = NewPlan("Pro", key, period, "USD", "recurring", "For teams", wanted)
        return create_plan(session, world.scope, new, world.now)


def sweep(world: World) -> stripe_sweep.Swept:
    return stripe_sweep.sweep(world.ledger, world.gateways(), world.now)


def products(world: World) -> list[dict[str, Any]]:
    return list(world.get("/v1/products", limit="100")["data"])


def there(world: World, active: bool | None = True) -> list[dict[str, Any]]:
    """The prices at Stripe with their tiers, oldest first."""
    found = world.get("/v1/prices", limit="100", **{"expand[]": "data.tiers"})["data"]
    return [price for price in reversed(found) if active is None or price["active"] is active]


def test_a_plan_becomes_a_product_with_a_price_for_each_of_its_prices(world: World) -> None:
    connection = world.connect()
    plan = a_plan(world, {"pricing_model": "flat", "amount": "29.00"}, PER_UNIT, period="quarterly")
    assert sweep(world).done == 1
    [product] = products(world)
    assert (product["name"], product["description"], product["active"]) == ("Pro", "For teams", True)
    assert product["metadata"]["tallyhouse_plan_id"] == plan.id
    flat, unit = there(world)
    assert (flat["unit_amount"], flat["nickname"], flat["product"]) == (2900, "Price 0", product["id"])
    assert (unit["unit_amount"], unit["unit_amount_decimal"]) == (None, "0.5")
    assert (unit["recurring"]["interval"], unit["recurring"]["interval_count"]) == ("month", 3)
    assert world.mapping("plan", plan.id).provider_id == product["id"]
    assert world.mapping("price", f"{plan.prices[1].id}:1").provider_id == unit["id"]
    assert connection.id == world.mapping("plan", plan.id).connection_id


TIERS = [{"up_to": "1000", "unit_price": "0.01", "flat_fee": "10"}, {"up_to": None, "unit_price": "0.005"}]


@pytest.mark.parametrize(
    ("spec", "form"),
    [
        (
            {"pricing_model": "tiered", "tiers": TIERS},
            {"tiers_mode": "graduated", "tiers": [(1000, "1", "1000"), (None, "0.5", None)]},
        ),
        (
            {"pricing_model": "tiered", "tier_mode": "volume", "tiers": TIERS},
            {"tiers_mode": "volume", "tiers": [(1000, "1", "1000"), (None, "0.5", None)]},
        ),
        (
            {"pricing_model": "package", "package_size": "1000", "package_price": "5"},
            {"unit_amount": 500, "transform_quantity": {"divide_by": 1000, "round": "up"}},
        ),
        (
            {**PER_UNIT, "transform_quantity": {"divide_by": "60", "round": "down"}},
            {"unit_amount_decimal": "0.5", "transform_quantity": {"divide_by": 60, "round": "down"}},
        ),
        ({**PER_UNIT, "free_units": "100"}, {"tiers": [(100, "0", None), (None, "0.5", None)]}),
    ],
    ids=["graduated", "volume", "package", "transformed", "free units"],
)
def test_what_stripe_can_express_is_there_in_its_own_form(
    world: World, spec: dict[str, Any], form: dict[str, Any]
) -> None:
    world.connect()
    a_plan(world, spec)
    sweep(world)
    [price] = there(world)
    if "tiers" in price:
        names = ("up_to", "unit_amount_decimal", "flat_amount_decimal")
        price["tiers"] = [tuple(tier[name] for name in names) for tier in price["tiers"]]
    assert form.items() <= price.items()
    assert "not_expressible" not in price["metadata"]


@pytest.mark.parametrize(
    "spec",
    [
        {"pricing_model": "percentage", "rate": "1.5"},
        {**PER_UNIT, "minimum_amount": "5"},
        {**PER_UNIT, "discount_percent": "10"},
        {**PER_UNIT, "transform_quantity": {"multiply_by": "2"}},
        {"pricing_model": "per_unit", "unit_price": "10000000"},
        {"pricing_model": "tiered", "tiers": [{"up_to": "0.5", "unit_price": "1"}, {"up_to": None, "unit_price": "2"}]},
    ],
    ids=["percentage", "minimum", "discount", "multiplied", "too large", "half a unit"],
)
def test_what_stripe_cannot_express_costs_nothing_there_and_says_why(world: World, spec: dict[str, Any]) -> None:
    world.connect()
    a_plan(world, spec)
    assert sweep(world).done == 1
    [price] = there(world)
    assert (price["unit_amount"], bool(price["metadata"]["not_expressible"])) == (0, True)


def test_a_new_version_is_a_new_price_from_the_moment_that_it_holds_and_the_old_one_is_closed(world: World) -> None:
    world.connect()
    plan = a_plan(world, PER_UNIT)
    sweep(world)
    start = world.now + timedelta(days=3)
    changes = PriceChanges({"unit_price": "0.01"}, None, {})
    with world.ledger.begin() as session:
        timing = Timing(start, ApplyTo.NEXT_PERIOD)
        change_prices.change_price(session, world.scope, "key_1", plan.prices[0].id, changes, timing, world.now)
    sweep(world)
    assert [price["unit_amount_decimal"] for price in there(world)] == ["0.5"]
    world.now = start
    assert mirrors.ask_for_changed(world.ledger, world.scope, world.now) == 1
    sweep(world)
    assert [price["unit_amount_decimal"] for price in there(world)] == ["1"]
    assert [price["unit_amount_decimal"] for price in there(world, active=False)] == ["0.5"]
    assert mirrors.ask_for_changed(world.ledger, world.scope, world.now) == 0


def test_name_and_end_of_a_plan_are_followed(world: World) -> None:
    world.connect()
    plan = a_plan(world, PER_UNIT)
    sweep(world)
    for name, description in (("Business", None), ("Pro", "For teams"), ("Business", None)):
        with world.ledger.begin() as session:
            changes = {"name": name, "description": description}
            change_plan.update_plan(session, world.scope, plan.id, changes, world.now)
        sweep(world)
        [product] = products(world)
        assert (product["name"], product["description"]) == (name, description)
    with world.ledger.begin() as session:
        change_plan.archive_plan(session, world.scope, plan.id, world.now)
        price = prices.get_price(session, world.scope, plan.prices[0].id)
        change_prices.archive_price(session, world.scope, "key_1", price.id, Timing(), world.now)
    sweep(world)
    assert (products(world)[0]["active"], there(world)) == (False, [])


@pytest.mark.parametrize("when", ["before", "after"])
def test_S1_a_crash_around_any_call_makes_one_product_and_one_price_of_each(world: World, when: str) -> None:
    world.connect()
    points = 0
    while True:
        plan = a_plan(world, {"pricing_model": "flat", "amount": "1"}, PER_UNIT, key=f"pro_{points}")
        cut = CuttingGateway(points + 1, when)
        try:
            sync_plan.push_plan(
                world.ledger, world.scope, world.gateways(cut.around).require(world.scope), plan.id, world.now
            )
        except Cut:
            sync_plan.push_plan(world.ledger, world.scope, world.link(), plan.id, world.now)
        else:
            break
        points += 1
        assert (len(products(world)), len(there(world, active=None))) == (points, 2 * points)
    assert (points, cut.calls) == (3, ["create_product", "create_price", "create_price"])


def test_S1_workers_at_once_make_one_product(world: World) -> None:
    world.connect()
    plan = a_plan(world, PER_UNIT)

    def push() -> str:
        return sync_plan.push_plan(world.ledger, world.scope, world.link(), plan.id, world.now)

    made = {*in_threads([lambda: answered(push)] * 3), push()} - {None}
    assert (len(made), len(products(world)), len(there(world))) == (1, 1, 1)


def test_after_a_lost_answer_and_a_forgotten_key_the_product_is_found_by_our_id(world: World) -> None:
    world.connect()
    plan = a_plan(world, PER_UNIT)
    world.control.fault(action="drop", method="POST", path="/v1/products", when="after")
    sweep(world)
    world.now += timedelta(days=2)
    world.control.clock(advance=2 * 86400)
    sweep(world)
    assert (len(products(world)), len(there(world))) == (1, 1)
    assert world.mapping("plan", plan.id).provider_id == products(world)[0]["id"]


def test_plans_stay_here_where_the_connection_says_so_and_come_when_it_no_longer_does(world: World) -> None:
    world.connect(plan={"outbound": False})
    plan = a_plan(world, PER_UNIT)
    assert sweep(world).done == 0
    assert mirrors.ask_for_changed(world.ledger, world.scope, world.now) == 0
    with world.ledger.read() as session:
        assert plans.get_plan(session, world.scope, "pro").id == plan.id
    assert products(world) == []


def test_what_was_there_before_the_connection_is_sent_by_the_hourly_look(world: World) -> None:
    a_plan(world, PER_UNIT)
    world.connect()
    assert mirrors.ask_for_changed(world.ledger, world.scope, world.now) == 1
    sweep(world)
    assert len(products(world)) == 1


def test_a_key_without_the_right_is_tried_again_and_stops_nothing_else(world: World) -> None:
    world.connect()
    a_plan(world, PER_UNIT)
    world.control.fault(action="forbidden", method="POST", path="/v1/products")
    assert sweep(world).retried == 1
    world.now += timedelta(minutes=1)
    assert (sweep(world).done, len(products(world))) == (1, 1)
