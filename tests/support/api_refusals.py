"""What the API refuses, as a table: a name, the path, the body, and the status, code and field of the answer.

The tenant has the guide's catalogue and customer, and no connection.
"""

from __future__ import annotations

from typing import Any

from tests.support.api_catalog import METER, guide, guide_plan


def _plan(**changes: Any) -> dict[str, Any]:
    plan = guide_plan("api_calls")
    plan["key"] = "another"
    plan["prices"][0] |= changes
    return plan


def _tiers(*bounds: Any) -> list[dict[str, Any]]:
    return [{"up_to": bound, "unit_price": "1"} for bound in bounds]


SUBSCRIPTION = {"customer_id": "acme_corp_001", "plan_id": "professional_plan"}
USAGE = guide("usage")
CASES: list[tuple[str, str, Any, int, str, str | None]] = [
    (
        "unknown customer",
        "subscriptions",
        SUBSCRIPTION | {"customer_id": "nobody"},
        422,
        "customer_not_found",
        "customer_id",
    ),
    ("unknown plan", "subscriptions", SUBSCRIPTION | {"plan_id": "none"}, 422, "plan_not_found", "plan_id"),
    (
        "end before start",
        "subscriptions",
        SUBSCRIPTION | {"start_date": "2024-02-01T00:00:00Z", "end_date": "2024-01-01T00:00:00Z"},
        422,
        "end_before_start",
        "end_date",
    ),
    ("unknown zone", "subscriptions", SUBSCRIPTION | {"timezone": "Mars/Olympus"}, 422, "unknown_timezone", "timezone"),
    (
        "time without zone",
        "subscriptions",
        SUBSCRIPTION | {"start_date": "2024-01-20T00:00:00"},
        422,
        "not_a_time",
        "start_date",
    ),
    ("time as a number", "subscriptions", SUBSCRIPTION | {"start_date": 1705708800}, 422, "not_a_time", "start_date"),
    (
        "unknown anchor",
        "subscriptions",
        SUBSCRIPTION | {"billing_anchor": "easter"},
        422,
        "not_an_anchor",
        "billing_anchor",
    ),
    (
        "unknown meter in a feature",
        "features",
        guide("features") | {"key": "b", "meter_id": "none"},
        422,
        "meter_not_found",
        "meter_id",
    ),
    (
        "metered without a meter",
        "features",
        {"name": "A", "key": "c", "feature_type": "metered"},
        422,
        "meter_missing",
        "meter_id",
    ),
    ("key taken", "features", guide("features"), 409, "feature_exists", "key"),
    ("id taken", "meters", METER, 409, "meter_exists", "id"),
    ("customer taken", "customers", guide("customers"), 409, "customer_exists", "customer_id"),
    (
        "reserved id",
        "customers",
        {"name": "A", "customer_id": "cus_01ARZ3NDEKTSV4RRFFQ69G5FAV"},
        422,
        "customer_id_reserved",
        "customer_id",
    ),
    ("not an address", "customers", {"name": "A", "email": "nowhere"}, 422, "wrong_form", "email"),
    ("metadata of numbers", "customers", {"name": "A", "metadata": {"a": 1}}, 422, "wrong_type", "metadata.a"),
    ("control character", "customers", {"name": "A\nB"}, 422, "control_character", "name"),
    (
        "sum of nothing named",
        "meters",
        METER | {"id": "m", "aggregation": {"type": "sum"}},
        422,
        "missing_field",
        "aggregation.property",
    ),
    (
        "unknown aggregation",
        "meters",
        METER | {"id": "m", "aggregation": {"type": "mode"}},
        422,
        "not_one_of",
        "aggregation.type",
    ),
    ("unknown field", "meters", METER | {"event": "x"}, 422, "unknown_field", "event"),
    ("unknown feature", "plans", _plan(feature_id="none"), 422, "feature_not_found", "prices[0].feature_id"),
    (
        "unknown field in a tier",
        "plans",
        _plan(tiers=[{"up_to": None, "unit_prise": "1"}]),
        422,
        "unknown_field",
        "prices[0].tiers[0].unit_prise",
    ),
    (
        "tiers out of order",
        "plans",
        _plan(tiers=_tiers(10, 5, None)),
        422,
        "tiers_not_ordered",
        "prices[0].tiers[1].up_to",
    ),
    ("no open tier", "plans", _plan(tiers=_tiers(10, 20)), 422, "tiers_not_open", "prices[0].tiers[1].up_to"),
    (
        "price below zero",
        "plans",
        _plan(tiers=[{"up_to": None, "unit_price": "-1"}]),
        422,
        "out_of_range",
        "prices[0].tiers[0].unit_price",
    ),
    ("price of text", "plans", _plan(unit_price="cheap"), 422, "not_a_decimal", "prices[0].unit_price"),
    ("unknown currency", "plans", _plan() | {"currency": "XXQ"}, 422, "unknown_currency", "currency"),
    ("unknown period", "plans", _plan() | {"billing_period": "fortnightly"}, 422, "bad_interval", "billing_period"),
    ("no prices", "plans", _plan() | {"prices": []}, 422, "too_few_items", "prices"),
    (
        "another currency in a price",
        "plans",
        _plan(currency="EUR"),
        422,
        "price_currency_differs",
        "prices[0].currency",
    ),
    (
        "usage of an unknown meter",
        "events/usage/meter",
        USAGE | {"meter_id": "none"},
        422,
        "meter_not_found",
        "meter_id",
    ),
    (
        "usage of an unknown customer",
        "events/usage/meter",
        USAGE | {"customer_id": "nobody"},
        422,
        "customer_not_found",
        "customer_id",
    ),
    (
        "usage that ends first",
        "events/usage/meter",
        USAGE | {"end_time": "2024-01-20T00:00:00Z"},
        422,
        "end_before_start",
        "end_time",
    ),
    (
        "usage in an unknown zone",
        "events/usage/meter",
        USAGE | {"timezone": "Nowhere"},
        422,
        "unknown_timezone",
        "timezone",
    ),
    ("event without a name", "events", {"customer_id": "a"}, 422, "missing", "event_name"),
    (
        "event from the far future",
        "events",
        guide("events") | {"timestamp": "2100-01-01T00:00:00Z"},
        422,
        "timestamp_in_the_future",
        "timestamp",
    ),
    (
        "event of an unknown id of ours",
        "events",
        guide("events") | {"customer_id": "cus_01ARZ3NDEKTSV4RRFFQ69G5FAV"},
        422,
        "customer_not_found",
        "customer_id",
    ),
    ("no events", "events/bulk", {"events": []}, 422, "batch_empty", "events"),
    (
        "payment of an unknown invoice",
        "payments",
        guide("payments") | {"payment_method_type": "offline"},
        422,
        "invoice_not_found",
        "destination_id",
    ),
    ("payment without a connection", "payments", guide("payments"), 409, "no_connection", None),
    (
        "card page without a connection",
        "payments/customers/acme_corp_001/setup/intent",
        guide("setup_intent"),
        409,
        "no_connection",
        None,
    ),
    (
        "payment that waits",
        "payments",
        guide("payments") | {"process_payment": False},
        422,
        "process_payment_required",
        "process_payment",
    ),
    ("connection without a key", "connections", {"name": "S"}, 422, "missing_field", "secret_key"),
    (
        "connection with a live key in test",
        "connections",
        {"name": "S", "secret_key": "sk_live_0123456789abcdef"},
        422,
        "key_mode_mismatch",
        "secret_key",
    ),
    (
        "connection with half a secret",
        "connections",
        {"name": "S", "secret_key": "sk_test_0123456789abcdef", "webhook_secret": "0123456789abcdef"},
        422,
        "webhook_secret_malformed",
        "webhook_secret",
    ),
    (
        "sync that is not done",
        "connections",
        {"name": "S", "secret_key": "sk_test_0123456789abcdef", "sync_config": {"plan": {"outbound": True}}},
        422,
        "sync_direction_not_supported",
        "sync_config.plan.outbound",
    ),
    ("other provider", "connections", {"name": "S", "provider": "paypal"}, 422, "not_one_of", "provider"),
    ("body that is a list", "meters", [], 422, "wrong_type", "body"),
]
