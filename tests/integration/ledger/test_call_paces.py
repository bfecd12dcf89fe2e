"""Turns at calling the provider: evenly spread over all who take them, never made up for, slower after a refusal."""

from datetime import datetime, timedelta

from ledger.db import Ledger
from ledger.store import call_paces
from tests.support.ledger_rows import NOW

SECOND = timedelta(seconds=1)


def taken(ledger: Ledger, name: str, count: int, now: datetime = NOW) -> list[float]:
    """Seconds after NOW of the turns that somebody takes at a pace of 20."""
    with ledger.begin() as session:
        first, apart = call_paces.take_turns(session, name, count, 20, now)
    return [round((first + number * apart - NOW) / SECOND, 6) for number in range(count)]


def test_turns_of_all_who_share_a_name_lie_evenly_in_time(ledger: Ledger) -> None:
    assert taken(ledger, "acct_1", 3) == [0, 0.05, 0.1]
    assert taken(ledger, "acct_1", 2) == [0.15, 0.2]
    assert taken(ledger, "acct_2", 1) == [0]


def test_what_was_not_called_is_not_made_up_for(ledger: Ledger) -> None:
    taken(ledger, "acct_1", 3)
    assert taken(ledger, "acct_1", 2, NOW + 5 * SECOND) == [5, 5.05]


def test_a_refusal_halves_the_pace_which_is_whole_again_within_a_minute(ledger: Ledger) -> None:
    with ledger.begin() as session:
        call_paces.ease(session, "acct_1", NOW + 2 * SECOND, NOW)
    assert taken(ledger, "acct_1", 2) == [2, 2.1]
    assert taken(ledger, "acct_1", 2, NOW + 30 * SECOND) == [30, 30.05]
    assert taken(ledger, "acct_2", 2) == [0, 0.05]


def test_many_refusals_leave_a_tenth_of_the_pace(ledger: Ledger) -> None:
    for _ in range(9):
        with ledger.begin() as session:
            call_paces.ease(session, "acct_1", NOW, NOW)
    assert taken(ledger, "acct_1", 2) == [0, 0.5]
