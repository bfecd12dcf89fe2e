"""Several saved cards: listed, chosen, taken away; one that expires or was renewed is seen as it is."""

from datetime import UTC, datetime

import pytest

from billing.errors import NotFound
from billing.ports import CardDetails, ProviderPaymentMethod
from ledger.store.customers import CustomerRecord
from pipelines.steps import payment_methods
from pipelines.steps.payment_methods import SavedMethod
from tests.integration.stripe.gateway.world import World
from tests.support.sandbox_process import submit_card


def cards(world: World, customer: CustomerRecord) -> list[SavedMethod]:
    return payment_methods.list_methods(world.ledger, world.scope, world.link(), customer.id, world.now)


def choose(world: World, customer: CustomerRecord, method_id: str) -> SavedMethod:
    return payment_methods.choose_default(world.ledger, world.scope, world.link(), customer.id, method_id, world.now)


def detach(world: World, customer: CustomerRecord, method_id: str) -> None:
    payment_methods.detach(world.ledger, world.scope, world.link(), customer.id, method_id, world.now)


def shown(world: World, customer: CustomerRecord) -> set[tuple[str | None, bool]]:
    return {(saved.method.card.last4, saved.is_default) for saved in cards(world, customer)}


@pytest.fixture
def customer(world: World) -> CustomerRecord:
    world.connect(collection="manual")
    return world.customer()


def test_a_customer_without_a_card_has_none_and_one_who_is_not_at_stripe_neither(
    world: World, customer: CustomerRecord
) -> None:
    assert cards(world, customer) == []
    world.start_card(customer)
    assert cards(world, customer) == []


def test_the_card_that_is_chosen_is_charged_and_the_choice_can_change_back(
    world: World, customer: CustomerRecord
) -> None:
    world.save_card(customer)
    world.control.clock(advance=60)
    world.save_card(customer, "5555 5555 5555 4444")
    assert shown(world, customer) == {("4242", False), ("4444", True)}
    ids = {saved.method.card.last4: saved.method.id for saved in cards(world, customer)}
    for last4 in ("4242", "4444", "4242"):
        assert choose(world, customer, ids[last4]).is_default
        assert (last4, True) in shown(world, customer)
    assert world.mapping("customer", customer.id).detail["default_card"]["last4"] == "4242"


def test_a_page_that_is_heard_of_late_does_not_undo_the_choice(world: World, customer: CustomerRecord) -> None:
    world.save_card(customer)
    late = world.start_card(customer)
    submit_card(late.checkout_url, card_number="5555 5555 5555 4444")
    chosen = next(saved for saved in cards(world, customer) if saved.method.card.last4 == "4242")
    world.now = max(world.now, datetime.now(UTC).replace(microsecond=0))
    choose(world, customer, chosen.method.id)
    world.hear()
    assert shown(world, customer) == {("4242", True), ("4444", False)}


def test_a_card_taken_away_is_gone_for_good_and_no_other_becomes_the_default(
    world: World, customer: CustomerRecord
) -> None:
    world.save_card(customer)
    world.save_card(customer, "5555 5555 5555 4444", set_default=False)
    default = next(saved for saved in cards(world, customer) if saved.is_default)
    detach(world, customer, default.method.id)
    assert shown(world, customer) == {("4444", False)}
    assert world.mapping("customer", customer.id).detail["default_card"] is None
    with pytest.raises(NotFound) as refusal:
        detach(world, customer, default.method.id)
    assert refusal.value.code == "payment_method_not_found"


def test_nobody_can_touch_the_card_of_another_customer(world: World, customer: CustomerRecord) -> None:
    world.save_card(customer)
    [saved] = cards(world, customer)
    other = world.customer("other", "other@example.com")
    world.start_card(other)
    for touch in (choose, detach):
        with pytest.raises(NotFound):
            touch(world, other, saved.method.id)
    assert shown(world, customer) == {("4242", True)}


@pytest.mark.parametrize(
    ("at", "state"),
    [((2034, 10, 31), "valid"), ((2034, 11, 1), "expiring"), ((2034, 12, 31), "expiring"), ((2035, 1, 1), "expired")],
)
def test_a_card_is_good_through_the_last_day_of_its_month(at: tuple[int, int, int], state: str) -> None:
    card = CardDetails("card", "visa", "4242")
    method = ProviderPaymentMethod("pm_1", "cus_1", card, datetime(2026, 1, 1, tzinfo=UTC), 12, 2034)
    assert payment_methods.card_state(method, datetime(*at, tzinfo=UTC)) == state


def test_a_card_that_the_bank_renewed_is_shown_renewed(world: World, customer: CustomerRecord) -> None:
    world.save_card(customer)
    [saved] = cards(world, customer)
    renewed = {"card[exp_month]": "1", "card[exp_year]": "2040"}
    world.post(f"/v1/payment_methods/{saved.method.id}", "bank", **renewed)
    assert world.hear().processed > 0
    [after] = cards(world, customer)
    assert (after.method.exp_month, after.method.exp_year) == (1, 2040)
    assert world.mapping("customer", customer.id).detail["default_card"]["exp_year"] == 2040
