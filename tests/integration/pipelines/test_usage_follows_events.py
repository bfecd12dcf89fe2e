"""Days that got events are rolled up again by themselves; days that did not are left as they are."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from pipelines.schedules import stale_usage
from pipelines.sensors import usage_follows_events
from pipelines.steps.roll_up_usage import StaleDays, roll_up_usage, stale_days
from tests.integration.pipelines.stage import OCTOBER, USAGE, Stage, metadata_of

LATE = datetime(2024, 10, 12, 9, tzinfo=UTC)
PATIENCE = timedelta(minutes=5)
NOTHING = StaleDays((), waits=False)


def ticked(stage: Stage, cursor: str | None = None) -> tuple[int, str | None, str | None]:
    """How many runs the sensor asks for, its cursor, and why it asks for none."""
    context = dg.build_sensor_context(instance=stage.instance, resources={"tally": stage.tally}, cursor=cursor)
    found = usage_follows_events.evaluate_tick(context)
    return len(found.run_requests or []), found.cursor, found.skip_message


def stale(stage: Stage) -> StaleDays:
    return stale_days(stage.ledger, stage.warehouse, stage.now, PATIENCE)


def run(stage: Stage) -> list[tuple[dg.AssetKey | None, str | None]]:
    done = stale_usage.execute_in_process(instance=stage.instance, resources={"tally": stage.tally})
    return [(event.asset_key, event.partition) for event in done.all_events if event.is_step_materialization]


def test_the_sensor_rebuilds_the_days_that_got_late_events_and_no_others(stage: Stage) -> None:
    shop = stage.shop()
    stage.send(shop, 3, at=LATE)
    stage.roll_up_by_steps()
    assert stale(stage) == NOTHING
    asked, cursor, _ = ticked(stage)
    assert asked == 0

    stage.send(shop, 2, first=3, at=LATE)
    assert stale(stage) == StaleDays((LATE.date(),), waits=False)
    assert ticked(stage, cursor)[0] == 1
    assert run(stage) == [(dg.AssetKey("usage_hourly"), LATE.date().isoformat())]
    assert stale(stage) == NOTHING
    assert ticked(stage, cursor)[0] == 0


def test_while_nothing_arrives_the_sensor_looks_no_further(stage: Stage) -> None:
    shop = stage.shop()
    stage.send(shop, 3, at=LATE)
    stage.roll_up_by_steps()
    _, cursor, _ = ticked(stage)
    asked, again, why = ticked(stage, cursor)
    assert (asked, again, why) == (0, cursor, "nothing has arrived since every day was rolled up")
    stage.now += timedelta(days=1)
    assert ticked(stage, cursor)[2] == "every day is rolled up"


def test_today_is_rolled_up_again_when_its_rollup_is_minutes_old(stage: Stage) -> None:
    shop = stage.shop()
    # Events are received by the warehouse's own clock, so this is about the real today.
    stage.now = datetime.now(UTC)
    today = stage.now.date()
    stage.send(shop, 3, at=stage.now)
    assert stale(stage) == StaleDays((today,), waits=False)
    assert run(stage) == [(dg.AssetKey("usage_hourly"), today.isoformat())]
    _, cursor, _ = ticked(stage)

    stage.send(shop, 2, first=3, at=stage.now)
    assert stale(stage) == StaleDays((), waits=True)
    assert ticked(stage, cursor) == (0, cursor, "today's rollup is young enough")
    stage.now += 2 * PATIENCE
    if stage.now.date() == today:
        assert stale(stage) == StaleDays((today,), waits=False)
        assert ticked(stage, cursor)[0] == 1


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
