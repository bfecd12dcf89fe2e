"""Many rows of one table in one statement: COPY and arrays on PostgreSQL, a prepared statement on SQLite.

A statement a row costs PostgreSQL ten times what the row does. All values go through the column's own type, as texts on
PostgreSQL, so that both ways store the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import psycopg
from psycopg import sql
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Subquery,
    Table,
    Update,
    and_,
    bindparam,
    func,
    select,
)
from sqlalchemy import cast as as_type
from sqlalchemy import update as update_of
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from ledger.models.base import Base
from ledger.store.rows import insert
from ledger.types import TextArray, texts_of

__all__ = ["insert_new_rows", "insert_rows", "update_rows", "upsert_rows"]

Rows = Sequence[Mapping[str, Any]]


def insert_rows(session: Session, model: type[Base], rows: Rows) -> None:
    """Inserts rows that have the same columns. IntegrityError where one is there already: then none was written."""
    if not rows:
        return
    table, connection = cast(Table, model.__table__), session.connection()
    if not _is_postgresql(connection):
        connection.execute(insert(session, model), [dict(row) for row in rows])
        return
    columns = [table.c[name] for name in rows[0]]
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table.name), sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    )
    raw = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    try:
        with raw.cursor() as cursor, cursor.copy(statement) as copy:
            for texts in zip(*(_texts(column, rows) for column in columns), strict=True):
                copy.write_row(texts)
    except psycopg.Error as error:
        # As SQLAlchemy would have it, had it sent the statement.
        told, kind = f"COPY {table.name}", psycopg.Error
        raise DBAPIError.instance(told, None, error, kind, dialect=connection.dialect) from error


def insert_new_rows(session: Session, model: type[Base], rows: Rows) -> None:
    """Inserts rows that have the same columns, but for those that a unique constraint already holds one of.

    It waits for a rival that is still writing.
    """
    if not rows:
        return
    table, connection = cast(Table, model.__table__), session.connection()
    statement = insert(session, model)
    if not _is_postgresql(connection):
        connection.execute(statement.on_conflict_do_nothing(), [dict(row) for row in rows])
        return
    new = statement.from_select(list(rows[0]), select(*_as_table(table, rows).c)).on_conflict_do_nothing()
    connection.execute(new, _arrays(table, rows))


def upsert_rows(session: Session, model: type[Base], rows: Rows) -> None:
    """Inserts rows that have the same columns, or overwrites those that have their primary key."""
    if not rows:
        return
    table, connection = cast(Table, model.__table__), session.connection()
    key = [column.name for column in table.primary_key]
    statement = insert(session, model)
    changed = {name: statement.excluded[name] for name in rows[0] if name not in key}
    if not _is_postgresql(connection):
        connection.execute(
            statement.on_conflict_do_update(index_elements=key, set_=changed), [dict(row) for row in rows]
        )
        return
    source = _as_table(table, rows)
    new = statement.from_select(list(rows[0]), select(*source.c))
    connection.execute(new.on_conflict_do_update(index_elements=key, set_=changed), _arrays(table, rows))


def update_rows(session: Session, model: type[Base], rows: Rows, only_where: ColumnElement[bool]) -> int:
    """Sets the columns of rows found by their primary key, which each of `rows` holds; how many there were."""
    if not rows:
        return 0
    table, connection = cast(Table, model.__table__), session.connection()
    key = [column.name for column in table.primary_key]
    others = [name for name in rows[0] if name not in key]
    statement: Update
    bound: Any
    if _is_postgresql(connection):
        source = _as_table(table, rows)
        these = and_(*(table.c[name] == source.c[name] for name in key))
        statement = update_of(table).where(these, only_where).values({name: source.c[name] for name in others})
        bound = _arrays(table, rows)
    else:
        these = and_(*(table.c[name] == bindparam(f"old_{name}") for name in key))
        statement = update_of(table).where(these, only_where).values({name: bindparam(name) for name in others})
        bound = [{f"old_{name}" if name in key else name: value for name, value in row.items()} for row in rows]
    result = connection.execute(statement, bound, execution_options={"preserve_rowcount": True})
    return cast("CursorResult[Any]", result).rowcount


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _as_table(table: Table, rows: Rows) -> Subquery:
    """The rows as a table with the columns' types, out of an array of texts for each column."""
    arrays = [bindparam(f"texts_{name}", type_=TextArray()) for name in rows[0]]
    texts = func.unnest(*arrays).table_valued(*rows[0]).render_derived("texts")
    return select(*(as_type(texts.c[name], table.c[name].type).label(name) for name in rows[0])).subquery("typed")


def _arrays(table: Table, rows: Rows) -> dict[str, Sequence[str | None]]:
    return {f"texts_{name}": _texts(table.c[name], rows) for name in rows[0]}


def _texts(column: Column[Any], rows: Rows) -> Sequence[str | None]:
    name = column.name
    return texts_of([row[name] for row in rows], column.type)
