"""Small pictures and links for the Dagster UI."""

import re
from datetime import UTC, datetime
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from pipelines.assets.links import conflicts_of, invoices_of
from pipelines.assets.plot import bars


def picture(text: str) -> ElementTree.Element:
    """The SVG inside the Markdown."""
    prefix = "(data:image/svg+xml,"
    return ElementTree.fromstring(unquote(text[text.index(prefix) + len(prefix) : -1]))  # noqa: S314 - our own


def drawn(text: str) -> list[int]:
    """How long or tall the bars are."""
    (path,) = [one.attrib["d"] for one in picture(text) if one.tag.endswith("path")]
    return [int(one) for one in re.findall("[hV]([0-9]+)", path)]


def labels(text: str) -> list[str | None]:
    return [one.text for one in picture(text) if one.tag.endswith("text")]


def test_few_bars_are_in_proportion_and_the_smallest_is_still_seen() -> None:
    text = bars("events", [("a", 1000), ("b", 500), ("c", 1), ("d", 0)]).value
    assert text.startswith("events: at most 1,000")
    assert (drawn(text), labels(text)) == ([150, 75, 1], ["a: 1,000", "b: 500", "c: 1", "d: 0"])


def test_of_many_bars_the_last_are_drawn_and_some_named() -> None:
    text = bars("events", [(str(day), day) for day in range(1, 400)]).value
    assert (len(drawn(text)), labels(text)[0]) == (62, "338")


@pytest.mark.parametrize("count", [8, 9, 24, 62, 400])
def test_every_picture_is_so_short_that_the_page_draws_it(count: int) -> None:
    values = [(f"a label of {day:03} & <signs>", 9_876_543_210 + day) for day in range(count)]
    text = bars("events received for each day, of all environments", values).value
    assert len(text) < 1000
    assert len(drawn(text)) == min(count, 62)


def test_a_label_is_text_and_never_markup() -> None:
    text = bars("<script>](x)", [("</text><script>", 1)]).value
    assert [one.tag.rpartition("}")[2] for one in picture(text)] == ["path", "text"]
    assert (text.partition(":")[0], labels(text)) == ("scriptx", ["</text><script>: 1"])


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
