"""An invoice as a PDF: the same view in the same bytes, whenever and wherever it is made.

Letters that the document's font lacks are set in the fonts that every reader has for Chinese, Japanese and Korean;
what none of them has is shown as a question mark.
"""

from collections.abc import Iterator
from functools import cache
from io import BytesIO
from itertools import groupby
from typing import Any, Final
from xml.sax.saxutils import escape

import fontpkg_fira_sans
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.pdfmetrics import getFont, registerFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Frame, KeepTogether, PageTemplate, Paragraph, Spacer, Table

from api.documents.invoice_view import InvoiceView, LineView

__all__ = ["invoice_pdf"]

_REGULAR, _BOLD = "FiraSans", "FiraSans-SemiBold"
_CHINESE, _JAPANESE, _KOREAN = "STSong-Light", "HeiseiMin-W3", "HYSMyeongJo-Medium"
_INK, _SOFT, _LINE, _ACCENT, _WARNING = map(HexColor, ("#1d232b", "#5d6773", "#dfe3e8", "#1f4e79", "#fff4d6"))
_MARGIN: Final = 18 * mm
_BOTTOM: Final = 22 * mm
_WIDTH: Final = A4[0] - 2 * _MARGIN
_COLUMNS: Final = (_WIDTH - 84 * mm, 24 * mm, 28 * mm, 32 * mm)


def invoice_pdf(view: InvoiceView) -> bytes:
    """The document."""
    _fonts()
    buffer = BytesIO()
    frame = Frame(_MARGIN, _BOTTOM, _WIDTH, A4[1] - _MARGIN - _BOTTOM, 0, 0, 0, 0)
    document = BaseDocTemplate(
        buffer,
        pagesize=A4,
        pageTemplates=[PageTemplate(frames=[frame])],
        title=f"{view.title} {view.number}".strip(),
        author=view.seller,
        creator="Tallyhouse",
        # No time of making and no random id: the same invoice gives the same bytes.
        invariant=1,
        lang="en",
    )
    footer = " · ".join(filter(None, (view.seller, view.number or view.title)))
    document.build(list(_story(view)), canvasmaker=lambda *args, **kwargs: _Numbered(footer, *args, **kwargs))
    return buffer.getvalue()


class _Numbered(Canvas):  # type: ignore[misc]
    """Writes `page n of m` once it is known how many there are."""

    def __init__(self, footer: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._footer = footer
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        for number, page in enumerate(self._pages, 1):
            self.__dict__.update(page)
            style = _style(7.5, color=_SOFT)
            for text, align in ((self._footer, 0), (f"Page {number} of {len(self._pages)}", TA_RIGHT)):
                line = _text(text, ParagraphStyle("footer", style, alignment=align))
                line.wrapOn(self, _WIDTH, 20 * mm)
                line.drawOn(self, _MARGIN, 11 * mm)
            super().showPage()
        super().save()


def _story(view: InvoiceView) -> Iterator[Any]:
    if view.is_test:
        warning = _text("Made in a test environment. This is no request for payment.", _style(8.5))
        padding = [(side, (0, 0), (-1, -1), 5) for side in ("LEFTPADDING", "TOPPADDING", "BOTTOMPADDING")]
        background = ("BACKGROUND", (0, 0), (-1, -1), _WARNING)
        yield Table([[warning]], colWidths=(_WIDTH,), style=[background, *padding])
        yield Spacer(0, 5 * mm)
    right = _style(9.5, color=_SOFT, align=TA_RIGHT)
    head = [
        [_text(view.seller, _style(11.5, bold=True)), _text(view.title, _style(21, True, _ACCENT, TA_RIGHT))],
        ["", _text(view.state, right)],
    ]
    yield Table(head, colWidths=(_WIDTH / 2, _WIDTH / 2), style=_plain("BOTTOMPADDING", 2))
    yield Spacer(0, 9 * mm)
    buyer = [_text("BILLED TO", _style(7.5, True, _SOFT)), Spacer(0, 1 * mm)]
    buyer += [_text(text, _style(9.5, bold=number == 0)) for number, text in enumerate(view.buyer)]
    facts = Table(
        [
            [_text(label, _style(9.5, color=_SOFT)), _text(value, _style(9.5, align=TA_RIGHT))]
            for label, value in view.facts
        ],
        colWidths=(29 * mm, 51 * mm),
        style=_plain("BOTTOMPADDING", 1),
    )
    yield Table([[buyer, facts]], colWidths=(_WIDTH - 80 * mm, 80 * mm), style=_plain("BOTTOMPADDING", 0))
    yield Spacer(0, 10 * mm)
    yield _lines(view)
    yield Spacer(0, 5 * mm)
    yield KeepTogether([_totals(view)])
    yield Spacer(0, 8 * mm)
    for note in view.notes:
        yield _text(note, _style(9, color=_SOFT))
    if view.pay_url:
        link = f'<link href="{escape(view.pay_url, {chr(34): "&quot;"})}" color="#1f4e79">Pay online</link>'
        yield Paragraph(link, _style(9.5, bold=True))


def _lines(view: InvoiceView) -> Table:
    titles = ("DESCRIPTION", "QUANTITY", "UNIT PRICE", f"AMOUNT ({view.currency})")
    rows: list[list[Any]] = [
        [_text(title, _style(7.5, True, _SOFT, TA_RIGHT if at else 0)) for at, title in enumerate(titles)]
    ]
    style: list[tuple[Any, ...]] = [
        *_plain("BOTTOMPADDING", 1),
        ("LINEBELOW", (0, 0), (-1, 0), 1.1, _INK),
        ("BOTTOMPADDING", (0, 0), (-1, 0), 5),
    ]
    for line in view.lines:
        first = len(rows)
        rows += _rows(line)
        last = len(rows) - 1
        style += [
            ("TOPPADDING", (0, first), (-1, first), 6),
            ("BOTTOMPADDING", (0, last), (-1, last), 6),
            ("LINEBELOW", (0, last), (-1, last), 0.5, _LINE),
            *(("SPAN", (0, row), (1, row)) for row in range(first + 1, last + 1)),
            *(("LEFTPADDING", (0, row), (0, row), 9) for row in range(first + 1, last + 1)),
            # A line and its tiers stay on one page, unless they alone are longer than it.
            ("NOSPLIT", (0, first), (0, min(last, first + 30))),
        ]
    return Table(rows, colWidths=_COLUMNS, repeatRows=1, style=style)


def _rows(line: LineView) -> Iterator[list[Any]]:
    number = _style(9.5, align=TA_RIGHT)
    small, small_right = _style(8.2, color=_SOFT), _style(8.2, color=_SOFT, align=TA_RIGHT)
    name = [_text(line.name, _style(9.5, bold=True)), _text(line.period, small)]
    yield [name, *(_text(text, number) for text in (line.quantity, line.unit_price, line.amount))]
    for step in line.steps:
        yield [_text(step.label, small), "", _text(step.amount, small_right), ""]


def _totals(view: InvoiceView) -> Table:
    last = len(view.totals) - 1
    rows = []
    for number, (label, value) in enumerate(view.totals):
        size, bold = (11.5, True) if number == last else (9.5, False)
        amount = _text(f"{value} {view.currency}", _style(size, bold, align=TA_RIGHT))
        rows.append(["", _text(label, _style(size, bold)), amount])
    style = [
        *_plain("BOTTOMPADDING", 2),
        ("LINEABOVE", (1, last), (-1, last), 1.1, _INK),
        ("TOPPADDING", (1, last), (-1, last), 5),
    ]
    return Table(rows, colWidths=(_WIDTH - 122 * mm, 72 * mm, 50 * mm), style=style)


def _plain(padding: str, points: int) -> list[tuple[Any, ...]]:
    everything = ((0, 0), (-1, -1))
    sides = [(side, *everything, 0) for side in ("LEFTPADDING", "RIGHTPADDING", "TOPPADDING", "BOTTOMPADDING")]
    return [
        *sides,
        (padding, *everything, points),
        ("VALIGN", *everything, "TOP"),
        ("RIGHTPADDING", (0, 0), (0, -1), 6),
    ]


def _style(size: float, bold: bool = False, color: Any = _INK, align: int = 0) -> ParagraphStyle:
    return ParagraphStyle(
        "text",
        fontName=_BOLD if bold else _REGULAR,
        fontSize=size,
        leading=size * 1.32,
        textColor=color,
        alignment=align,
        # A word that is longer than its column is broken rather than written over the next one.
        splitLongWords=1,
    )


def _text(text: str, style: ParagraphStyle) -> Paragraph:
    """Escaped, and each letter in a font that has it."""
    known = getFont(style.fontName).face.charToGlyph
    parts = []
    for font, letters in groupby(text, lambda letter: _font_of(letter, known)):
        run = "".join(letters)
        if font is None:
            parts.append(escape(run))
        elif font:
            parts.append(f'<font name="{font}">{escape(run)}</font>')
        else:
            parts.append("?" * len(run))
    return Paragraph("".join(parts), style)


def _font_of(letter: str, known: dict[int, int]) -> str | None:
    """None for the text's own font, empty where no font has the letter."""
    code = ord(letter)
    if code in known:
        return None
    if 0xAC00 <= code <= 0xD7A3 or 0x1100 <= code <= 0x11FF:
        return _KOREAN
    if 0x3040 <= code <= 0x30FF:
        return _JAPANESE
    if 0x3000 <= code <= 0x303F or 0x4E00 <= code <= 0x9FFF or 0xFF00 <= code <= 0xFFEF:
        return _CHINESE
    return ""


@cache
def _fonts() -> None:
    """Registered once a process; reading them takes a tenth of a second."""
    folder = fontpkg_fira_sans.ROOT / "files"
    for name, file in ((_REGULAR, "FiraSans-Regular"), (_BOLD, "FiraSans-SemiBold")):
        registerFont(TTFont(name, str(folder / f"{file}.ttf")))
    for name in (_CHINESE, _JAPANESE, _KOREAN):
        registerFont(UnicodeCIDFont(name))
