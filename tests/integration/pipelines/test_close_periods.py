"""Periods are closed by themselves: at each subscription's own boundary, after its environment's grace, and once."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import dagster as dg
import pytest

from billing.invoice import InvoiceStatus
from ledger.store import tenants
from pipelines.definitions import defs
from pipelines.sensors import close_periods
from pipelines.steps.chosen import Chosen
from pipelines.steps.close_periods import days_to_close
from tests.integration.pipelines.stage import BILLING, BILLING_DAY, Shop, Stage, metadata_of

MIDNIGHT = datetime(2024, 11, 1, tzinfo=UTC)


def asked(stage: Stage) -> list[dg.RunRequest]:
    """What the sensor asks for at the stage's time."""
    repository = defs.get_repository_def()
    context = dg.build_sensor_context(
        instance=stage.instance, resources={"tally": stage.tally}, repository_def=repository
    )
    return list(close_periods.evaluate_tick(context).run_requests or [])


def close(stage: Stage) -> dg.ExecuteInProcessResult:
    """The run that the sensor asks for."""
    return stage.run(BILLING, BILLING_DAY, tally=replace(stage.tally, chosen=Chosen(after_grace=True)))


def set_grace(stage: Stage, shop: Shop, grace: timedelta) -> None:
    with stage.ledger.begin() as session:
        tenants.set_billing_grace(session, shop.scope, grace)


def test_a_period_is_closed_an_hour_after_its_own_boundary(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop, "midnight")
    stage.subscribe(shop, "noon", start_date=datetime(2024, 10, 1, 12, tzinfo=UTC))
    stage.now = MIDNIGHT + timedelta(minutes=59, seconds=59)
    assert asked(stage) == []
    stage.now += timedelta(seconds=1)
    (first,) = asked(stage)
    assert first.partition_key == "2024-11-01"
    assert first.run_config == {"resources": {"tally": {"config": {"after_grace": True}}}}
    assert close(stage).success
    assert [invoice.status for invoice in stage.invoices(shop)] == [InvoiceStatus.FINALIZED]
    assert asked(stage) == []

    stage.now = MIDNIGHT + timedelta(hours=13)
    (second,) = asked(stage)
    assert second.run_key != first.run_key
    close(stage)
    assert len(stage.invoices(shop)) == 2
    assert asked(stage) == []


def test_each_environment_has_its_own_grace_and_waits_alone(stage: Stage) -> None:
    patient, prompt = stage.shop("Patient"), stage.shop("Prompt")
    stage.subscribe(patient)
    stage.subscribe(prompt)
    set_grace(stage, patient, timedelta(days=1))
    set_grace(stage, prompt, timedelta(0))
    stage.now = MIDNIGHT
    assert metadata_of(close(stage), "finalized_invoices")["finalized"] == 1
    assert (len(stage.invoices(patient)), len(stage.invoices(prompt))) == (0, 1)
    stage.now = MIDNIGHT + timedelta(days=1)
    assert len(asked(stage)) == 1
    close(stage)
    assert len(stage.invoices(patient)) == 1


def test_after_a_week_of_downtime_each_day_that_is_due_comes_once(stage: Stage) -> None:
    shop = stage.shop()
    for day in (1, 3, 6):
        stage.subscribe(shop, f"since {day}", start_date=datetime(2024, 10, day, tzinfo=UTC))
    stage.now = datetime(2024, 11, 8, 9, 10, tzinfo=UTC)
    first = asked(stage)
    assert [request.partition_key for request in first] == ["2024-11-01", "2024-11-03", "2024-11-06"]
    stage.now += timedelta(minutes=10)
    assert [request.run_key for request in asked(stage)] == [request.run_key for request in first]
    stage.run(BILLING, date(2024, 11, 1), date(2024, 11, 8), replace(stage.tally, chosen=Chosen(after_grace=True)))
    assert len(stage.invoices(shop)) == 3
    assert asked(stage) == []


def test_a_day_whose_run_is_not_finished_is_not_asked_for_again(stage: Stage) -> None:
    stage.subscribe(stage.shop())
    (request,) = asked(stage)
    job = defs.resolve_job_def("billing")
    with stage.instance as instance:
        run = instance.create_run_for_job(
            job, tags={"dagster/partition": str(request.partition_key)}, status=dg.DagsterRunStatus.STARTED
        )
        assert asked(stage) == []
        instance.report_run_failed(run)
        assert [again.run_key for again in asked(stage)] == [request.run_key]


@pytest.mark.parametrize(
    ("age", "tries_in_a_day"), [(timedelta(hours=2), 24), (timedelta(days=5), 1)], ids=["fresh", "old"]
)
def test_a_held_period_is_tried_again_each_hour_and_later_once_a_day(
    stage: Stage, age: timedelta, tries_in_a_day: int
) -> None:
    stage.subscribe(stage.shop())
    start = MIDNIGHT + age
    attempts = {
        day.attempt
        for minutes in range(0, 24 * 60, 15)
        for day in days_to_close(stage.ledger, start + timedelta(minutes=minutes)).days
    }
    assert len(attempts) == tries_in_a_day


def test_what_has_been_open_for_five_weeks_is_left_to_a_person(stage: Stage) -> None:
    stage.subscribe(stage.shop(), end_date=MIDNIGHT)
    assert len(days_to_close(stage.ledger, MIDNIGHT + timedelta(days=35)).days) == 1
    assert days_to_close(stage.ledger, MIDNIGHT + timedelta(days=36)).days == ()


def test_all_past_periods_of_a_subscription_that_was_entered_late_are_closed(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop, start_date=MIDNIGHT - timedelta(days=100), now=MIDNIGHT)
    days = [day.day for day in days_to_close(stage.ledger, MIDNIGHT).days]
    assert days == [date(2024, 8, 24), date(2024, 9, 24), date(2024, 10, 24)]
    stage.bill_by_steps(days[0])
    assert days_to_close(stage.ledger, MIDNIGHT).days == ()
    assert len(stage.invoices(shop)) == 3


def test_a_run_for_one_tenant_or_subscription_bills_nobody_else(stage: Stage) -> None:
    ours, theirs = stage.shop("Ours"), stage.shop("Theirs")
    chosen, other = stage.subscribe(ours, "chosen"), stage.subscribe(ours, "other")
    stage.subscribe(theirs)
    stage.send(ours, 100, "chosen")
    stage.bill(chosen=Chosen(ours.scope.tenant_id, ours.scope.environment_id, chosen.id))
    assert [invoice.total for invoice in stage.invoices(ours)] == [Decimal("11.00")]
    stage.bill(chosen=Chosen(tenant_id=ours.scope.tenant_id))
    assert [invoice.total for invoice in stage.invoices(ours, other)] == [Decimal("10.00")]
    assert stage.invoices(theirs) == []
