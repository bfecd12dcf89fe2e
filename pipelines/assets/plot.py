"""Small bar charts for the Dagster UI: SVG inside a Markdown image, which is drawn as a picture and runs nothing.

Made by hand, since four dozen bars are no reason for a plotting library, and a picture has to be short: of Markdown
with 1000 characters or more the UI shows a link in its place. The bars are one path, and what they add up to stands
above the picture as text. Middle tones are readable on a bright and on a dark page.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from html import escape
from urllib.parse import quote

import dagster as dg

__all__ = ["bars"]

_SHORT_ENOUGH = 1000
_MOST_BARS = 62
# So few stand for themselves, each with its name and its value beside it; more are a course, from left to right.
_MOST_ROWS = 8
_TEXT, _COLOUR = "#8a8f98", "#6b8cff"
_HIGH, _COLUMN = 60, 7
_LONG, _ROW = 150, 17
_AFTER_TITLE = "\n\n"

Values = Sequence[tuple[str, int | Decimal]]


def bars(title: str, values: Values) -> dg.MarkdownMetadataValue:
    """A bar for each (label, value), of the last 62; their greatest value is written above them."""
    shown = list(values)[-_MOST_BARS:]
    greatest = max((value for _, value in shown), default=0)
    if not greatest:
        return dg.MetadataValue.md("nothing to draw")
    said = f"{_plain(title)}: at most {greatest:,}{_AFTER_TITLE}"
    pictures = _as_rows(shown, greatest) if len(shown) <= _MOST_ROWS else _as_columns(shown, greatest)
    candidates = [f"{said}![]({picture})" for picture in pictures]
    return dg.MetadataValue.md(next((one for one in candidates if len(one) < _SHORT_ENOUGH), candidates[-1]))


def _as_rows(shown: Values, greatest: int | Decimal) -> Iterator[str]:
    """Bars that lie, with label and value after each; then with shorter labels."""
    lengths = [_scaled(value, greatest, _LONG) for _, value in shown]
    path = "".join(f"M0,{_ROW * row + 8}h{length}" for row, length in enumerate(lengths) if length)
    for longest in (24, 12, 6):
        texts = [
            (length + 5, _ROW * row + 12, f"{label[:longest]}: {value:,}")
            for row, (length, (label, value)) in enumerate(zip(lengths, shown, strict=True))
        ]
        yield _picture(2 * _LONG + 40, _ROW * len(shown), path, "'12'", texts)


def _as_columns(shown: Values, greatest: int | Decimal) -> Iterator[str]:
    """Bars that stand, with labels under some of them; then under fewer."""
    heights = [_scaled(value, greatest, _HIGH) for _, value in shown]
    path = "".join(f"M{n},0V{height}" for n, height in enumerate(heights) if height)
    # Upwards from the bottom, a column a unit: so the coordinates are short.
    turned = f" transform='matrix({_COLUMN},0,0,-1,3,{_HIGH})'"
    for labels in (6, 4, 3, 2, 1):
        step = -(-len(shown) // labels)
        texts = [(_COLUMN * n, _HIGH + 12, label) for n, (label, _) in enumerate(shown) if n % step == 0]
        yield _picture(_COLUMN * len(shown) + 30, _HIGH + 14, path, f"'.7'{turned}", texts)


def _scaled(value: int | Decimal, greatest: int | Decimal, most: int) -> int:
    """A value that is there is seen, however small it is beside the greatest."""
    return max(1, round(most * value / greatest)) if value > 0 else 0


def _picture(wide: int, high: int, path: str, thick: str, texts: Sequence[tuple[int, int, str]]) -> str:
    written = "".join(f"<text x='{x}' y='{y}'>{escape(text)}</text>" for x, y, text in texts)
    svg = (
        f"<svg font-family='sans-serif' font-size='10' fill='{_TEXT}' width='{wide}' height='{high}' "
        "xmlns='http://www.w3.org/2000/svg'>"
        f"<path d='{path}' stroke='{_COLOUR}' stroke-width={thick}/>{written}</svg>"
    )
    return f"data:image/svg+xml,{quote(svg, safe=_UNQUOTED)}"


# What may stand in a Markdown link as it is.
_UNQUOTED = "/:='\",;+!*&"


def _plain(title: str) -> str:
    return "".join(c for c in title if c.isalnum() or c in " ,-")
