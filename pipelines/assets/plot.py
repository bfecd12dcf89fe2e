"""Small bar charts for the Dagster UI: SVG inside a Markdown image, which is drawn as a picture and runs nothing.

Made by hand, since four dozen bars are no reason for a plotting library. Light bars and grey text are readable on a
bright and on a dark page.
"""

import base64
from collections.abc import Sequence
from decimal import Decimal
from html import escape

import dagster as dg

__all__ = ["bars"]

_BAR, _GAP, _HEIGHT = 14, 3, 90
_TEXT, _COLOUR = "#8a8f98", "#6b8cff"
_MOST_BARS = 62
_LABELS = 6


def bars(title: str, values: Sequence[tuple[str, int | Decimal]]) -> dg.MarkdownMetadataValue:
    """A bar for each (label, value), of the last 62; their greatest value is written at the top."""
    shown = list(values)[-_MOST_BARS:]
    greatest = max((value for _, value in shown), default=0)
    if not greatest:
        return dg.MetadataValue.md("nothing to draw")
    wide = max(240, len(shown) * (_BAR + _GAP))
    step = -(-len(shown) // _LABELS)
    size = f'width="{wide}" height="{_HEIGHT + 36}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="10" fill="{_TEXT}">',
        f'<text x="0" y="10">{escape(title)}: at most {greatest:,}</text>',
    ]
    for number, (label, value) in enumerate(shown):
        left = number * (_BAR + _GAP)
        # A value that is there is seen, however small it is beside the greatest.
        tall = max(1, round(_HEIGHT * value / greatest)) if value else 0
        parts.append(
            f'<rect x="{left}" y="{18 + _HEIGHT - tall}" width="{_BAR}" height="{tall}" fill="{_COLOUR}">'
            f"<title>{escape(label)}: {value:,}</title></rect>"
        )
        if number % step == 0:
            parts.append(f'<text x="{left}" y="{_HEIGHT + 32}">{escape(label)}</text>')
    parts.append("</svg>")
    picture = base64.b64encode("".join(parts).encode()).decode()
    return dg.MetadataValue.md(f"![{_alt(title)}](data:image/svg+xml;base64,{picture})")


def _alt(title: str) -> str:
    return "".join(c for c in title if c.isalnum() or c in " ,")
