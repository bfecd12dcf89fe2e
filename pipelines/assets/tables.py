"""Rows as tables for the Dagster UI, which draws them where it folds Markdown away. A cell is text, never markup."""

from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from billing.instant import format_instant
from pipelines.steps.isolation import Failure

__all__ = ["failure_table", "table"]

MOST_ROWS = 50
_LONGEST_CELL = 200


def table(
    header: Sequence[str], rows: Sequence[Sequence[object]], empty: str = "none"
) -> dg.TableMetadataValue | dg.TextMetadataValue:
    """A table of at most 50 rows that says how many it left out; `empty` where there is no row."""
    if not rows:
        return dg.MetadataValue.text(empty)
    records = [dict(zip(header, map(_cell, row), strict=True)) for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        records.append({**dict.fromkeys(header, ""), header[0]: f"… and {len(rows) - MOST_ROWS} more"})
    schema = dg.TableSchema([dg.TableColumn(name) for name in header])
    return dg.MetadataValue.table([dg.TableRecord(record) for record in records], schema)


def failure_table(failures: Sequence[Failure]) -> dg.TableMetadataValue | dg.TextMetadataValue:
    """What could not be done, and for whom."""
    return table(
        ("subject", "code", "detail", "period start", "environment", "tenant"),
        [(f.subject, f.code, f.detail, f.period_start, f.scope.environment_id, f.scope.tenant_id) for f in failures],
    )


def _cell(value: object) -> str:
    text = format_instant(value) if isinstance(value, datetime) and value.tzinfo else str(value)
    short = text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"
    return "".join(c if c.isprintable() else " " for c in short)
