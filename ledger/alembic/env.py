"""Runs the migrations: on the connection that `Ledger.migrate` hands over, or on `-x url=…` when writing a new one."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationInfo
from sqlalchemy import Connection, create_engine

from ledger.models import Base
from ledger.types import ExactDecimal, ExactJson, UtcDateTime


def _note(ctx: object, step: MigrationInfo, heads: object, run_args: object) -> None:
    context.config.attributes.get("applied", []).append(step.up_revision_id)


def _render(kind: str, item: object, autogen: AutogenContext) -> str | Literal[False]:
    """Our column types by their own names, with the import that a new migration needs."""
    if kind == "type" and isinstance(item, (ExactDecimal, ExactJson, UtcDateTime)):
        name = type(item).__name__
        autogen.imports.add(f"from ledger.types import {name}")
        return f"{name}()"
    return False


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        compare_server_default=True,
        # SQLite cannot alter most of a table: batch mode copies it instead.
        render_as_batch=connection.dialect.name == "sqlite",
        on_version_apply=_note,
        render_item=_render,
    )
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    _run(handed_over)
else:
    with create_engine(context.get_x_argument(as_dictionary=True)["url"]).begin() as own:
        _run(own)
