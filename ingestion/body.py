"""Undoes a request's compression, and stops early where it turns out to be a bomb."""

import zlib
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from billing.errors import InvalidInput, TooLarge, UnsupportedMedia
from ingestion.event import Limits

__all__ = ["read_body"]

_STREAMS: Final = {"gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}
_STEP: Final = 1 << 18


def read_body(raw: bytes, content_encoding: str | None, limits: Limits) -> bytes:
    """The bytes of a request before they were compressed.

    Raises TooLarge past a bound (at most one step beyond it is decompressed), UnsupportedMedia for another encoding,
    and InvalidInput where the compressed bytes are damaged or end early.
    """
    if len(raw) > limits.body_bytes:
        raise _too_large(limits.body_bytes)
    encoding = (content_encoding or "identity").strip().lower()
    if encoding == "identity":
        return raw
    if encoding in _STREAMS:
        parts = _unpacked(raw, _STREAMS[encoding])
    elif encoding == "deflate":
        parts = _inflated(raw)
    else:
        raise UnsupportedMedia(
            "content_encoding_not_supported",
            "The body's Content-Encoding is not known here.",
            hint="Use gzip, zstd or deflate, or send the body as it is.",
        )
    try:
        return _joined(parts, limits.decompressed_bytes)
    except (OSError, zlib.error) as error:
        raise InvalidInput(
            "body_not_decompressible", f"The body is not valid {encoding}.", hint="Check the Content-Encoding header."
        ) from error


def _joined(parts: Iterator[bytes], most: int) -> bytes:
    kept: list[bytes] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > most:
            raise _too_large(most)
        kept.append(part)
    return kept[0] if len(kept) == 1 else b"".join(kept)


def _unpacked(raw: bytes, codec: str) -> Iterator[bytes]:
    """Gzip members or zstd frames, one after the other. OSError where one is damaged or is cut off."""
    with pa.CompressedInputStream(pa.BufferReader(raw), codec) as stream:
        while part := stream.read(_STEP):
            yield part


def _inflated(raw: bytes) -> Iterator[bytes]:
    """`deflate` is meant to be zlib's format (RFC 9110, 8.4.1.2), and some clients send the bare stream."""
    # A bare stream that begins with these bits would be one that no compressor writes: a stored block with its padding
    # set.
    wrapped = raw[:1] and raw[0] & 0x0F == 8 and int.from_bytes(raw[:2]) % 31 == 0
    reader = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
    rest = raw
    while not reader.eof:
        part = reader.decompress(rest, _STEP)
        rest = reader.unconsumed_tail
        if not part and not rest:
            raise zlib.error("cut off")
        yield part
    if reader.unused_data:
        raise zlib.error("more bytes after the end")


def _too_large(most: int) -> TooLarge:
    return TooLarge("body_too_large", f"The body is larger than {most} bytes.", hint="Send it in several requests.")
