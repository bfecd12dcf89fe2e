"""One noisy address waits; the others do not notice."""

from datetime import UTC, datetime, timedelta

from api.sources import SourceLimiter

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_source_that_used_up_its_minute_waits_and_no_other_does() -> None:
    limiter = SourceLimiter(per_minute=60)
    assert [limiter.wait_seconds("10.0.0.1", NOW) for _ in range(60)] == [0] * 60
    assert limiter.wait_seconds("10.0.0.1", NOW) == 1
    assert limiter.wait_seconds("10.0.0.2", NOW) == 0
    assert limiter.wait_seconds("10.0.0.1", NOW + timedelta(seconds=1)) == 0
    assert limiter.wait_seconds("10.0.0.1", NOW + timedelta(seconds=1)) == 1


def test_asking_while_it_has_to_wait_does_not_lengthen_the_wait() -> None:
    limiter = SourceLimiter(per_minute=6)
    for _ in range(6):
        limiter.wait_seconds("10.0.0.1", NOW)
    assert [limiter.wait_seconds("10.0.0.1", NOW + timedelta(seconds=n)) for n in (0, 4, 9)] == [10, 6, 1]
    assert limiter.wait_seconds("10.0.0.1", NOW + timedelta(seconds=10)) == 0


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    limiter = SourceLimiter(per_minute=1)
    assert limiter.wait_seconds("10.0.0.1", NOW) == 0
    assert limiter.wait_seconds("10.0.0.1", NOW - timedelta(hours=1)) > 0
