"""Undoes a request's compression, and stops early where it turns out to be a bomb."""

import io
import zlib
from typing import Final

import zstandard

from billing.errors import InvalidInput, TooLarge, UnsupportedMedia
from ingestion.event import Limits

__all__ = ["read_body"]

_WINDOW_BITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_STEP: Final = 1 << 20


def read_body(raw: bytes, content_encoding: str | None, content_type: str | None, limits: Limits) -> bytes:
    """The JSON bytes of a request.

    Raises TooLarge past a bound (nothing beyond it is decompressed), UnsupportedMedia for another encoding or type, and
    InvalidInput where the compressed bytes are damaged or end early.
    """
    media_type = (content_type or "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMedia(
            "content_type_not_json", "Events are read as JSON.", hint="Send Content-Type: application/json."
        )
    if len(raw) > limits.body_bytes:
        raise _too_large(limits.body_bytes)
    encoding = (content_encoding or "identity").strip().lower()
    if encoding == "identity":
        return raw
    if encoding == "zstd":
        return _zstd(raw, limits.decompressed_bytes)
    if encoding in _WINDOW_BITS:
        return _zlib(raw, encoding, limits.decompressed_bytes)
    raise UnsupportedMedia(
        "content_encoding_not_supported",
        "The body's Content-Encoding is not known here.",
        hint="Use gzip, zstd or deflate, or send the body as it is.",
    )


def _zlib(raw: bytes, encoding: str, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    rest = raw
    try:
        # A gzip file may hold several members, one after the other.
        while rest:
            reader = zlib.decompressobj(wbits=_WINDOW_BITS[encoding])
            while rest and not reader.eof:
                part = reader.decompress(rest, min(_STEP, most - size + 1))
                size += len(part)
                if size > most:
                    raise _too_large(most)
                parts.append(part)
                rest = reader.unconsumed_tail
                if not part and not rest:
                    break
            if not reader.eof:
                raise _damaged(encoding)
            rest = reader.unused_data
    except zlib.error as error:
        raise _damaged(encoding) from error
    return b"".join(parts)


def _zstd(raw: bytes, most: int) -> bytes:
    # A frame may ask for a window of gigabytes: the window is bounded as the body is.
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    try:
        with decompressor.stream_reader(io.BytesIO(raw), read_across_frames=True) as reader:
            body = reader.read(most + 1)
    except (zstandard.ZstdError, MemoryError) as error:
        raise _damaged("zstd") from error
    if len(body) > most:
        raise _too_large(most)
    return body


def _too_large(most: int) -> TooLarge:
    return TooLarge("body_too_large", f"The body is larger than {most} bytes.", hint="Send it in several requests.")


def _damaged(encoding: str) -> InvalidInput:
    return InvalidInput(
        "body_not_decompressible", f"The body is not valid {encoding}.", hint="Check the Content-Encoding header."
    )
