"""Runs and the environment over HTTP: asked for once, listed, refused with a reason."""

from __future__ import annotations

from ledger.store import audit, runs
from tests.support.api_catalog import catalogue
from tests.support.api_stack import Stack, Tenant

WANTED = {"kind": "Usage", "first_day": "2024-01-20", "last_day": "2024-02-19"}


def test_a_run_is_asked_for_once_per_key_listed_and_audited(stack: Stack, tenant: Tenant) -> None:
    first, again = (tenant.post("runs", WANTED, headers={"Idempotency-Key": "backfill-1"}) for _ in range(2))
    assert (first.status_code, again.json()) == (201, first.json())
    made = first.json()
    assert (made["kind"], made["status"], made["first_day"], made["last_day"]) == (
        "usage",
        "requested",
        "2024-01-20",
        "2024-02-19",
    )
    assert tenant.get(f"runs/{made['id']}").json() == {**made, "log": []}
    assert tenant.get("runs?kind=usage&status=requested").json()["items"] == [made]
    assert tenant.get("runs?kind=billing").json()["items"] == []
    with stack.ledger.read() as session:
        assert [run.requested_by for _, run in runs.unfinished(session, 100) if run.id == made["id"]] == [
            tenant.get("me").json()["key_id"]
        ]
        assert [e.action for e in audit.list_entries(session, tenant.scope, entity_id=made["id"]).items] == [
            "run.requested"
        ]


def test_a_billing_run_is_for_one_day_and_one_subscription(tenant: Tenant) -> None:
    subscription = catalogue(tenant)["subscription"]["id"]
    made = tenant.make("runs", {"kind": "billing", "first_day": "2024-02-20", "subscription_id": subscription})
    assert (made["last_day"], made["subscription_id"]) == ("2024-02-20", subscription)


def test_a_run_that_makes_no_sense_says_which_field_to_change(tenant: Tenant) -> None:
    for change, code, field in [
        ({"last_day": "2024-01-19"}, "range_is_empty", "last_day"),
        ({"last_day": "2025-02-19"}, "range_too_long", "last_day"),
        ({"first_day": "2014-12-31", "last_day": "2015-01-02"}, "day_too_early", "first_day"),
        ({"last_day": "2199-01-01"}, "day_in_the_future", "last_day"),
        ({"subscription_id": "sub_1"}, "not_for_this_kind", "subscription_id"),
        ({"meter_id": "meter_none"}, "meter_not_found", "meter_id"),
        ({"kind": "billing", "force": True}, "not_for_this_kind", "force"),
        ({"kind": "everything"}, "not_one_of", "kind"),
    ]:
        refused = tenant.post("runs", {**WANTED, **change})
        assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (422, code, field), change


def test_a_key_without_the_scope_asks_for_nothing(stack: Stack, tenant: Tenant) -> None:
    reader = stack.with_key(tenant.scope, ["runs:read"])
    assert reader.post("runs", WANTED).status_code == 403
    assert reader.get("runs").status_code == 200


def test_an_environment_is_read_and_its_grace_is_changed(tenant: Tenant) -> None:
    assert tenant.get("environment").json()["billing_grace_seconds"] == 3600
    changed = tenant.http.patch("/api/v1/environment", json={"billing_grace_seconds": 0})
    assert (changed.status_code, changed.json()["billing_grace_seconds"]) == (200, 0)
    assert tenant.get("environment").json() == changed.json()
    too_long = tenant.http.patch("/api/v1/environment", json={"billing_grace_seconds": 31 * 86400 + 1})
    assert (too_long.status_code, too_long.json()["field"]) == (422, "billing_grace_seconds")


def test_an_environment_says_after_how_long_its_usage_is_late(tenant: Tenant) -> None:
    assert tenant.get("environment").json()["usage_freshness_seconds"] == 3600
    changed = tenant.http.patch("/api/v1/environment", json={"usage_freshness_seconds": 900})
    assert (changed.status_code, changed.json()["usage_freshness_seconds"]) == (200, 900)
    assert changed.json()["billing_grace_seconds"] == 3600
    too_short = tenant.http.patch("/api/v1/environment", json={"usage_freshness_seconds": 59})
    assert (too_short.status_code, too_short.json()["field"]) == (422, "usage_freshness_seconds")
