"""What goes into the answer beside the rows: content types and ClickHouse's own headers."""

from __future__ import annotations

import json

from warehouse_sql.embedded.engine import Outcome


def content_type(data_format: str) -> str:
    """The content type that ClickHouse sends for a result in this format."""
    lowered = data_format.lower()
    if "withnames" in lowered:
        lowered = lowered.partition("withnames")[0]
    if lowered in {"jsoneachrow", "jsonlines", "ndjson"}:
        return "application/x-ndjson; charset=UTF-8"
    if lowered.startswith("json"):
        return "application/json; charset=UTF-8"
    if lowered == "csv":
        return "text/csv; charset=UTF-8; header=absent"
    if lowered in {"tsv", "tabseparated", "tsvraw", "tabseparatedraw"}:
        return "text/tab-separated-values; charset=UTF-8"
    if lowered in {"native", "rowbinary", "arrow", "arrowstream", "parquet", "orc", "avro", "msgpack", "bsoneachrow"}:
        return "application/octet-stream"
    return "text/plain; charset=UTF-8"


def summary(outcome: Outcome) -> str:
    """ClickHouse's `X-ClickHouse-Summary`: numbers as strings."""
    return json.dumps(
        {
            "read_rows": str(outcome.read_rows),
            "read_bytes": str(outcome.read_bytes),
            "written_rows": str(outcome.written_rows),
            "written_bytes": str(outcome.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(outcome.result_rows or outcome.written_rows),
            "result_bytes": str(len(outcome.data) or outcome.written_bytes),
            "elapsed_ns": str(int(outcome.elapsed_seconds * 1e9)),
        },
        separators=(",", ":"),
    )
