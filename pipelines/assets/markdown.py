"""Markdown tables for the Dagster UI. Cells may quote what callers sent, so nothing in them is read as markup."""

from collections.abc import Sequence

import dagster as dg

from pipelines.steps.isolation import Failure

__all__ = ["failure_table", "table"]

MOST_ROWS = 50
_LONGEST_CELL = 200
_MARKUP = str.maketrans(
    {character: f"\\{character}" for character in "\\`*_{}[]()#+-.!|~"} | {"<": "&lt;", "&": "&amp;"}
)


def table(header: Sequence[str], rows: Sequence[Sequence[object]], empty: str = "none") -> dg.MarkdownMetadataValue:
    """A table of at most 50 rows that says how many it left out; `empty` where there is no row."""
    if not rows:
        return dg.MetadataValue.md(empty)
    lines = [_row(header), _row(["---"] * len(header), escape=False), *(_row(row) for row in rows[:MOST_ROWS])]
    if len(rows) > MOST_ROWS:
        lines += ["", f"… and {len(rows) - MOST_ROWS} more"]
    return dg.MetadataValue.md("\n".join(lines))


def failure_table(failures: Sequence[Failure]) -> dg.MarkdownMetadataValue:
    """What could not be done, and for whom."""
    return table(
        ("tenant", "environment", "subject", "period start", "code", "detail"),
        [(f.scope.tenant_id, f.scope.environment_id, f.subject, f.period_start, f.code, f.detail) for f in failures],
    )


def _row(cells: Sequence[object], escape: bool = True) -> str:
    return "| " + " | ".join(_plain(str(cell)) if escape else str(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    short = text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"
    return "".join(c if c.isprintable() else " " for c in short).translate(_MARKUP)
