"""Statements that both databases understand: the scope's filter, and inserts that meet an existing row."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar, cast

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Executable,
    Row,
    Table,
    and_,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from billing.scope import Scope
from ledger.models.base import Base, Scoped
from ledger.types import TextArray

# SQLite takes 32,766 parameters by default, PostgreSQL 65,535.
_CHUNK = 10_000

T = TypeVar("T")


def in_scope(model: type[Scoped], scope: Scope) -> ColumnElement[bool]:
    """The rows of one environment."""
    return and_(model.tenant_id == scope.tenant_id, model.environment_id == scope.environment_id)


def scope_of(row: Scoped | Row[*tuple[Any, ...]]) -> Scope:
    """The environment that a row belongs to."""
    return Scope(row.tenant_id, row.environment_id)


def scoped(scope: Scope, **values: Any) -> dict[str, Any]:
    """Column values of a row of `scope`."""
    return {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id, **values}


def insert(session: Session, model: type[Base]) -> postgresql.Insert:
    """The dialect's INSERT, whose ON CONFLICT clauses read the same on both databases."""
    table = cast(Table, model.__table__)
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return cast(postgresql.Insert, sqlite.insert(table))


def insert_new(session: Session, model: type[Base], values: Mapping[str, Any]) -> bool:
    """Inserts one row; False when a unique constraint already holds such a row.

    Unlike a caught IntegrityError this leaves the transaction usable, and it waits for a rival that is still writing.
    """
    return affected(session, insert(session, model).values(dict(values)).on_conflict_do_nothing()) == 1


def upsert(session: Session, model: type[Base], values: Mapping[str, Any]) -> None:
    """Inserts one row, or overwrites the one that has its primary key."""
    table = cast(Table, model.__table__)
    key = [column.name for column in table.primary_key]
    statement = insert(session, model).values(dict(values))
    changed = {name: statement.excluded[name] for name in values if name not in key}
    session.execute(statement.on_conflict_do_update(index_elements=key, set_=changed))


def among(session: Session, column: InstrumentedAttribute[Any], values: Collection[str]) -> ColumnElement[bool]:
    """Whether a text column holds one of the values, however many. They are one parameter: a driver that has to read
    thousands of them takes longer than the database."""
    given = bindparam(None, sorted(set(values)), type_=TextArray())
    if session.get_bind().dialect.name == "postgresql":
        return column == any_(given)
    return column.in_(select(func.json_each(given).table_valued("value").c.value))


def in_chunks(values: Collection[T]) -> Iterator[list[T]]:
    """`values` in lists short enough for one IN (…): both databases bound the parameters of a statement."""
    ordered = list(values)
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]


def affected(session: Session, statement: Executable) -> int:
    """Runs a writing statement and returns how many rows it wrote."""
    # Without the option, the count of an INSERT is not kept on PostgreSQL.
    result = session.execute(statement, execution_options={"preserve_rowcount": True})
    return cast("CursorResult[Any]", result).rowcount
