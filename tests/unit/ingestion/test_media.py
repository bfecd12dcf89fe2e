"""The Content-Type decides how events are read; what is not read is refused with what is."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import UnsupportedMedia
from ingestion.media import Form, form_of


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        (None, Form.JSON),
        ("", Form.JSON),
        ("application/json", Form.JSON),
        ("APPLICATION/JSON", Form.JSON),
        ("application/x-ndjson", Form.NDJSON),
        ("application/ndjson", Form.NDJSON),
        ("application/jsonl", Form.NDJSON),
        ("application/cloudevents+json", Form.CLOUDEVENT),
        ("application/cloudevents-batch+json", Form.CLOUDEVENTS),
    ],
)
@pytest.mark.parametrize(
    "suffix", ["", "; charset=utf-8", ";charset=UTF-8", '; charset="utf-8"', "; Charset = Utf-8 ; v=1", ";", "; v=1"]
)
def test_a_media_type_is_known_in_any_case_and_with_its_parameters(
    content_type: str | None, form: Form, suffix: str
) -> None:
    assert form_of(content_type and content_type + suffix) is form


@pytest.mark.parametrize("content_type", ["text/csv", "application/x-www-form-urlencoded", "json", "; charset=utf-8"])
def test_another_media_type_is_refused_and_told_what_is_read(content_type: str) -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        form_of(content_type)
    assert refused.value.code == "content_type_not_supported"
    assert all(form in (refused.value.hint or "") for form in Form)


def test_a_form_that_the_route_does_not_read_is_told_where_it_is() -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        form_of("application/x-ndjson", (Form.JSON, Form.CLOUDEVENT))
    assert "/api/v1/events/bulk" in (refused.value.hint or "")


@pytest.mark.parametrize("charset", ["latin1", '"iso-8859-1"', "utf-16", "ütf-8", "UTF-16 ; charset=utf-8"])
def test_another_charset_is_refused(charset: str) -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        form_of(f"application/json; charset={charset}")
    assert refused.value.code == "charset_not_supported"


@given(st.text(max_size=30))
def test_whatever_stands_in_the_header_is_a_form_or_a_refusal(rest: str) -> None:
    for content_type in (rest, f"application/json;{rest}", f"application/json; charset{rest}"):
        # Any other error fails the test.
        with contextlib.suppress(UnsupportedMedia):
            assert form_of(content_type) in Form
