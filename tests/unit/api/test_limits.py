"""The bounds of events are settings, and every one of them arrives where events are read."""

from datetime import timedelta

import pytest

from api.limits import limits_of
from ingestion.event import Limits
from settings import Settings, load_settings

SET = {
    "TALLY_MAX_BODY_BYTES": "1",
    "TALLY_MAX_DECOMPRESSED_BYTES": "2",
    "TALLY_MAX_EVENTS_PER_REQUEST": "3",
    "TALLY_MAX_FUTURE_SECONDS": "4",
    "TALLY_MAX_PROPERTIES": "5",
    "TALLY_MAX_PROPERTY_DEPTH": "6",
    "TALLY_MAX_PROPERTY_BYTES": "7",
    "TALLY_MAX_PROPERTY_KEY_LENGTH": "8",
}


def test_every_bound_is_taken_from_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SET.items():
        monkeypatch.setenv(name, value)
    assert limits_of(load_settings()) == Limits(
        body_bytes=1,
        decompressed_bytes=2,
        events=3,
        future=timedelta(seconds=4),
        properties=5,
        depth=6,
        property_bytes=7,
        property_key_length=8,
    )


def test_the_defaults_are_those_that_the_document_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SET:
        monkeypatch.delenv(name, raising=False)
    assert limits_of(Settings(_env_file=None)) == Limits()  # type: ignore[call-arg]
