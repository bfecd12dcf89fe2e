"""The assets of group health say what is behind, held and left out, and their checks say whom that is for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from ledger.store import alerts, outbox
from pipelines.assets.health import HEALTH_ASSETS
from pipelines.schedules import retention
from tests.integration.pipelines.stage import Shop, Stage, checks_of, metadata_of


def look(stage: Stage) -> tuple[dict[str, dict[str, Any]], dict[str, bool]]:
    """What each asset says, and which checks pass."""
    run = dg.materialize(HEALTH_ASSETS, instance=stage.instance, resources={"tally": stage.tally})
    said = {asset.key.to_user_string(): metadata_of(run, asset.key.to_user_string()) for asset in HEALTH_ASSETS}
    return said, {name: check.passed for name, check in checks_of(run).items()}


def held(stage: Stage) -> Shop:
    """A shop whose only invoice is held for an event without a value."""
    shop = stage.shop(aggregation="sum")
    stage.subscribe(shop)
    stage.send(shop, 3, tokens="5")
    stage.send(shop, 1, first=3, tokens="none")
    stage.roll_up_by_steps()
    stage.bill_by_steps()
    return shop


def test_a_pipeline_without_work_is_healthy(stage: Stage) -> None:
    said, passed = look(stage)
    assert passed == {"usage_is_fresh": True, "no_invoice_is_held": True, "nothing_was_given_up": True}
    assert (said["billing_backlog"]["unbilled periods"], said["billing_backlog"]["lag in seconds"]) == (0, 0)
    assert said["usage_lag"]["late environments"] == 0


def test_what_is_held_is_listed_with_its_reason(stage: Stage) -> None:
    shop = held(stage)
    said, passed = look(stage)
    (invoice,) = stage.invoices(shop)
    assert not passed["no_invoice_is_held"]
    backlog = said["billing_backlog"]
    assert (backlog["held"], backlog["unbilled periods"]) == (1, 1)
    # The 2nd of November, a quarter past midnight: a day and fifteen minutes after the period's end.
    assert backlog["lag in seconds"] == 86400 + 900
    assert invoice.id in str(backlog["held invoices"])
    assert "usage_events_are_usable" in str(backlog["held by gate"])


def test_late_usage_and_work_that_was_given_up_fail_their_checks(stage: Stage) -> None:
    shop = stage.shop()
    stage.send(shop, 2)
    with stage.ledger.begin() as session:
        outbox.enqueue(session, shop.scope, "invoice.sync", "inv_1", stage.now)
        ((_, item),) = outbox.claim_due(session, stage.now, 1, timedelta(minutes=1))
        outbox.give_up(session, shop.scope, item.id, "rejected", stage.now)
    stage.now = datetime.now(UTC) + timedelta(hours=2)
    said, passed = look(stage)
    assert (passed["usage_is_fresh"], passed["nothing_was_given_up"]) == (False, False)
    assert said["usage_lag"]["lag in seconds"] >= 7200
    assert said["usage_lag"]["dirty days before today"] == 1
    assert said["stripe_queues"]["given up"] == 1


def test_the_nightly_retention_forgets_old_alerts_and_keeps_what_stands(stage: Stage) -> None:
    with stage.ledger.begin() as session:
        old = alerts.open_alert(session, "run_failed", "billing:old", "it has failed", {}, stage.now)
        assert old is not None
        alerts.resolve(session, old, stage.now)
        alerts.open_alert(session, "run_failed", "billing:new", "it has failed", {}, stage.now)
    stage.now += timedelta(days=91)
    assert retention.execute_in_process(instance=stage.instance, resources={"tally": stage.tally}).success
    with stage.ledger.read() as session:
        assert [alert.subject for alert in alerts.newest(session)] == ["billing:new"]
