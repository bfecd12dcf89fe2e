"""The body of a request: read from the socket once, kept in memory while small and in a file when large."""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

from warehouse_sql.embedded.datafile import DataFile
from warehouse_sql.embedded.failure import QueryFailed

_CHUNK = 1 << 20
_IN_MEMORY = 32 << 20


def from_socket(stream: BufferedIOBase, content_length: str | None, transfer_encoding: str) -> Iterator[bytes]:
    """The bytes of a body as they were sent; ConnectionError where the client went away in the middle."""
    if transfer_encoding:
        if transfer_encoding.lower() != "chunked" or content_length is not None:
            raise QueryFailed(36, "BAD_ARGUMENTS", "Send either Content-Length or Transfer-Encoding: chunked.")
        yield from _chunked(stream)
        return
    if content_length is not None and not (content_length.isascii() and content_length.isdigit()):
        raise QueryFailed(36, "BAD_ARGUMENTS", "Content-Length is not a number.")
    yield from _exactly(stream, int(content_length or 0))


def _exactly(stream: BufferedIOBase, length: int) -> Iterator[bytes]:
    while length:
        chunk = stream.read(min(length, _CHUNK))
        if not chunk:
            raise ConnectionError("the client went away in the middle of its body")
        length -= len(chunk)
        yield chunk


def _chunked(stream: BufferedIOBase) -> Iterator[bytes]:
    while True:
        size = stream.readline(100).partition(b";")[0].strip()
        if not size or size.strip(b"0123456789abcdefABCDEF"):
            raise ConnectionError("the client sent a broken chunk, or went away in the middle of its body")
        if int(size, 16) == 0:
            while stream.readline(1000) not in {b"\r\n", b"\n", b""}:
                pass
            return
        yield from _exactly(stream, int(size, 16))
        stream.readline(3)


class Body:
    """A received body; `close` frees its files."""

    def __init__(self, chunks: Iterator[bytes], directory: Path, limit: int) -> None:
        self._directory = directory
        self._pieces: list[bytes] = []
        self._large: DataFile | None = None
        self._made: list[DataFile] = []
        self.size = 0
        try:
            for chunk in chunks:
                self._keep(chunk, limit)
        except BaseException:
            self.close()
            raise

    def _keep(self, chunk: bytes, limit: int) -> None:
        self.size += len(chunk)
        if self.size > limit:
            raise QueryFailed(290, "LIMIT_EXCEEDED", f"The body is larger than {limit} bytes.")
        self._pieces.append(chunk)
        if self.size > _IN_MEMORY:
            self._large = self._large or self._new_file(in_memory=False)
            self._large.write(self._pieces)
            self._pieces = []

    def _new_file(self, *, in_memory: bool) -> DataFile:
        self._made.append(DataFile(self._directory, in_memory=in_memory))
        return self._made[-1]

    def head(self, size: int) -> bytes:
        """The first `size` bytes."""
        return self._small()[:size] if self._large is None else self._large.read(0, size)

    def whole(self, start: int = 0) -> bytes | None:
        """All bytes from `start` on, or None where the body is too large for memory."""
        return self._small()[start:] if self._large is None else None

    def path(self, first: bytes = b"", start: int = 0) -> str:
        """A file that holds `first` and then the bytes from `start` on; it lives as long as this body."""
        if self._large is not None and not first and not start:
            return self._large.path()
        copy = self._new_file(in_memory=self._large is None)
        copy.write((first,))
        copy.write(self._from(start))
        return copy.path()

    def _from(self, start: int) -> Iterator[bytes]:
        if self._large is None:
            yield self._small()[start:]
            return
        while chunk := self._large.read(start, _CHUNK):
            yield chunk
            start += len(chunk)

    def _small(self) -> bytes:
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def close(self) -> None:
        """Frees the files."""
        for file in self._made:
            file.close()
