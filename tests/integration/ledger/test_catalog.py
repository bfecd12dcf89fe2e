"""Meters, features, plans and prices: versions stay as they were, keys are taken once."""

from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from billing.errors import Conflict, NotFound
from billing.meter import parse_definition
from billing.price import parse_price
from ledger.db import Ledger
from ledger.store import features, meters, plans
from tests.support.ledger_rows import NOW, a_meter, a_plan, a_scope, later

SUM = parse_definition(
    {
        "name": "Tokens",
        "event_name": "llm.call",
        "aggregation": {"type": "sum", "property": "tokens"},
        "filters": [
            {"property": "model", "op": "in", "value": ["a", "b"]},
            {"property": "n", "op": "gt", "value": "1.50"},
        ],
        "group_by": ["model"],
        "unit": "token",
    }
)
TIERED = parse_price(
    {
        "pricing_model": "tiered",
        "unit_price": "0.01",
        "tiers": [
            {"up_to": 1000, "unit_price": "0.01", "flat_fee": "10.00"},
            {"up_to": None, "unit_price": "0.005"},
        ],
    }
)


def test_a_meter_comes_back_as_it_was_defined(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = meters.create_meter(session, scope, SUM, None, NOW)
        assert made.definition == SUM
        assert meters.get_meter(session, scope, made.id) == made
        assert made.id.startswith("meter_")


def test_a_meter_id_of_the_callers_choice_is_taken_once_per_environment(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope, other = a_scope(session), a_scope(session, environment="second")
        a_meter(session, scope, "meter_requests")
        a_meter(session, other, "meter_requests")
        with pytest.raises(Conflict) as caught:
            a_meter(session, scope, "meter_requests")
        assert [found for found, _ in meters.all_meters(session)] == sorted([scope, other])
    assert caught.value.code == "meter_exists"


def test_M3_a_changed_meter_is_a_new_version_and_the_old_one_stays(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        first = a_meter(session, scope, "m")
        second = meters.revise_meter(session, scope, "m", SUM, later(days=1))
        assert meters.revise_meter(session, scope, "m", SUM, later(days=2)) == second
        assert (second.version, second.definition) == (2, SUM)
        assert meters.get_meter(session, scope, "m") == second
        assert meters.get_meter(session, scope, "m", version=1) == first
        assert meters.all_meters(session) == [(scope, second)]
        assert [record.meter for record in meters.list_meters(session, scope).items] == [second]
        assert [record.meter for record in meters.list_versions(session, scope, "m").items] == [second, first]
        with pytest.raises(NotFound):
            meters.get_meter(session, scope, "m", version=3)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE meter_versions SET definition = '{}'",
        "UPDATE price_versions SET spec = '{}'",
        "UPDATE plan_versions SET name = 'x'",
        "UPDATE feature_versions SET name = 'x'",
    ],
)
def test_M3_the_database_refuses_to_change_a_version(ledger: Ledger, statement: str) -> None:
    with ledger.begin() as session:
        a_plan(session, a_scope(session))
    with pytest.raises(IntegrityError, match="never changes"), ledger.begin() as session:
        session.execute(text(statement))


def test_a_feature_is_found_by_id_or_key_and_its_key_is_taken_once(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = features.create_feature(session, scope, name="SSO", key="sso", feature_type="boolean", now=NOW)
        assert features.get_feature(session, scope, made.id) == features.get_feature(session, scope, "sso") == made
        with pytest.raises(Conflict, match="key exists"):
            features.create_feature(session, scope, name="SSO", key="sso", feature_type="boolean", now=NOW)
        with pytest.raises(NotFound, match="no such meter"):
            features.create_feature(
                session, scope, name="X", key="x", feature_type="metered", meter_id="meter_none", now=NOW
            )


def test_a_key_that_looks_like_another_features_id_does_not_hide_it(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        victim = features.create_feature(session, scope, name="A", key="a", feature_type="boolean", now=NOW)
        features.create_feature(session, scope, name="B", key=victim.id, feature_type="boolean", now=NOW)
        assert features.get_feature(session, scope, victim.id) == victim


def test_M1_a_plan_comes_back_with_its_prices_in_order_and_exact(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = plans.create_plan(
            session,
            scope,
            name="Pro",
            key="pro",
            billing_period="monthly",
            interval="P1M",
            currency="USD",
            prices=[plans.NewPrice(None, "Tokens", TIERED), plans.NewPrice(None, "Seats", TIERED)],
            now=NOW,
        )
        assert plans.get_plan(session, scope, made.id) == plans.get_plan(session, scope, "pro") == made
        assert plans.list_plans(session, scope).items == [made]
        assert [price.display_name for price in made.prices] == ["Tokens", "Seats"]
        assert made.prices[0].price == TIERED
        assert str(made.prices[0].price.tiers[0].flat_fee) == str(Decimal("10.00"))


def test_a_plan_key_is_taken_once_and_its_features_exist(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        a_plan(session, scope, "pro")
        common = {"name": "P", "billing_period": "monthly", "interval": "P1M", "currency": "USD", "now": NOW}
        with pytest.raises(Conflict, match="key exists"):
            plans.create_plan(session, scope, key="pro", prices=[], **common)  # type: ignore[arg-type]
        new = [plans.NewPrice(None, "x", TIERED), plans.NewPrice("feat_none", "y", TIERED)]
        with pytest.raises(NotFound) as caught:
            plans.create_plan(session, scope, key="new", prices=new, **common)  # type: ignore[arg-type]
    assert caught.value.field == "prices[1].feature_id"


def test_a_feature_or_plan_that_is_changed_keeps_its_history_and_the_same_again_is_no_change(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan = a_plan(session, scope)
        made = features.create_feature(session, scope, name="SSO", key="sso", feature_type="boolean", now=NOW)
        for _ in range(2):
            features.update_feature(session, scope, "sso", {"name": "Single sign-on"}, later(days=1))
            plans.update_plan(session, scope, "pro", {"description": "For teams"}, later(days=1))
        features.archive_feature(session, scope, made.id, later(days=2))
        archived = plans.archive_plan(session, scope, plan.id, later(days=2))
        assert plans.archive_plan(session, scope, plan.id, later(days=3)) == archived
        assert [(v.version, v.name, v.status) for v in features.list_versions(session, scope, "sso").items] == [
            (3, "Single sign-on", "archived"),
            (2, "Single sign-on", "active"),
            (1, "SSO", "active"),
        ]
        assert [(v.version, v.description, v.effective_from) for v in plans.list_versions(session, scope, "pro").items][
            1:
        ] == [(2, "For teams", later(days=1)), (1, None, NOW)]
        with pytest.raises(Conflict, match="is archived"):
            features.update_feature(session, scope, "sso", {"name": "x"}, NOW)
        with pytest.raises(Conflict, match="is archived"):
            plans.update_plan(session, scope, "pro", {"name": "x"}, NOW)
