"""Content encodings of HTTP bodies, both ways, as clickhouse-connect and ClickHouse use them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import lz4.frame
import zstandard

from warehouse_sql.embedded.failure import QueryFailed


class _Decoder(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


# zlib's window bits: 31 reads a gzip header, 15 a zlib one (what HTTP calls deflate).
_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "deflate": lambda: zlib.decompressobj(15),
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
    "lz4": lz4.frame.LZ4FrameDecompressor,
}

# Cheapest first: both ends are usually on one machine.
_ENCODERS: dict[str, Callable[[bytes | memoryview], bytes]] = {
    "lz4": lz4.frame.compress,
    # A compressor of its own for every reply: they are not safe to share between threads.
    "zstd": lambda data: zstandard.ZstdCompressor(level=1).compress(data),
    "gzip": lambda data: gzip.compress(data, compresslevel=1),
    "deflate": lambda data: zlib.compress(data, level=1),
}


def decoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The plain bytes of a body sent with this Content-Encoding; refuses what is unknown, broken or cut short."""
    if encoding in {"", "identity"}:
        yield from chunks
        return
    make = _DECODERS.get(encoding)
    if make is None:
        known = ", ".join(sorted(_DECODERS))
        raise QueryFailed(48, "NOT_IMPLEMENTED", f"Unknown Content-Encoding {encoding!r}; known are {known}.")
    decoder, rest = make(), b""
    started = ended = False
    for chunk in chunks:
        rest = rest + chunk if rest else chunk
        while rest:
            if ended:
                # Several frames one after the other are one body (clickhouse-connect sends a frame per block).
                decoder, ended = make(), False
            started = True
            try:
                plain = decoder.decompress(rest)
            except (zlib.error, zstandard.ZstdError, RuntimeError, EOFError) as error:
                raise QueryFailed(271, "CANNOT_DECOMPRESS", f"The {encoding} body is broken: {error}") from None
            ended = bool(getattr(decoder, "eof", False))
            rest = (getattr(decoder, "unused_data", b"") or b"") if ended else b""
            if plain:
                yield plain
    if started and not ended:
        raise QueryFailed(271, "CANNOT_DECOMPRESS", f"The {encoding} body ends in the middle of a frame.")


def chosen(accept_encoding: str) -> str | None:
    """The encoding for a reply to a client that sent this `Accept-Encoding`, or None for a plain one."""
    offered = {
        part.partition(";")[0].strip().lower() for part in accept_encoding.split(",") if "q=0" not in part.split(";")
    }
    return next((name for name in _ENCODERS if name in offered), None)


def encoded(data: bytes | memoryview, encoding: str) -> bytes:
    """`data` in one of the encodings that `chosen` returns."""
    return _ENCODERS[encoding](data)
