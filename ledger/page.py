"""Cursor pagination, newest first. A cursor is opaque to callers and names the last row they have seen."""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, or_
from sqlalchemy.orm import InstrumentedAttribute, Session

from billing.errors import InvalidInput

DEFAULT_LIMIT = 20
MAX_LIMIT = 100

Row = TypeVar("Row")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page of a list; `next_cursor` is None on the last one."""

    items: list[Item]
    next_cursor: str | None


def paginate(
    session: Session,
    rows: Select[Row],
    at: InstrumentedAttribute[datetime],
    key: InstrumentedAttribute[str],
    to_record: Callable[[Row], Item],
    cursor: str | None,
    limit: int,
) -> Page[Item]:
    """One page of `rows`, newest first by (`at`, `key`). Errors: limit_out_of_range, cursor_invalid."""
    _check_limit(limit)
    if cursor is not None:
        rows = rows.where(_older_than(at, key, *_decode(cursor)))
    found = list(session.scalars(rows.order_by(at.desc(), key.desc()).limit(limit + 1)))
    kept = found[:limit]
    more = len(found) > limit
    last = kept[-1] if more else None
    next_cursor = None if last is None else write_cursor(getattr(last, at.key), getattr(last, key.key))
    return Page([to_record(row) for row in kept], next_cursor)


def paginate_versions(
    session: Session,
    rows: Select[Row],
    version: InstrumentedAttribute[int],
    to_record: Callable[[Row], Item],
    cursor: str | None,
    limit: int,
) -> Page[Item]:
    """One page of the versions of one thing, newest first. Errors: limit_out_of_range, cursor_invalid."""
    _check_limit(limit)
    if cursor is not None:
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
            raise cursor_invalid()
        rows = rows.where(version < int(cursor))
    found = list(session.scalars(rows.order_by(version.desc()).limit(limit + 1)))
    kept = found[:limit]
    next_cursor = str(getattr(kept[-1], version.key)) if len(found) > limit else None
    return Page([to_record(row) for row in kept], next_cursor)


def cursor_invalid() -> InvalidInput:
    """The refusal of a cursor that a list cannot read."""
    return InvalidInput(
        "cursor_invalid",
        "this cursor was not made by this list",
        field="cursor",
        hint="Use next_cursor of the page before, or leave the cursor out.",
    )


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput(
            "limit_out_of_range",
            f"limit must be between 1 and {MAX_LIMIT}",
            field="limit",
            hint="Send a smaller limit.",
        )


def _older_than(
    at: InstrumentedAttribute[datetime], key: InstrumentedAttribute[str], last_at: datetime, last_key: str
) -> ColumnElement[bool]:
    return or_(at < last_at, and_(at == last_at, key < last_key))


def write_cursor(at: datetime, key: str) -> str:
    """The cursor of `paginate` that names a row."""
    return base64.urlsafe_b64encode(json.dumps([at.isoformat(), key]).encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[datetime, str]:
    try:
        document: Any = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        text, key = document
        at = datetime.fromisoformat(text)
    except (ValueError, TypeError, binascii.Error):
        at, key = None, None
    if at is None or at.tzinfo is None or not isinstance(key, str):
        raise cursor_invalid()
    return at, key
