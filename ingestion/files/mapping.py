"""Which cells of a row are an event's fields, which are its properties, and the line that is sent for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec

from billing.errors import InvalidInput
from ingestion.files.moments import Moments
from ingestion.files.rows import Cell, Row
from ingestion.refusal import BadEventError
from ingestion.wire import UNREADABLE

__all__ = ["FIELDS", "ColumnMapping"]

FIELDS: Final = ("event_name", "customer_id", "event_id", "idempotency_key", "timestamp")
_REQUIRED: Final = ("event_name", "customer_id", "timestamp")
_PROPERTIES: Final = "properties"
# What an export says about an event beside what was sent.
_OF_AN_EXPORT: Final = {"identity", "source", "ingested_at", "timed", "superseded_because"}

_text: Final = msgspec.json.Decoder(str).decode
_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True)
class ColumnMapping:
    """How rows become events.

    A column that is named as a field is that field, unless `columns` (field -> column) or `constants` (field -> value)
    say otherwise; `properties` names the columns that are properties, None stands for all that are no field. A row
    without an id of its own gets one from `file_id` and its number, so that the same file counts once.
    """

    file_id: str
    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    properties: Collection[str] | None = None
    moments: Moments = field(default_factory=Moments)
    ours: bool = False

    def check(self, columns: Collection[str] | None) -> None:
        """Raises InvalidInput where a column that is needed or named is not in the file."""
        for unknown in {*self.columns, *self.constants} - {*FIELDS}:
            raise InvalidInput(
                "unknown_field", f"{unknown} is not a field of an event.", hint=f"Fields: {', '.join(FIELDS)}."
            )
        for twice in self.columns.keys() & self.constants.keys():
            raise InvalidInput("field_twice", f"{twice} is both a column and one value for all.", field=twice)
        if columns is None:
            return
        for name in (*self.columns.values(), *(self.properties or ())):
            if name not in columns:
                raise InvalidInput(
                    "unknown_column", f"The file has no column {name}.", hint=f"Its columns: {', '.join(columns)}."
                )
        for name in _REQUIRED:
            if name not in self.constants and self._column(name) not in columns:
                raise InvalidInput(
                    "field_without_column",
                    f"No column is the {name}.",
                    field=name,
                    hint=f"Name it with --map {name}=COLUMN, or one value for all with --set {name}=VALUE.",
                )

    def line(self, row: Row) -> bytes:
        """The event of a row as a line of NDJSON. Raises BadEventError where it cannot be one."""
        if row.bad is not None:
            raise row.bad
        cells = row.cells
        if self.ours and cells.get("superseded_because"):
            raise BadEventError("superseded", "was left out of every usage answer where it was exported", None)
        event: dict[str, object] = {}
        for name in FIELDS:
            value = self.constants.get(name) or _field(cells.get(self._column(name)), name)
            if value is None:
                if name in _REQUIRED:
                    raise BadEventError("missing", "is required", name)
            elif name == "timestamp":
                event[name] = self.moments.read(value)
            elif isinstance(value, str):
                event[name] = value
            else:
                raise BadEventError("wrong_type", "must be a text, got a moment", name)
        event.setdefault("event_id", f"file_{self.file_id}_{row.number}")
        event[_PROPERTIES] = self._properties(cells)
        try:
            return msgspec.json.encode(event)
        except UnicodeEncodeError as error:
            raise BadEventError("not_utf8", "holds bytes that are not text", None) from error

    def _column(self, name: str) -> str:
        return self.columns.get(name, name)

    def _properties(self, cells: Mapping[str, Cell]) -> dict[str, Cell]:
        used = {self._column(name) for name in FIELDS if name not in self.constants} | {_PROPERTIES}
        if self.ours:
            used |= _OF_AN_EXPORT
        wanted = [name for name in cells if name not in used] if self.properties is None else self.properties
        found: dict[str, Cell] = {name: value for name in wanted if (value := cells.get(name)) is not None}
        # A column named `properties` holds them all; where some are asked for by name, it is a column like another.
        if self.properties is None and (whole := cells.get(_PROPERTIES)) is not None:
            inner = _members(whole)
            for name in inner.keys() & found.keys():
                raise BadEventError("property_twice", "is both a column and in the column properties", name)
            found |= inner
        return found


def _members(whole: Cell) -> dict[str, Cell]:
    if isinstance(whole, dict):
        return whole
    if isinstance(whole, str | msgspec.Raw):
        text = whole.encode(errors="replace") if isinstance(whole, str) else whole
        if bytes(text) == b"null":
            return {}
        try:
            return {**_object(text)}
        except UNREADABLE:
            pass
    raise BadEventError("wrong_type", "must be a JSON object", _PROPERTIES)


def _field(cell: Cell, name: str) -> str | datetime | None:
    """A field's text. Whole numbers are taken as they are written, which is how ids often come."""
    if cell is None or isinstance(cell, str | datetime):
        return cell or None
    if isinstance(cell, msgspec.Raw):
        raw = bytes(cell)
        if raw == b"null":
            return None
        if raw[:1] == b'"':
            try:
                return _text(raw) or None
            except UNREADABLE as error:
                raise BadEventError("not_utf8", "holds bytes or escapes that are not text", name) from error
        number = raw.decode()
        if number.lstrip("-").isdigit() or (name == "timestamp" and number[:1] in "-0123456789"):
            return number
    raise BadEventError("wrong_type", "must be a text or a whole number", name)
