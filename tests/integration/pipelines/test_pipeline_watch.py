"""The watch over the pipeline: what is wrong becomes one alert, which is sent until it is taken, and ends with it."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import update

from billing.errors import Unavailable
from integrations.alert_webhook import AlertWebhook
from ledger.models import OutboxItem
from ledger.store import alerts, outbox, pipeline_runs, tenants
from pipelines.resources import Tally
from pipelines.sensors import pipeline_watch
from pipelines.steps.gate_invoices import Gate
from pipelines.steps.measure_pipeline import PipelineState, measure_pipeline
from pipelines.steps.override_gate import Override, override_gate
from pipelines.steps.pipeline_samples import keep_samples, read_samples
from pipelines.steps.send_alerts import MOST_ATTEMPTS, AlertsSent, send_alerts
from pipelines.steps.watch_pipeline import watch
from tests.integration.pipelines.stage import BILLING_DAY, OCTOBER, Shop, Stage
from tests.support.webhook_receiver import Receiver, webhook_receiver
from warehouse_sql.client import Warehouse


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with webhook_receiver() as server:
        yield server


def tick(stage: Stage, tally: Tally, cursor: str | None) -> str:
    context = dg.build_sensor_context(instance=stage.instance, resources={"tally": tally}, cursor=cursor)
    done = pipeline_watch.evaluate_tick(context)
    assert done.cursor is not None
    return done.cursor


def measured(stage: Stage) -> PipelineState:
    return measure_pipeline(stage.ledger, stage.warehouse, stage.now)


def standing(stage: Stage, kind: str) -> list[dict[str, Any]]:
    with stage.ledger.read() as session:
        return [alert.detail for alert in alerts.standing(session) if alert.kind == kind]


def said(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(arrival.body) for arrival in receiver.arrivals]


def an_unusable_event(stage: Stage) -> Shop:
    """A shop of one customer, whose October has an event without a value."""
    shop = stage.shop(aggregation="sum")
    stage.subscribe(shop)
    stage.send(shop, 3, tokens="5")
    stage.send(shop, 1, first=3, tokens="none")
    return shop


def overrule(stage: Stage, shop: Shop, invoice_id: str) -> None:
    by_dana = Override("Dana Smith", "the sender is broken", "test")
    override_gate(stage.ledger, shop.scope, invoice_id, Gate.EVENTS_ARE_USABLE, by_dana, stage.now)


def test_a_failed_run_is_one_alert_until_the_same_day_succeeds(stage: Stage, receiver: Receiver) -> None:
    webhook = AlertWebhook(receiver.url, ["shh"], lambda: stage.now)
    tally = replace(stage.tally, send_alert=webhook.send)
    # Reconciling needs a ledger: without one the run ends in an error that no retry mends.
    assert not stage.run(["events_reconciled"], BILLING_DAY, tally=replace(stage.tally, ledger=None)).success  # type: ignore[type-var]
    cursor = tick(stage, tally, None)
    cursor = tick(stage, tally, cursor)
    (failed,) = standing(stage, "run_failed")
    assert failed["days"] == BILLING_DAY.isoformat()
    with stage.ledger.read() as session:
        assert [(total.status, total.runs) for total in pipeline_runs.totals(session)] == [("failed", 1)]

    assert stage.run(["events_reconciled"], BILLING_DAY).success
    tick(stage, tally, cursor)
    assert standing(stage, "run_failed") == []
    opened, resolved = said(receiver)
    assert (opened["event"], resolved["event"]) == ("alert.opened", "alert.resolved")
    assert opened["alert"]["id"] == resolved["alert"]["id"]
    assert len({opened["id"], resolved["id"]}) == 2


def test_a_gate_that_holds_an_invoice_is_one_alert_and_ends_with_the_override(stage: Stage) -> None:
    shop = an_unusable_event(stage)
    stage.bill_by_steps()
    for _ in range(2):
        watch(stage.ledger, measured(stage))
    (held,) = standing(stage, "gate_failed")
    (invoice,) = stage.invoices(shop)
    assert held == {
        "tenant_id": shop.scope.tenant_id,
        "environment_id": shop.scope.environment_id,
        "day": "2024-11-01",
        "gate": "usage_events_are_usable",
        "held": 1,
        "invoices": [invoice.id],
    }
    overrule(stage, shop, invoice.id)
    stage.bill_by_steps()
    assert [alert.kind for alert in watch(stage.ledger, measured(stage)).resolved] == ["gate_failed"]
    assert standing(stage, "gate_failed") == []


def test_usage_is_late_after_the_time_that_its_environment_allows(stage: Stage) -> None:
    patient, prompt = stage.shop("Patient"), stage.shop("Prompt")
    with stage.ledger.begin() as session:
        tenants.set_usage_freshness(session, patient.scope, timedelta(hours=3))
    for shop in (patient, prompt):
        stage.send(shop, 2)
    # Events are received by the warehouse's own clock.
    stage.now = datetime.now(UTC) + timedelta(minutes=90)
    watch(stage.ledger, measured(stage))
    assert [late["environment_id"] for late in standing(stage, "usage_late")] == [prompt.scope.environment_id]
    state = measured(stage)
    assert state.usage is not None
    assert state.usage.dirty_days == 1
    stage.roll_up_by_steps()
    watch(stage.ledger, measured(stage))
    assert standing(stage, "usage_late") == []
    usage = measured(stage).usage
    assert usage is not None
    assert (usage.waiting_since, usage.dirty_days) == (None, 0)


def test_while_the_warehouse_is_away_nothing_is_said_of_usage(stage: Stage) -> None:
    shop = stage.shop()
    stage.send(shop, 2)
    stage.now = datetime.now(UTC) + timedelta(hours=2)
    watch(stage.ledger, measured(stage))
    gone = Warehouse("http://127.0.0.1:9", "tally", "", "none", connect_timeout_seconds=1)
    away = measure_pipeline(stage.ledger, gone, stage.now)
    assert [alert.kind for alert in watch(stage.ledger, away).opened] == ["warehouse_unavailable"]
    assert len(standing(stage, "usage_late")) == 1
    stage.roll_up_by_steps()
    resolved = watch(stage.ledger, measured(stage)).resolved
    assert {alert.kind for alert in resolved} == {"warehouse_unavailable", "usage_late"}


def test_periods_that_nobody_bills_and_what_does_not_count_are_measured(stage: Stage) -> None:
    shop = an_unusable_event(stage)
    stage.roll_up_by_steps()
    stage.now = datetime(2024, 11, 1, 2, tzinfo=UTC)
    state = measured(stage)
    assert (state.billing.periods, state.billing.waiting_since) == (1, OCTOBER[1])
    stage.bill_by_steps()
    keep_samples(stage.ledger, measured(stage))
    found = read_samples(stage.ledger)
    assert found is not None
    samples = {(sample.name, *sample.labels): sample.value for sample in found[1]}
    assert found[0] == stage.now
    assert samples["invoices", "draft", "pending"] == samples["unbilled_periods",] == 1
    assert samples["held_invoices", "usage_events_are_usable"] == 1
    assert samples["waiting", "bill"] == OCTOBER[1]
    assert samples["waiting", "outbox"] == 0
    assert stage.invoices(shop)[0].total > Decimal(0)
    # Events of the last 35 days are looked at, and others share this warehouse.
    assert isinstance(samples["events_left_out", "unusable"], int)


def open_one(stage: Stage) -> None:
    with stage.ledger.begin() as session:
        alerts.open_alert(session, "run_failed", "billing:2024-11-01", "failed", {}, stage.now)


def test_a_message_is_signed_and_tried_again_under_the_same_id_until_it_is_taken(
    stage: Stage, receiver: Receiver
) -> None:
    receiver.answer = lambda before: 200 if before >= 2 else 500
    webhook = AlertWebhook(receiver.url, ["new", "old"], lambda: stage.now)
    open_one(stage)
    done = [send_alerts(stage.ledger, webhook.send, stage.now)]
    while not done[-1].sent:
        stage.now += timedelta(minutes=2)
        done.append(send_alerts(stage.ledger, webhook.send, stage.now))
    assert len(receiver.arrivals) == 3
    assert len({(arrival.body, arrival.headers["tally-message-id"]) for arrival in receiver.arrivals}) == 1
    for arrival in receiver.arrivals:
        fields = [part.split("=", 1) for part in arrival.headers["tally-signature"].split(",")]
        moment = fields[0][1]
        signed = moment.encode() + b"." + arrival.body
        assert [value for _, value in fields[1:]] == [
            hmac.new(secret, signed, hashlib.sha256).hexdigest() for secret in (b"new", b"old")
        ]
    stage.now += timedelta(days=1)
    assert send_alerts(stage.ledger, webhook.send, stage.now) == AlertsSent()


def test_a_sender_that_died_before_it_could_say_so_sends_the_message_again(stage: Stage) -> None:
    open_one(stage)
    sent: list[str] = []

    def die(message_id: str, _: str) -> None:
        sent.append(message_id)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send_alerts(stage.ledger, die, stage.now)
    assert send_alerts(stage.ledger, lambda i, _: sent.append(i), stage.now) == AlertsSent()
    stage.now += timedelta(minutes=3)
    assert send_alerts(stage.ledger, lambda i, _: sent.append(i), stage.now) == AlertsSent(sent=1)
    assert len(sent) == 2
    assert len(set(sent)) == 1


def test_a_receiver_that_never_answers_is_left_in_peace_after_a_day_and_a_half(stage: Stage) -> None:
    for number in range(3):
        with stage.ledger.begin() as session:
            alerts.open_alert(session, "run_failed", f"billing:{number}", "failed", {}, stage.now)
    began, tried = stage.now, []

    def refuse(message_id: str, _: str) -> None:
        tried.append(message_id)
        raise Unavailable("alert_not_taken", "the receiver answered 503")

    rounds = 0
    while True:
        done = send_alerts(stage.ledger, refuse, stage.now)
        rounds += 1
        with stage.ledger.read() as session:
            if "open" not in alerts.unsent(session):
                break
        assert done.sent == 0
        stage.now += timedelta(minutes=10)
    assert len(tried) == 3 * MOST_ATTEMPTS
    assert rounds >= len(tried) / 3
    assert timedelta(hours=12) < stage.now - began < timedelta(hours=48)
    with stage.ledger.read() as session:
        assert alerts.unsent(session)["failed"][0] == 3


def test_without_an_address_an_alert_is_a_line_of_the_log(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    open_one(stage)
    assert send_alerts(stage.ledger, None, stage.now) == AlertsSent(logged=1)
    assert send_alerts(stage.ledger, None, stage.now) == AlertsSent()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "tally.alerts"]
    assert '"subject":"billing:2024-11-01"' in line


def test_what_was_given_up_for_stripe_is_an_alert_until_it_is_tried_again(stage: Stage) -> None:
    shop = stage.shop()
    with stage.ledger.begin() as session:
        outbox.enqueue(session, shop.scope, "invoice.sync", "inv_1", stage.now)
        ((_, item),) = outbox.claim_due(session, stage.now, 1, timedelta(minutes=1))
        outbox.give_up(session, shop.scope, item.id, "rejected", stage.now)
    watch(stage.ledger, measured(stage))
    (found,) = standing(stage, "given_up")
    assert (found["queue"], found["given_up"]) == ("outbox", 1)
    with stage.ledger.begin() as session:
        session.execute(update(OutboxItem).values(state="done"))
    watch(stage.ledger, measured(stage))
    assert standing(stage, "given_up") == []
