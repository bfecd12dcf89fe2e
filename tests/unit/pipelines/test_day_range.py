"""A run's days as tags, and back."""

from datetime import UTC, date, datetime

import pytest

from pipelines.day_range import partition_tags, window_of_tags


@pytest.mark.parametrize(
    ("first", "last", "tags"),
    [
        pytest.param(date(2026, 10, 1), date(2026, 10, 1), {"dagster/partition": "2026-10-01"}, id="one day"),
        pytest.param(
            date(2026, 10, 1),
            date(2026, 10, 3),
            {
                "dagster/asset_partition_range_start": "2026-10-01",
                "dagster/asset_partition_range_end": "2026-10-03",
            },
            id="several days are one run",
        ),
    ],
)
def test_tags_name_the_days_and_the_window_is_half_open(first: date, last: date, tags: dict[str, str]) -> None:
    assert partition_tags(first, last) == tags
    start, end = window_of_tags({**tags, "another": "tag"})
    assert start == datetime(first.year, first.month, first.day, tzinfo=UTC)
    assert end == datetime(last.year, last.month, last.day + 1, tzinfo=UTC)


def test_a_run_without_a_partition_is_refused() -> None:
    with pytest.raises(ValueError, match="launch it with a day"):
        window_of_tags({})
