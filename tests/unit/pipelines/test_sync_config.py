"""A direction that nobody acts on is refused; what is left out of a change stays."""

from typing import Any

import pytest

from billing.errors import InvalidInput
from pipelines.steps.sync_config import check_sync_config, merged, syncs


@pytest.mark.parametrize(
    ("config", "code", "field"),
    [
        ({"plan": {"inbound": True}}, "sync_direction_not_supported", "plan.inbound"),
        ({"invoice": {"inbound": True}}, "sync_direction_not_supported", "invoice.inbound"),
        ({"payment": {"inbound": False}}, "sync_direction_not_supported", "payment.inbound"),
        ({"payment": {"outbound": True}}, "sync_direction_not_supported", "payment.outbound"),
        ({"customer": {"sideways": True}}, "sync_config_invalid", "customer"),
        ({"customer": {"inbound": "yes"}}, "sync_config_invalid", "customer.inbound"),
        ({"card": {"inbound": True}}, "sync_config_invalid", "card"),
        ({"collection": "both"}, "sync_config_invalid", "collection"),
        ({"retry_days": 3}, "sync_config_invalid", "retry_days"),
        ({"retry_days": [1] * 9}, "sync_config_invalid", "retry_days"),
        ({"retry_days": [3, 0]}, "sync_config_invalid", "retry_days[1]"),
        ({"after_last_try": "void"}, "sync_config_invalid", "after_last_try"),
        ({"days_until_due": True}, "sync_config_invalid", "days_until_due"),
    ],
)
def test_what_is_not_done_is_refused_by_its_name(config: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_sync_config(config)
    assert (refusal.value.code, refusal.value.field) == (code, f"sync_config.{field}")


def test_every_direction_may_be_said_not_to_be_wanted_where_it_is_not_done() -> None:
    check_sync_config({name: {"inbound": False, "outbound": False} for name in ("plan", "subscription", "invoice")})


def test_what_is_left_out_is_done_as_the_guide_has_it() -> None:
    directions = ("inbound", "outbound")
    names = ("customer", "invoice", "payment", "plan", "subscription")
    done = {name: [syncs({}, name, way) for way in directions] for name in names}
    assert done == {
        "customer": [True, True],
        "invoice": [False, True],
        "payment": [True, False],
        "plan": [False, True],
        "subscription": [False, False],
    }


def test_a_change_of_one_direction_keeps_who_collects() -> None:
    present = {"collection": "manual", "customer": {"inbound": False}}
    assert merged(present, {"invoice": {"outbound": False}}) == {**present, "invoice": {"outbound": False}}
