"""Days that got late events are rolled up again by themselves; days that did not are left as they are."""

from datetime import UTC, date, datetime

import dagster as dg

from pipelines.schedules import late_usage
from pipelines.sensors import late_usage_days
from pipelines.steps.roll_up_usage import late_days, roll_up_usage
from tests.integration.pipelines.stage import OCTOBER, USAGE, Stage, metadata_of

LATE = datetime(2024, 10, 12, 9, tzinfo=UTC)


def asked(stage: Stage) -> list[dg.RunRequest]:
    context = dg.build_sensor_context(instance=stage.instance, resources={"tally": stage.tally})
    found = late_usage_days.evaluate_tick(context)
    return list(found.run_requests or [])


def test_the_sensor_rebuilds_the_days_that_got_late_events_and_no_others(stage: Stage) -> None:
    shop = stage.shop()
    stage.send(shop, 3, at=LATE)
    stage.roll_up_by_steps()
    assert late_days(stage.ledger, stage.warehouse, stage.now) == []
    assert asked(stage) == []

    stage.send(shop, 2, first=3, at=LATE)
    stage.send(shop, 1, first=9, at=stage.now)
    assert late_days(stage.ledger, stage.warehouse, stage.now) == [LATE.date()]
    assert len(asked(stage)) == 1
    done = late_usage.execute_in_process(instance=stage.instance, resources={"tally": stage.tally})
    (built,) = [event for event in done.all_events if event.is_step_materialization]
    assert (built.asset_key, built.partition) == (dg.AssetKey("usage_hourly"), LATE.date().isoformat())
    assert late_days(stage.ledger, stage.warehouse, stage.now) == []
    assert asked(stage) == []


def test_a_day_with_nothing_new_is_built_again_only_when_a_run_says_force(stage: Stage) -> None:
    shop = stage.shop()
    stage.send(shop, 3, at=LATE)
    first = stage.run(USAGE, date(2024, 10, 12))
    assert metadata_of(first, "usage_hourly")["days built"] == 1
    assert metadata_of(stage.run(USAGE, date(2024, 10, 12)), "usage_hourly")["days built"] == 0
    again = roll_up_usage(stage.ledger, stage.warehouse, *OCTOBER, stage.now)
    assert [built.day for built in again.builds] == [date(2024, 10, day) for day in range(1, 32) if day != 12]
    forced = roll_up_usage(stage.ledger, stage.warehouse, *OCTOBER, stage.now, force=True)
    assert len(forced.builds) == 31
