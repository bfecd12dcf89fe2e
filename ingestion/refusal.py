"""Why an event is not taken: our codes, out of our own checks and out of what msgspec says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_QUOTED: Final = re.compile(r"`([^`]*)`")
_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`")


@dataclass(frozen=True)
class Refused:
    """Why the event at `index` was not taken. `code` is stable, `field` a path within the event."""

    index: int
    code: str
    reason: str
    field: str | None


class BadEventError(Exception):
    """One event cannot be taken; says why, the batch goes on."""

    def __init__(self, code: str, reason: str, field: str | None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.field = field

    def at(self, index: int) -> Refused:
        """As the refusal of the event at `index`."""
        return Refused(index, self.code, self.reason, self.field)


def wrong_shape(message: str) -> BadEventError:
    """A msgspec validation message as our code, reason and field."""
    if "unknown field" in message:
        return BadEventError("unknown_field", "is not a field of an event", first_quoted(message))
    if "missing required field" in message:
        return BadEventError("missing", "is required", first_quoted(message))
    at = _PATH.search(message)
    expected = message.partition(" - at ")[0].replace("`", "").replace("Expected", "must be").replace("str", "string")
    return BadEventError("wrong_type", expected, at.group(1) if at and at.group(1).isprintable() else None)


def first_quoted(message: str) -> str | None:
    """The first name that a msgspec message quotes, where it can be shown."""
    found = _QUOTED.search(message)
    return found.group(1) if found and found.group(1).isprintable() else None
