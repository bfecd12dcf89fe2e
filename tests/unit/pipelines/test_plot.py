"""Small pictures and links for the Dagster UI."""

import base64
from datetime import UTC, datetime
from xml.etree import ElementTree

from pipelines.assets.links import conflicts_of, invoices_of
from pipelines.assets.plot import bars


def picture(text: str) -> ElementTree.Element:
    """The SVG inside the Markdown."""
    prefix = "(data:image/svg+xml;base64,"
    drawn = base64.b64decode(text[text.index(prefix) + len(prefix) : -1])
    return ElementTree.fromstring(drawn)  # noqa: S314 - our own


def heights(text: str) -> list[int]:
    return [int(one.attrib["height"]) for one in picture(text) if one.tag.endswith("rect")]


def test_bars_are_in_proportion_and_the_smallest_is_still_seen() -> None:
    assert heights(bars("events", [("a", 1000), ("b", 500), ("c", 1), ("d", 0)]).value) == [90, 45, 1, 0]


def test_of_many_bars_the_last_are_drawn() -> None:
    assert len(heights(bars("events", [(str(day), day) for day in range(1, 400)]).value)) == 62


def test_a_label_is_text_and_never_markup() -> None:
    text = bars("<script>", [("</text><script>", 1)]).value
    assert [one.tag.rpartition("}")[2] for one in picture(text)] == ["text", "rect", "text"]
    assert text.startswith("![script](")


def test_without_anything_there_is_no_picture() -> None:
    assert bars("events", [("a", 0)]).value == bars("events", []).value == "nothing to draw"


def test_links_name_the_days_of_the_run_inclusively() -> None:
    window = datetime(2024, 2, 19, tzinfo=UTC), datetime(2024, 2, 21, tzinfo=UTC)
    assert invoices_of("http://here", window, invoice_status="draft").value == (
        "http://here/api/v1/invoices?billed_from=2024-02-19&billed_to=2024-02-20&invoice_status=draft"
    )
    assert conflicts_of("http://here", window).value.endswith(
        "events/conflicts?start_time=2024-02-19T00%3A00%3A00Z&end_time=2024-02-21T00%3A00%3A00Z"
    )
