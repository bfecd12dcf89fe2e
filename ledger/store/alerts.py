"""Alerts and the messages about them. Of a kind and subject one alert stands at a time; each opens and ends once."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, func, select, update
from sqlalchemy.orm import Session

from billing.instant import format_instant
from ledger.ids import new_id
from ledger.models import Alert, AlertMessage
from ledger.page import DEFAULT_LIMIT
from ledger.store.rows import affected, insert_new


@dataclass(frozen=True)
class AlertRecord:
    """`resolved_at` is None while it stands."""

    id: str
    kind: str
    subject: str
    summary: str
    detail: dict[str, Any]
    opened_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True)
class MessageRecord:
    """`body` is the JSON text that is sent, the same at each attempt; `state` is open, sent, logged or failed."""

    id: str
    alert_id: str
    event: str
    body: str
    state: str
    attempts: int
    due_at: datetime
    last_error: str | None
    created_at: datetime


def standing(session: Session) -> list[AlertRecord]:
    """Alerts that are not resolved, oldest first."""
    rows = select(Alert).where(Alert.resolved_at.is_(None)).order_by(Alert.opened_at, Alert.id)
    return [_record(row) for row in session.scalars(rows)]


def newest(session: Session, limit: int = DEFAULT_LIMIT) -> list[AlertRecord]:
    """Alerts, standing or not, newest first."""
    rows = select(Alert).order_by(Alert.opened_at.desc(), Alert.id.desc()).limit(limit)
    return [_record(row) for row in session.scalars(rows)]


def open_alert(
    session: Session, kind: str, subject: str, summary: str, detail: Mapping[str, Any], now: datetime
) -> AlertRecord | None:
    """A new alert and its message; None when one of this kind and subject stands."""
    record = AlertRecord(new_id("alr", now), kind, subject, summary, dict(detail), now, None)
    if not insert_new(session, Alert, vars(record)):
        return None
    _add_message(session, record, "opened", now)
    return record


def describe(session: Session, alert_id: str, summary: str, detail: Mapping[str, Any]) -> None:
    """What a standing alert says by now. Nobody is sent a message about it."""
    session.execute(
        update(Alert).where(Alert.id == alert_id, Alert.resolved_at.is_(None)).values(summary=summary, detail=detail)
    )


def resolve(session: Session, alert: AlertRecord, now: datetime) -> bool:
    """End a standing alert, with a message; False when it was ended before."""
    this = and_(Alert.id == alert.id, Alert.resolved_at.is_(None))
    if affected(session, update(Alert).where(this).values(resolved_at=now)) != 1:
        return False
    ended = AlertRecord(**{**vars(alert), "resolved_at": now})
    _add_message(session, ended, "resolved", now)
    return True


def claim_due(session: Session, now: datetime, limit: int, lease: timedelta) -> list[MessageRecord]:
    """Due messages, oldest first, for this sender alone until the lease ends."""
    due = and_(AlertMessage.state == "open", AlertMessage.due_at <= now)
    rows = select(AlertMessage).where(due).order_by(AlertMessage.created_at, AlertMessage.id).limit(limit)
    claimed = session.scalars(rows.with_for_update(skip_locked=True)).all()
    for row in claimed:
        _set(session, row.id, due_at=now + lease, attempts=AlertMessage.attempts + 1)
    return [MessageRecord(**{**vars(_message(row)), "attempts": row.attempts + 1}) for row in claimed]


def close_message(session: Session, message_id: str, state: str, now: datetime, error: str | None = None) -> None:
    """Ends a message: `sent`, `logged` (there is nowhere to send it) or `failed` (given up)."""
    _set(session, message_id, state=state, closed_at=now, last_error=error)


def send_later(session: Session, message_id: str, at: datetime, error: str, attempts: int | None = None) -> None:
    """Puts a message off; `attempts` corrects their number for one that was claimed and not tried."""
    counted = {} if attempts is None else {"attempts": attempts}
    _set(session, message_id, due_at=at, last_error=error, **counted)


def reopen_failed(session: Session, now: datetime) -> int:
    """Makes all messages that were given up due again; returns how many."""
    again = {"state": "open", "due_at": now, "attempts": 0, "closed_at": None}
    return affected(session, update(AlertMessage).where(AlertMessage.state == "failed").values(again))


def unsent(session: Session) -> dict[str, tuple[int, datetime | None]]:
    """How many messages wait (`open`) or were given up (`failed`), and when the oldest of them was written."""
    rows = select(AlertMessage.state, func.count(), func.min(AlertMessage.created_at))
    grouped = rows.where(AlertMessage.state.in_(["open", "failed"])).group_by(AlertMessage.state)
    return {state: (count, oldest) for state, count, oldest in session.execute(grouped)}


def purge(session: Session, before: datetime) -> int:
    """Forget alerts that were resolved before then, with their messages; returns how many."""
    old = select(Alert.id).where(Alert.resolved_at < before)
    session.execute(delete(AlertMessage).where(AlertMessage.alert_id.in_(old)))
    return affected(session, delete(Alert).where(Alert.resolved_at < before))


def hold(session: Session, kinds: Collection[str]) -> dict[tuple[str, str], AlertRecord]:
    """The standing alerts of these kinds by kind and subject, held against others who would change them."""
    rows = select(Alert).where(Alert.resolved_at.is_(None), Alert.kind.in_(kinds))
    found = session.scalars(rows.order_by(Alert.id).with_for_update())
    return {(row.kind, row.subject): _record(row) for row in found}


def _add_message(session: Session, alert: AlertRecord, event: str, now: datetime) -> None:
    message_id = new_id("msg", now)
    body = {
        "id": message_id,
        "event": f"alert.{event}",
        "alert": {
            **vars(alert),
            "opened_at": format_instant(alert.opened_at),
            "resolved_at": None if alert.resolved_at is None else format_instant(alert.resolved_at),
        },
        "created_at": format_instant(now),
    }
    values = {
        "id": message_id,
        "alert_id": alert.id,
        "event": event,
        "body": json.dumps(body, ensure_ascii=False, separators=(",", ":")),
        "state": "open",
        "attempts": 0,
        "due_at": now,
        "created_at": now,
    }
    insert_new(session, AlertMessage, values)


def _set(session: Session, message_id: str, **values: object) -> None:
    # Only an open message moves: a sender whose lease ran out cannot undo what its successor did.
    this = and_(AlertMessage.id == message_id, AlertMessage.state == "open")
    session.execute(update(AlertMessage).where(this).values(**values).execution_options(synchronize_session=False))


def _record(row: Alert) -> AlertRecord:
    return AlertRecord(row.id, row.kind, row.subject, row.summary, row.detail, row.opened_at, row.resolved_at)


def _message(row: AlertMessage) -> MessageRecord:
    return MessageRecord(
        row.id,
        row.alert_id,
        row.event,
        row.body,
        row.state,
        row.attempts,
        row.due_at,
        row.last_error,
        row.created_at,
    )
