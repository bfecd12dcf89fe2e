"""What a request's Content-Type says about its body: which of the forms of events it is in."""

import re
from collections.abc import Collection
from enum import StrEnum
from typing import Final

from billing.errors import UnsupportedMedia

__all__ = ["NDJSON_TYPES", "Form", "form_of"]


class Form(StrEnum):
    """The forms in which events are read, each under the media type that is shown for it."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    CLOUDEVENT = "application/cloudevents+json"
    CLOUDEVENTS = "application/cloudevents-batch+json"


NDJSON_TYPES: Final = (Form.NDJSON.value, "application/ndjson", "application/jsonl")
"""NDJSON has no registered media type: these are the names that senders use."""

_FORMS: Final = {**{form.value: form for form in Form}, **dict.fromkeys(NDJSON_TYPES, Form.NDJSON)}
_ELSEWHERE: Final = " Several events at once go to /api/v1/events/bulk."
_CHARSET: Final = re.compile(r';\s*charset\s*=\s*("?)([^";]*)\1', re.IGNORECASE)
_UTF_8: Final = {"", "utf-8", "utf8"}


def form_of(content_type: str | None, taken: Collection[Form] = tuple(Form)) -> Form:
    """The form that a Content-Type names, JSON where there is none.

    Raises UnsupportedMedia (`content_type_not_supported`, `charset_not_supported`) for one that is not among `taken`
    and for a charset other than UTF-8.
    """
    if not content_type:
        return Form.JSON
    form = _FORMS.get(content_type.partition(";")[0].strip().lower())
    if form is None or form not in taken:
        raise UnsupportedMedia(
            "content_type_not_supported",
            "Events are not read in this content type here.",
            hint=f"Send Content-Type: {', '.join(taken)}." + ("" if form is None else _ELSEWHERE),
        )
    if any(name.strip().lower() not in _UTF_8 for _, name in _CHARSET.findall(content_type)):
        raise UnsupportedMedia(
            "charset_not_supported", "Events are read in UTF-8 only.", hint="Send the body in UTF-8 and say so."
        )
    return form
