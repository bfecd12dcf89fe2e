"""Which version bills a period: from when it holds, and which period it reaches first."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from billing.period import Period
from billing.price_version import ApplyTo, PriceStatus, billed_in, in_force_at

EVERY, NEXT, RUNNING = ApplyTo.EVERY_PERIOD, ApplyTo.NEXT_PERIOD, ApplyTo.RUNNING_PERIOD


@dataclass(frozen=True)
class Version:
    version: int
    effective_from: datetime
    apply_to: ApplyTo = NEXT
    status: PriceStatus = PriceStatus.ACTIVE


def day(month: int, number: int = 1) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


def archived(version: int, effective_from: datetime, apply_to: ApplyTo = NEXT) -> Version:
    return Version(version, effective_from, apply_to, PriceStatus.ARCHIVED)


MARCH = Period(day(3), day(4))
# Entered in June, and still what bills the March before.
FIRST = Version(1, day(6), EVERY)


@pytest.mark.parametrize(
    ("versions", "billed"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param([FIRST], 1, id="a price that came with its plan bills what was before it"),
        pytest.param([Version(1, day(3))], 1, id="from the moment on at which the period begins"),
        pytest.param([Version(1, day(3, 2))], None, id="a price that was added later bills nothing before it"),
        pytest.param([FIRST, Version(2, day(3, 2))], 1, id="the running period keeps its version"),
        pytest.param([FIRST, Version(2, day(3, 2), RUNNING)], 2, id="unless told otherwise"),
        pytest.param([FIRST, Version(2, day(4), RUNNING)], 1, id="a period's end is the next one's start"),
        pytest.param([FIRST, Version(2, day(2), RUNNING)], 2, id="and the periods after the running one follow"),
        pytest.param([FIRST, Version(2, day(2)), Version(3, day(1))], 2, id="the later moment wins"),
        pytest.param([FIRST, Version(2, day(2)), Version(3, day(2))], 3, id="of one moment the later version"),
        pytest.param([FIRST, archived(2, day(3, 2))], 1, id="an archived price bills the running period"),
        pytest.param([FIRST, archived(2, day(3))], None, id="and none that begins after it"),
        pytest.param([FIRST, archived(2, day(3, 2), RUNNING)], None, id="or not even the running one"),
        pytest.param([FIRST, archived(2, day(1)), Version(3, day(2))], None, id="nothing holds after the end"),
    ],
)
def test_the_version_that_bills_a_period(versions: list[Version], billed: int | None) -> None:
    for order in (versions, versions[::-1]):
        found = billed_in(order, MARCH)
        assert (found and found.version) == billed


def test_the_version_in_force_at_a_moment_knows_no_periods() -> None:
    versions = [FIRST, Version(2, day(3, 2)), archived(3, day(5))]
    shown = [in_force_at(versions, at) for at in (day(1), day(3), day(3, 2), day(4), day(5))]
    assert [found and found.version for found in shown] == [1, 1, 2, 2, 3]
    assert in_force_at([Version(1, day(6))], day(1)) is None
