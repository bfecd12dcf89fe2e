"""Log lines cannot be forged by what callers send."""

from __future__ import annotations

import logging
import re

from api.logs import OneLine


def _written(message: str, error: BaseException | None = None) -> str:
    info = None if error is None else (type(error), error, error.__traceback__)
    return OneLine().format(logging.LogRecord("tally.api", logging.INFO, __file__, 1, message, (), info))


def test_a_line_begins_with_the_time_in_utc_and_the_level() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO tally\.api GET /x 200", _written("GET /x 200"))


def test_control_characters_are_escaped() -> None:
    line = _written("GET /x\r\n2026-01-01 ERROR forged\x1b[31m\u2028 200")
    assert "\n" not in line
    assert "\x1b" not in line
    assert "\u2028" not in line
    assert r"/x\r\n2026" in line


def test_the_lines_of_a_traceback_are_marked() -> None:
    written = _written("failed", ValueError("first\n2026-01-01T00:00:00.000Z ERROR forged\x1b"))
    first, *rest = written.split("\n")
    assert first.endswith("failed")
    assert all(line.startswith("    | ") for line in rest)
    assert "\x1b" not in written
