"""Compressed bodies are read back, bounded, and refused when they are damaged."""

import gzip
import zlib

import pytest
import zstandard

from billing.errors import InvalidInput, TooLarge, UnsupportedMedia
from ingestion.body import read_body
from ingestion.event import Limits

LIMITS = Limits(body_bytes=50_000, decompressed_bytes=100_000)
BODY = b'{"events": []}' * 100


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [
        (None, BODY),
        ("identity", BODY),
        ("gzip", gzip.compress(BODY)),
        ("gzip", gzip.compress(BODY[:100]) + gzip.compress(BODY[100:])),
        ("GZIP", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("zstd", zstandard.compress(BODY)),
    ],
    ids=["none", "identity", "gzip", "two gzip members", "upper case", "deflate", "zstd"],
)
def test_a_body_comes_back_whole(encoding: str | None, raw: bytes) -> None:
    assert read_body(raw, encoding, "application/json; charset=utf-8", LIMITS) == BODY


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_decompression_bomb_is_stopped(compress: object) -> None:
    bomb = compress(bytes(10_000_000))  # type: ignore[operator]
    assert len(bomb) < LIMITS.body_bytes
    with pytest.raises(TooLarge):
        read_body(bomb, "zstd" if compress is zstandard.compress else "gzip", None, LIMITS)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize(
    "raw", [b"plain", gzip.compress(BODY)[:-9], zlib.compress(BODY)[:-5]], ids=["plain", "cut", "cut2"]
)
def test_a_damaged_body_is_refused(encoding: str, raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_body(raw, encoding, None, LIMITS)


def test_other_encodings_and_types_are_refused_with_the_way_out() -> None:
    with pytest.raises(UnsupportedMedia) as encoding:
        read_body(BODY, "br", None, LIMITS)
    assert encoding.value.hint == "Use gzip, zstd or deflate, or send the body as it is."
    with pytest.raises(UnsupportedMedia):
        read_body(BODY, None, "text/csv", LIMITS)
