"""What a period bills follows from the history alone, cut at every moment of change."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.period import Period, Schedule, parse_interval
from billing.subscription import Change, ChangeKind, Life, Override, SubscriptionStatus, in_force, periods_ending_in


def at(day: int, month: int = 1) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


JANUARY = Period(at(1), at(1, 2))


def a_life(*changes: tuple[ChangeKind, int, dict[str, Any]] | Change, **other: Any) -> Life:
    """On the plan `basic` since 1 January; changes are of a day in January, in the order in which they were made."""
    history = [
        change
        if isinstance(change, Change)
        else Change(sequence=number, kind=change[0], effective_at=at(change[1]), values=change[2])
        for number, change in enumerate(changes, 1)
    ]
    return Life(**{"start": at(1), "end": None, "trial_end": None, "plan_id": "basic", "history": history, **other})


def shown(life: Life, period: Period = JANUARY) -> list[tuple[int, int, str, str]]:
    return [(s.period.start.day, s.period.end.day, s.plan_id, str(s.why)) for s in life.segments(period)]


def plan_changed(day: int, plan: str) -> tuple[ChangeKind, int, dict[str, Any]]:
    return ChangeKind.PLAN_CHANGED, day, {"plan_id": plan}


def seats(day: int, quantity: str, price: str = "seat") -> tuple[ChangeKind, int, dict[str, Any]]:
    return ChangeKind.QUANTITY_CHANGED, day, {"price_id": price, "quantity": quantity}


def overridden(day: int, override: str | None, version: int | None = 1) -> tuple[ChangeKind, int, dict[str, Any]]:
    values = {"price_id": "usage", "override_id": override, "override_version": version if override else None}
    return ChangeKind.PRICE_OVERRIDDEN, day, values


def test_a_period_in_which_nothing_changes_is_one_segment() -> None:
    (segment,) = a_life().segments(JANUARY)
    assert (segment.period, segment.plan_id, segment.billed, segment.quantities) == (JANUARY, "basic", True, {})


def test_a_change_of_plan_cuts_the_period_where_it_takes_effect() -> None:
    assert shown(a_life(plan_changed(11, "pro"))) == [(1, 11, "basic", "active"), (11, 1, "pro", "active")]


def test_a_change_at_the_periods_start_holds_in_all_of_it_and_one_at_its_end_in_none() -> None:
    assert shown(a_life(plan_changed(1, "pro"))) == [(1, 1, "pro", "active")]
    assert shown(a_life(plan_changed(11, "pro")), Period(at(2), at(11))) == [(2, 11, "basic", "active")]
    assert shown(a_life(plan_changed(11, "pro")), Period(at(11), at(20))) == [(11, 20, "pro", "active")]


def test_of_two_changes_at_one_moment_the_later_one_holds() -> None:
    life = a_life(plan_changed(11, "pro"), plan_changed(11, "max"))
    assert shown(life) == [(1, 11, "basic", "active"), (11, 1, "max", "active")]


def test_what_was_entered_later_for_an_earlier_moment_takes_its_place_in_time() -> None:
    life = a_life(plan_changed(20, "max"), plan_changed(11, "pro"))
    assert [plan for _, _, plan, _ in shown(life)] == ["basic", "pro", "max"]


def test_equal_neighbours_are_one_segment() -> None:
    life = a_life(seats(5, "1"), seats(11, "3"), seats(20, "3"))
    assert [(s.period.start.day, dict(s.quantities)) for s in life.segments(JANUARY)] == [
        (1, {}),
        (5, {"seat": Decimal(1)}),
        (11, {"seat": Decimal(3)}),
    ]


def test_seats_and_special_prices_end_with_their_plan() -> None:
    life = a_life(seats(1, "5"), overridden(1, "special"), plan_changed(11, "pro"), plan_changed(20, "basic"))
    assert [(dict(s.quantities), dict(s.overrides)) for s in life.segments(JANUARY)] == [
        ({"seat": Decimal(5)}, {"usage": Override("special", 1)}),
        ({}, {}),
        ({}, {}),
    ]


def test_a_special_price_can_be_changed_and_taken_away() -> None:
    life = a_life(overridden(5, "special"), overridden(11, "special", 2), overridden(20, None))
    assert [dict(s.overrides) for s in life.segments(JANUARY)] == [
        {},
        {"usage": Override("special", 1)},
        {"usage": Override("special", 2)},
        {},
    ]


def test_a_pause_is_not_billed_and_a_change_within_it_holds_after_it() -> None:
    life = a_life((ChangeKind.PAUSED, 5, {}), plan_changed(8, "pro"), (ChangeKind.RESUMED, 11, {}))
    assert shown(life) == [
        (1, 5, "basic", "active"),
        (5, 8, "basic", "paused"),
        (8, 11, "pro", "paused"),
        (11, 1, "pro", "active"),
    ]
    assert [s.billed for s in life.segments(JANUARY)] == [True, False, False, True]


def test_time_before_the_end_of_the_trial_is_not_billed() -> None:
    assert shown(a_life(trial_end=at(15))) == [(1, 15, "basic", "trialing"), (15, 1, "basic", "active")]


def test_a_period_is_cut_where_the_subscription_begins_and_ends_and_is_nothing_outside() -> None:
    life = a_life(start=at(10), end=at(20))
    assert shown(life) == [(10, 20, "basic", "active")]
    assert life.segments(Period(at(20), at(25))) == ()
    assert life.segments(Period(at(1), at(10))) == ()
    assert a_life(start=at(10), end=at(10)).segments(JANUARY) == ()


def test_what_was_withdrawn_never_happened() -> None:
    withdrawn = Change(sequence=2, kind=ChangeKind.CHANGE_WITHDRAWN, effective_at=at(11), withdraws=1)
    life = a_life(plan_changed(11, "pro"), withdrawn)
    assert shown(life) == [(1, 1, "basic", "active")]
    assert in_force(life.history) == []


@pytest.mark.parametrize(
    ("day", "status"),
    [
        pytest.param(1, SubscriptionStatus.SCHEDULED, id="before the start"),
        pytest.param(2, SubscriptionStatus.TRIALING, id="at the start, in the trial"),
        pytest.param(4, SubscriptionStatus.PAUSED, id="a pause in the trial"),
        pytest.param(6, SubscriptionStatus.TRIALING, id="after it"),
        pytest.param(8, SubscriptionStatus.ACTIVE, id="at the end of the trial"),
        pytest.param(20, SubscriptionStatus.CANCELLED, id="at the end"),
    ],
)
def test_the_status_follows_from_time(day: int, status: SubscriptionStatus) -> None:
    pause: list[tuple[ChangeKind, int, dict[str, Any]]] = [(ChangeKind.PAUSED, 4, {}), (ChangeKind.RESUMED, 6, {})]
    assert a_life(*pause, start=at(2), end=at(20), trial_end=at(8)).status_at(at(day)) is status


def test_what_is_ended_before_it_began_is_cancelled_at_once() -> None:
    assert a_life(start=at(10), end=at(10)).status_at(at(1)) is SubscriptionStatus.CANCELLED


@pytest.mark.parametrize(
    ("ends", "window", "periods"),
    [
        pytest.param(None, (at(1, 2), at(2, 3)), [(at(1), at(1, 2)), (at(1, 2), at(1, 3))], id="no end"),
        pytest.param(at(10, 2), (at(1, 2), at(1, 4)), [(at(1), at(1, 2)), (at(1, 2), at(10, 2))], id="in a period"),
        pytest.param(at(1, 2), (at(1, 2), at(1, 4)), [(at(1), at(1, 2))], id="on the grid"),
        pytest.param(at(10, 2), (at(11, 2), at(1, 4)), [], id="before the window"),
        pytest.param(at(10, 2), (at(10, 2), at(11, 2)), [(at(1, 2), at(10, 2))], id="on the window's first moment"),
        pytest.param(at(10, 2), (at(9, 2), at(10, 2)), [], id="on the window's end"),
        pytest.param(at(1), (at(1), at(1, 4)), [], id="never ran"),
    ],
)  # fmt: skip
def test_the_last_period_ends_where_the_subscription_does(
    ends: datetime | None, window: tuple[datetime, datetime], periods: list[tuple[datetime, datetime]]
) -> None:
    schedule = Schedule(at(1), parse_interval("P1M"))
    assert [(p.start, p.end) for p in periods_ending_in(schedule, ends, *window)] == periods
