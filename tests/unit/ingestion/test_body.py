"""Compressed bodies are read back, bounded, and refused when they are damaged."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pyarrow as pa
import pytest
import zstandard

from billing.errors import InvalidInput, TooLarge, UnsupportedMedia
from ingestion.body import read_body
from ingestion.event import Limits

LIMITS = Limits(body_bytes=50_000, decompressed_bytes=100_000)
BODY = b'{"events": []}' * 100


def _bare_deflate(body: bytes) -> bytes:
    return zlib.compress(body)[2:-4]


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "zstd": ("zstd", zstandard.compress),
    "zstd without checksum": (
        "zstd",
        zstandard.ZstdCompressor(write_content_size=False, write_checksum=False).compress,
    ),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", _bare_deflate),
}


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [
        (None, BODY),
        ("identity", BODY),
        ("gzip", gzip.compress(BODY)),
        ("gzip", gzip.compress(BODY[:100]) + gzip.compress(BODY[100:])),
        ("GZIP", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY, level=0)),
        ("deflate", _bare_deflate(BODY)),
        ("zstd", zstandard.compress(BODY)),
        ("zstd", zstandard.compress(BODY[:100]) + zstandard.compress(BODY[100:])),
    ],
    ids=[
        "none", "identity", "gzip", "two gzip members", "upper case", "old name of gzip", "deflate", "stored deflate",
        "bare deflate", "zstd", "two zstd frames",
    ],
)  # fmt: skip
def test_a_body_comes_back_whole(encoding: str | None, raw: bytes) -> None:
    assert read_body(raw, encoding, LIMITS) == BODY


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("strategy", range(5))
def test_a_bare_deflate_stream_is_told_from_a_wrapped_one_however_it_was_made(level: int, strategy: int) -> None:
    for body in (b"x", BODY, bytes(range(256)) * 40):
        packer = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
        assert read_body(packer.compress(body) + packer.flush(), "deflate", LIMITS) == body


@pytest.mark.parametrize("name", PACKERS)
def test_a_decompression_bomb_is_stopped_without_holding_more_than_the_bound(name: str) -> None:
    encoding, pack = PACKERS[name]
    bomb = pack(bytes(100_000_000))
    limits = Limits(decompressed_bytes=8_000_000)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            read_body(bomb, encoding, limits)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limits.decompressed_bytes + 2_000_000
    assert pa.total_allocated_bytes() == before


@pytest.mark.parametrize("name", PACKERS)
def test_a_body_that_ends_early_is_refused_wherever_it_was_cut(name: str) -> None:
    encoding, pack = PACKERS[name]
    packed = pack(b"".join(b'{"event_id": "%d"}\n' % (number * 7919) for number in range(300)))
    for cut in range(1, len(packed)):
        with pytest.raises(InvalidInput) as refused:
            read_body(packed[:cut], encoding, LIMITS)
        assert refused.value.code == "body_not_decompressible"


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("raw", [b"plain", b'{"events": []}', bytes(40)], ids=["text", "json", "zeros"])
def test_a_body_that_is_not_what_its_header_says_is_refused(name: str, raw: bytes) -> None:
    encoding, pack = PACKERS[name]
    for damaged in (raw, pack(BODY) + raw):
        with pytest.raises(InvalidInput):
            read_body(damaged, encoding, LIMITS)


def test_a_body_over_the_bound_as_sent_is_refused() -> None:
    with pytest.raises(TooLarge, match="50000 bytes"):
        read_body(bytes(50_001), None, LIMITS)


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "compress"])
def test_other_encodings_are_refused_with_the_way_out(encoding: str) -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        read_body(BODY, encoding, LIMITS)
    assert refused.value.code == "content_encoding_not_supported"
    assert refused.value.hint == "Use gzip, zstd or deflate, or send the body as it is."
