"""What every table shares: names of constraints, column types, the scope, and foreign keys that carry the scope."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, MetaData, Table, Text, column
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ledger.types import ExactDecimal, ExactJson, UtcDateTime


def _last_column(constraint: ForeignKeyConstraint, table: Table) -> str:
    # Scoped foreign keys all begin with tenant_id, environment_id: the last column is what tells them apart.
    return constraint.column_keys[-1]


NAMING: dict[str, Any] = {
    "last_column": _last_column,
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(last_column)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - the declared interface of DeclarativeBase
        str: Text(),
        Decimal: ExactDecimal(),
        datetime: UtcDateTime(),
        dict[str, Any]: ExactJson(),
        dict[str, str]: ExactJson(),
        dict[str, int]: ExactJson(),
        list[Any]: ExactJson(),
    }


class Scoped:
    """A row of one environment. The scope leads the primary key, so ids only need to be unique within it."""

    tenant_id: Mapped[str] = mapped_column(primary_key=True, sort_order=-3)
    environment_id: Mapped[str] = mapped_column(primary_key=True, sort_order=-2)


class Entity(Scoped):
    """A scoped row with an id of its own."""

    id: Mapped[str] = mapped_column(primary_key=True, sort_order=-1)


def in_environment() -> ForeignKeyConstraint:
    """The row's scope exists."""
    return ForeignKeyConstraint(["tenant_id", "environment_id"], ["environments.tenant_id", "environments.id"])


def scoped_key(table: str, *columns: str, to: tuple[str, ...] = ("id",)) -> ForeignKeyConstraint:
    """A foreign key that includes the scope, so that no row can point into another tenant or environment."""
    scope = ("tenant_id", "environment_id")
    return ForeignKeyConstraint([*scope, *columns], [".".join((table, name)) for name in (*scope, *to)])


def one_of(name: str, *values: str) -> CheckConstraint:
    """An enum as text: the column holds one of `values`."""
    return CheckConstraint(column(name, Text).in_(values), name=name)
