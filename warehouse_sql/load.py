"""Loads SQL by name: `sql("queries/usage_for_period")` is the text of `warehouse_sql/queries/usage_for_period.sql`."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from warehouse_sql.errors import UnknownQuery

_HEADER = re.compile(r"\A(--[^\n]*\n)+")
_PARAMETER = re.compile(r"\{(\w+):")
_NAME = re.compile(r"[a-z][a-z0-9_]*(/[a-z0-9][a-z0-9_]*)*")


@cache
def sql(name: str, package: str = "warehouse_sql") -> str:
    """The statement called `name`, a path under `package` without `.sql`, and without the comment that it begins with.

    Raises UnknownQuery where there is none. A name is a path of plain words, so it can never lead out of the package.
    """
    if not _NAME.fullmatch(name):
        raise UnknownQuery(name)
    file = resources.files(package).joinpath(*f"{name}.sql".split("/"))
    if not file.is_file():
        raise UnknownQuery(name)
    return _HEADER.sub("", file.read_text(encoding="utf-8"))


@cache
def parameters(statement: str) -> frozenset[str]:
    """The names of its parameters `{name:Type}`."""
    return frozenset(_PARAMETER.findall(statement))
