"""Brings a warehouse to the schema of this program: numbered files, applied once each, in order.

`migrations/NNNN_what.sql` is the form for one server, `migrations/cluster/NNNN_what.sql` the one for a cluster.
ClickHouse has no transactional DDL, so a file may be cut off between two statements: every statement must be
repeatable (IF NOT EXISTS, IF EXISTS), and then a second run after a crash, or two processes at once, do no harm. A
file that a database has is never edited; a change is a new file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Literal

from warehouse_sql.client import Warehouse
from warehouse_sql.errors import MigrationRefused, WarehouseError
from warehouse_sql.statements import split

Form = Literal["single", "cluster"]

_FILE = re.compile(r"(?P<number>\d{4})_(?P<what>[a-z0-9_]+)\.sql")
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_UNKNOWN_TABLE, _UNKNOWN_DATABASE = 60, 81


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its name without `.sql`, the SHA-256 of its text, and its statements in order."""

    number: int
    name: str
    form: Form
    checksum: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that a database has."""

    number: int
    name: str
    form: str
    checksum: str
    applied_at: datetime | None = None


def migrate(warehouse: Warehouse, cluster: str | None = None, directory: Traversable | None = None) -> list[Applied]:
    """Applies what is missing and returns it, in order; an empty list where nothing was.

    Makes the database where there is none. With `cluster`, the cluster forms run, on the cluster that the server's
    own macro `{cluster}` names, which must be `cluster`. Raises MigrationRefused where files and database do not fit
    together.
    """
    _check_names(warehouse, cluster)
    suffix = "_on_cluster" if cluster else ""
    with closing(warehouse.at("system")) as server:
        server.command(f"setup/database{suffix}", {"database": warehouse.database})
    warehouse.command(f"setup/schema_migrations{suffix}")
    applied = []
    for migration in pending(warehouse, cluster, directory):
        for index, statement in enumerate(migration.statements, start=1):
            warehouse.statement(statement, f"migrations/{migration.name}:{index}")
        record = Applied(migration.number, migration.name, migration.form, migration.checksum)
        warehouse.command(
            "setup/record_migration",
            {"number": record.number, "name": record.name, "form": record.form, "checksum": record.checksum},
        )
        applied.append(record)
    return applied


def pending(warehouse: Warehouse, cluster: str | None = None, directory: Traversable | None = None) -> list[Migration]:
    """What `migrate` would apply, in order, with its statements: the dry run. Changes nothing.

    Raises MigrationRefused where an applied file was edited or is gone, or a new one has a number below an applied one.
    """
    found = read_migrations("cluster" if cluster else "single", directory)
    return _missing(found, applied_migrations(warehouse))


def applied_migrations(warehouse: Warehouse) -> list[Applied]:
    """What the database has; an empty list where it does not exist yet."""
    try:
        rows = warehouse.rows("setup/applied_migrations")
    except WarehouseError as error:
        if error.engine_code in {_UNKNOWN_TABLE, _UNKNOWN_DATABASE}:
            return []
        raise
    return [Applied(row["number"], row["name"], row["form"], row["checksum"], row["first_applied_at"]) for row in rows]


def read_migrations(form: Form, directory: Traversable | None = None) -> list[Migration]:
    """The files of one form by number; refuses two files with one number and names that are not NNNN_what.sql."""
    root = directory or resources.files("warehouse_sql").joinpath("migrations")
    folder = root.joinpath("cluster") if form == "cluster" else root
    migrations: dict[int, Migration] = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name) if folder.is_dir() else []:
        if not file.name.endswith(".sql"):
            continue
        named = _FILE.fullmatch(file.name)
        if named is None:
            raise MigrationRefused("migration_name", f"{file.name} is not named NNNN_what.sql.")
        number = int(named["number"])
        if number in migrations:
            raise MigrationRefused(
                "migration_number_twice", f"{file.name} has the number of {migrations[number].name}."
            )
        text = file.read_text(encoding="utf-8")
        checksum = hashlib.sha256(text.encode()).hexdigest()
        migrations[number] = Migration(number, file.name.removesuffix(".sql"), form, checksum, tuple(split(text)))
    return [migrations[number] for number in sorted(migrations)]


def _missing(found: Sequence[Migration], applied: Sequence[Applied]) -> list[Migration]:
    files = {migration.number: migration for migration in found}
    for record in applied:
        file = files.pop(record.number, None)
        if file is None:
            raise MigrationRefused(
                "migration_unknown",
                f"The warehouse has the migration {record.name}, which this program does not know.",
                hint="The warehouse was migrated by a newer version: run that one.",
            )
        if (file.name, file.form, file.checksum) != (record.name, record.form, record.checksum):
            raise MigrationRefused(
                "migration_edited",
                f"The migration {record.name} ({record.form}) was applied with another content than "
                f"{file.name} ({file.form}) has now.",
                hint="Restore the file as it was and write the change as a new migration.",
            )
    last = max((record.number for record in applied), default=0)
    late = [file.name for file in files.values() if file.number < last]
    if late:
        raise MigrationRefused(
            "migration_out_of_order",
            f"{', '.join(late)} would run after number {last:04d}, which is applied already.",
            hint="Give it the next free number.",
        )
    return [file for file in found if file.number in files]


def _check_names(warehouse: Warehouse, cluster: str | None) -> None:
    if not _DATABASE.fullmatch(warehouse.database):
        raise MigrationRefused("database_name", f"{warehouse.database!r} is not a plain name for a database.")
    if cluster is None:
        return
    with closing(warehouse.at("system")) as server:
        named = [row["cluster"] for row in server.rows("setup/cluster_macro")]
    if named != [cluster]:
        raise MigrationRefused(
            "cluster_macro",
            f"The server's macro 'cluster' is {named[0] if named else 'not set'!r}, not {cluster!r}.",
            hint="Set <macros><cluster>…</cluster></macros> in the configuration of every server of the cluster.",
        )
