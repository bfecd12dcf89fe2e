"""Turns at calling the provider, handed out to all processes that share an account.

Who wants to make calls takes the next few turns, which lie evenly in time, in a transaction of their own. Turns that
are not used are lost, so nobody makes up later for what was not called before.
"""

from datetime import datetime, timedelta

from sqlalchemy import Row, select, update
from sqlalchemy.orm import Session

from ledger.models import CallPace
from ledger.store.rows import insert_new

__all__ = ["ease", "take_turns"]

# A refusal halves the pace, down to this share of it; a minute later it is whole again.
_LEAST_PERCENT = 10
_RECOVERS_WITHIN = timedelta(minutes=1)
_WHOLE = 100


def take_turns(session: Session, name: str, count: int, per_second: int, now: datetime) -> tuple[datetime, timedelta]:
    """The first of `count` turns and the time from each to the next, at most `per_second` over all who share `name`."""
    row = _held(session, name, now)
    percent = _percent(row, now)
    apart = timedelta(seconds=1) * _WHOLE / (per_second * percent)
    first = max(row.next_at, now)
    _set(session, name, next_at=first + count * apart)
    return first, apart


def ease(session: Session, name: str, until: datetime, now: datetime) -> None:
    """The provider has refused a call for its pace: no turn before `until`, and slower ones afterwards."""
    row = _held(session, name, now)
    percent = max(_LEAST_PERCENT, _percent(row, now) // 2)
    _set(session, name, next_at=max(row.next_at, until), eased_percent=percent, eased_at=now)


def _percent(row: Row[datetime, int, datetime], now: datetime) -> int:
    since = max(now - row.eased_at, timedelta(0))
    percent: int = row.eased_percent
    return min(_WHOLE, percent + int(_WHOLE * since / _RECOVERS_WITHIN))


def _held(session: Session, name: str, now: datetime) -> Row[datetime, int, datetime]:
    columns = select(CallPace.next_at, CallPace.eased_percent, CallPace.eased_at)
    this_row = columns.where(CallPace.name == name).with_for_update()
    row = session.execute(this_row).one_or_none()
    if row is None:
        insert_new(session, CallPace, {"name": name, "next_at": now, "eased_percent": _WHOLE, "eased_at": now})
        row = session.execute(this_row).one()
    return row


def _set(session: Session, name: str, **values: object) -> None:
    session.execute(
        update(CallPace).where(CallPace.name == name).values(**values),
        execution_options={"synchronize_session": False},
    )
