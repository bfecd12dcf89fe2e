"""Final periods rated again over HTTP: asked for, watched, read by line, and applied once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ledger.store import audit
from pipelines.steps.late_usage import find_late_usage
from tests.integration.api.test_invoices import _late, _send, billed, warehouse
from tests.support.api_stack import Stack, Tenant, eventually
from warehouse_sql.client import Warehouse

__all__ = ["billed", "warehouse"]

DAYS = {"first_day": "2024-04-01", "last_day": "2024-04-30"}
HALF = {"tiers": [{"up_to": "1000", "unit_price": "0.005", "flat_fee": "5"}, {"up_to": None, "unit_price": "0.004"}]}
SAID = {"person": "Dana Smith", "reason": "The discount agreed in January"}


def _done(tenant: Tenant, rerate_id: str) -> dict[str, Any]:
    def ask() -> dict[str, Any] | None:
        found: dict[str, Any] = tenant.get(f"rerates/{rerate_id}").json()
        return found if found["status"] == "done" else None

    return eventually(ask)


def test_M5_a_period_is_rated_by_another_price_and_the_difference_is_credited_once(
    stack: Stack, billed: tuple[Tenant, dict[str, Any]]
) -> None:
    tenant, invoice = billed
    [line] = invoice["line_items"]
    changed = tenant.http.patch(f"/api/v1/prices/{line['price_id']}", json=HALF)
    assert changed.status_code == 200, changed.text
    versions = {line["price_id"]: changed.json()["version"]}
    asked = {**DAYS, "customer_id": "acme_corp_001", "price_versions": versions}
    first, again = (tenant.post("rerates", asked, headers={"Idempotency-Key": "rate-1"}) for _ in range(2))
    assert (first.status_code, first.json()) == (201, again.json())
    found = _done(tenant, first.json()["id"])
    assert (found["invoices"], found["lines"], found["differences"], found["failures"]) == (1, 1, 1, [])
    assert found["sums"] == [{"currency": "usd", "lines": 1, "difference": "-12.00"}]
    assert [one["id"] for one in tenant.get("rerates?status=done").json()["items"]] == [found["id"]]

    [difference] = tenant.get(f"rerates/{found['id']}/differences").json()["items"]
    assert {name: difference[name] for name in ("invoice_id", "line_id", "customer_id", "adjustment")} == {
        "invoice_id": invoice["id"],
        "line_id": line["id"],
        "customer_id": "acme_corp_001",
        "adjustment": None,
    }
    assert [difference[name] for name in ("billed", "due", "quantity", "price_version")] == [
        "24.00",
        "12.00",
        "1500",
        versions[line["price_id"]],
    ]
    assert tenant.get(f"rerates/{found['id']}/differences?invoice_id=inv_none").json()["items"] == []

    apply = f"rerates/{found['id']}/apply"
    wanted = {**SAID, "line_ids": [line["id"]], "treatment": "CREDIT_NOTE"}
    [applied], changed_since, left = (tenant.make(apply, wanted)[name] for name in ("applied", "changed", "left"))
    assert (applied["adjustment"]["state"], applied["adjustment"]["amount"], changed_since, left) == (
        "credited",
        "-12.00",
        [],
        0,
    )
    note = tenant.get(f"credit-notes/{applied['adjustment']['credit_note_id']}").json()
    assert (note["total"], note["invoice_id"]) == ("12.00", invoice["id"])
    assert tenant.make(apply, wanted) == {"applied": [], "changed": [], "left": 0}
    assert tenant.get(f"rerates/{found['id']}/differences").json()["items"] == [applied]
    with stack.ledger.read() as session:
        entries = audit.list_entries(session, tenant.scope, entity="invoice", entity_id=invoice["id"]).items
    [entry] = [one for one in entries if one.action == "invoice.rerated"]
    assert (entry.detail["person"], entry.actor) == ("Dana Smith", tenant.get("me").json()["key_id"])
    repeated = tenant.make("rerates", asked)
    assert _done(tenant, repeated["id"])["differences"] == 0


def test_M5_what_came_late_since_is_left_alone_and_late_events_are_listed_by_outcome(
    stack: Stack, warehouse: Warehouse, billed: tuple[Tenant, dict[str, Any]]
) -> None:
    tenant, invoice = billed
    _send(tenant, range(1500, 1510))
    found = _done(tenant, tenant.make("rerates", DAYS)["id"])
    assert found["differences"] == 1
    find_late_usage(stack.ledger, warehouse, datetime.now(UTC))
    [changed] = tenant.make(f"rerates/{found['id']}/apply", SAID)["changed"]
    assert (changed["invoice_id"], changed["adjustment"]) == (invoice["id"], None)
    assert len(_late(tenant, outcome="Pending")) == 10
    assert _late(tenant, outcome="billed") == []
    either = tenant.get("late-events", params={"outcome": ["billed", "pending"], "limit": 100})
    assert len(either.json()["items"]) == 10
    assert tenant.get("late-events?outcome=lost").json()["code"] == "not_one_of"


def test_a_rating_that_makes_no_sense_says_which_field_to_change(
    stack: Stack, billed: tuple[Tenant, dict[str, Any]]
) -> None:
    tenant, _ = billed
    for change, code, field in [
        ({"last_day": "2024-03-31"}, "range_is_empty", "last_day"),
        ({"last_day": "2025-04-02"}, "range_too_long", "last_day"),
        ({"customer_id": "nobody"}, "customer_not_found", "customer_id"),
        ({"subscription_id": "sub_none"}, "subscription_not_found", "subscription_id"),
        ({"meter_id": "meter_none"}, "meter_not_found", "meter_id"),
        ({"price_versions": {"price_none": 1}}, "price_not_found", "price_id"),
        ({"price_versions": {"price_none": 0}}, "out_of_range", "price_versions.price_none"),
        ({"prices_at": "2024-04-01"}, "not_a_time", "prices_at"),
    ]:
        refused = tenant.post("rerates", {**DAYS, **change})
        assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (422, code, field), change
    made = _done(tenant, tenant.make("rerates", {"first_day": "2024-04-01"})["id"])
    for body, code, field in [
        ({"person": "Dana Smith"}, "missing_field", "reason"),
        ({**SAID, "invoice_ids": ["inv_none"]}, "not_in_rerate", "invoice_ids"),
        ({**SAID, "treatment": "forget it"}, "not_one_of", "treatment"),
    ]:
        refused = tenant.post(f"rerates/{made['id']}/apply", body)
        assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (422, code, field), body
    assert tenant.get("rerates/rerate_none").json()["code"] == "rerate_not_found"
    reader = stack.with_key(tenant.scope, ["invoices:read"])
    assert (reader.post("rerates", DAYS).status_code, reader.get("rerates").status_code) == (403, 200)
    assert reader.post(f"rerates/{made['id']}/apply", SAID).status_code == 403
