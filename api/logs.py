"""Log lines that people and programs can read, and that no caller can forge."""

import logging
import re
import sys
import time

__all__ = ["configure"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class OneLine(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO tally.api.access GET /api/v1/me 200 …`; a traceback follows, indented.

    Control characters are escaped and the lines of a traceback are marked, so that text from outside can neither begin
    a line of its own nor move the reader's cursor.
    """

    converter = time.gmtime  # type: ignore[assignment]
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return _escape(super().formatMessage(record))

    def formatException(self, ei: object) -> str:
        text = super().formatException(ei)  # type: ignore[arg-type]
        return "\n".join(f"    | {_escape(line)}" for line in text.split("\n"))


def configure(level: str) -> None:
    """Write everything to standard error, in one form; called once per process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Both would name addresses with credentials or bodies in them at their chattier levels.
    for chatty in ("stripe", "urllib3", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
