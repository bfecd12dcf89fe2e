"""Tells schemathesis how a body of lines is sent; its SCHEMATHESIS_HOOKS names this module."""

from __future__ import annotations

from typing import Any

import schemathesis

from ingestion.media import NDJSON_TYPES


@schemathesis.serializer(*NDJSON_TYPES)
def lines(_context: Any, value: Any) -> bytes:
    return str(value).encode("utf-8", "surrogatepass")
