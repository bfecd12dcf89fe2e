"""A run's range of days, as Dagster's tags say it. No Dagster here: the launching client needs it too."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

__all__ = ["partition_tags", "window_of_tags"]

_PARTITION = "dagster/partition"
_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"


def partition_tags(first: date, last: date) -> dict[str, str]:
    """Run tags that select the days from `first` to `last`, both included."""
    if first == last:
        return {_PARTITION: first.isoformat()}
    return {_RANGE_START: first.isoformat(), _RANGE_END: last.isoformat()}


def window_of_tags(tags: Mapping[str, str]) -> tuple[datetime, datetime]:
    """The half-open UTC window of the days that a run's tags select. ValueError when the run has no partition."""
    first, last = tags.get(_RANGE_START, tags.get(_PARTITION)), tags.get(_RANGE_END, tags.get(_PARTITION))
    if first is None or last is None:
        raise ValueError("this run has no partition: launch it with a day or a range of days")
    return _midnight(first), _midnight(last) + timedelta(days=1)


def _midnight(key: str) -> datetime:
    return datetime.combine(date.fromisoformat(key), datetime.min.time(), UTC)
