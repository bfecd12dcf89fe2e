"""Ids: prefix, ULID, order."""

import re
from datetime import UTC, datetime, timedelta

from ledger.ids import new_id

AT = datetime(2026, 1, 20, tzinfo=UTC)


def test_an_id_is_its_prefix_and_a_ulid() -> None:
    assert re.fullmatch(r"cus_[0-7][0-9A-HJKMNP-TV-Z]{25}", new_id("cus", AT))


def test_the_time_part_is_the_one_of_the_ulid_specification() -> None:
    # The example of the specification: 1469918176385 milliseconds are 01ARYZ6S41.
    at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=1469918176385)
    assert new_id("evt", at)[4:14] == "01ARYZ6S41"


def test_later_ids_sort_later() -> None:
    assert new_id("inv", AT) < new_id("inv", AT + timedelta(milliseconds=1))


def test_ids_of_one_moment_differ() -> None:
    assert len({new_id("evt", AT) for _ in range(1000)}) == 1000


def test_of_ids_of_one_moment_the_later_one_sorts_later() -> None:
    """Lists and "the last one wins" order by id where two things happened in the same moment."""
    made = [new_id("ses", AT) for _ in range(1000)]
    assert made == sorted(made)
