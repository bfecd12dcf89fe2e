"""Rows on this machine's own disk while the warehouse is down or slow: bounded, synced, and kept in order (promise E5).

A journal is a directory of segments, files of records that are only ever appended to. Each process has a journal of its
own, locked for as long as it lives; the journals of processes that have died are adopted by the next one that starts.
A record is acknowledged after an fsync. A segment goes away as a whole, when all of it is in the warehouse: what a
crash interrupts is written once more, which counts nobody's event twice, since an identity counts once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import uuid
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from billing.errors import Unavailable

__all__ = ["Journal", "Segment", "journal_full"]

log = logging.getLogger(__name__)

# length of the rows, their number, and a checksum over both and the rows
_HEAD: Final = struct.Struct("<III")
_NUMBERS: Final = struct.Struct("<II")
_SEGMENT_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of records; `size` is what of it is whole, in bytes."""

    path: Path
    size: int
    events: int

    def records(self) -> Iterator[bytes]:
        """The rows of each record, as they were appended."""
        with self.path.open("rb") as file:
            while file.tell() < self.size:
                length, _, _ = _HEAD.unpack(file.read(_HEAD.size))
                yield file.read(length)

    @property
    def written_at(self) -> float:
        """When it was last appended to, in Unix seconds."""
        return self.path.stat().st_mtime


class Journal:
    """The journal of this process. One thread at a time may call it; its properties may be read from any.

    Raises OSError where the directory cannot be written to at all.
    """

    def __init__(self, directory: Path, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._segments: deque[Segment] = deque()
        self._file: BinaryIO | None = None
        self._number = 0
        self._size = self._events = 0
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._adopted = [found for place in sorted(directory.iterdir()) if (found := _lock(place)) is not None]
        for place, _ in self._adopted:
            for segment in _segments_in(place):
                self._segments.append(segment)
                self._size, self._events = self._size + segment.size, self._events + segment.events
        self._own, lock = _new_place(directory)
        self._adopted.append((self._own, lock))
        if self._segments:
            log.warning("the journal holds %d events that are not in the warehouse yet", self.events)

    @property
    def size(self) -> int:
        """How many bytes wait; at most the bound."""
        return self._size

    @property
    def events(self) -> int:
        """How many events wait."""
        return self._events

    @property
    def is_full(self) -> bool:
        """Whether the bound is reached."""
        return self.size >= self._most_bytes

    @property
    def oldest(self) -> Segment | None:
        """What has to go into the warehouse next."""
        try:
            return self._segments[0]
        except IndexError:
            return None

    def append(self, batches: Sequence[tuple[bytes, int]]) -> None:
        """Adds rows, each with its number of events; they are on disk when this returns.

        Unavailable `journal_full` or `journal_failed`: then none of them is in the journal.
        """
        size = sum(_HEAD.size + len(rows) for rows, _ in batches)
        if self._size + size > self._most_bytes:
            raise journal_full()
        try:
            self._write(batches, size)
        except OSError as error:
            self._cut_back()
            log.error("the journal cannot be written: %s", error.strerror)  # noqa: TRY400 -- the reason is all there is
            raise Unavailable(
                "journal_failed",
                "The warehouse cannot be reached, and the journal that stands in for it cannot be written.",
                hint="Send the same events again after the seconds that Retry-After names.",
                retry_after_seconds=10,
            ) from error

    def seal(self) -> None:
        """Ends the segment that is appended to, so that all that is known so far can go."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self, segment: Segment) -> None:
        """Forgets a segment whose rows are all in the warehouse."""
        if self._segments and self._segments[0].path == segment.path:
            gone = self._segments.popleft()
            self._size, self._events = self._size - gone.size, self._events - gone.events
        segment.path.unlink(missing_ok=True)

    def set_aside(self, rows: bytes) -> Path:
        """Keeps rows that the warehouse refuses in a file of their own, where people find them."""
        place = self._own.parent / f"refused-{uuid.uuid4().hex}.ndjson"
        with place.open("wb") as file:
            file.write(rows)
            file.flush()
            os.fsync(file.fileno())
        _sync(place.parent)
        return place

    def close(self) -> None:
        """Lets go of the directories; what is in them stays for the next process."""
        self.seal()
        for place, lock in self._adopted:
            if not any(place.glob("*.segment")):
                for left in place.iterdir():
                    left.unlink()
                place.rmdir()
            os.close(lock)
        self._adopted = []

    def _write(self, batches: Sequence[tuple[bytes, int]], size: int) -> None:
        if self._file is None or self._segments[-1].size >= _SEGMENT_BYTES:
            self.seal()
            self._number += 1
            path = self._own / f"{self._number:012}.segment"
            self._file = path.open("xb", buffering=0)
            self._segments.append(Segment(path, 0, 0))
            _sync(self._own)
        pieces = bytearray()
        for rows, events in batches:
            pieces += _HEAD.pack(len(rows), events, _checksum(rows, events)) + rows
        written = 0
        while written < size:
            written += self._file.write(memoryview(pieces)[written:]) or 0
        os.fsync(self._file.fileno())
        last = self._segments[-1]
        count = sum(events for _, events in batches)
        self._segments[-1] = Segment(last.path, last.size + size, last.events + count)
        self._size, self._events = self._size + size, self._events + count

    def _cut_back(self) -> None:
        """After a failed write: what comes next must not stand behind half a record, so it gets a file of its own."""
        self.seal()
        if self._segments and self._segments[-1].size == 0:
            self._segments.pop().path.unlink(missing_ok=True)


def journal_full() -> Unavailable:
    """What a request is told that would not fit."""
    return Unavailable(
        "journal_full",
        "The warehouse cannot be reached, and the journal that stands in for it is full.",
        hint="Send the same events again after the seconds that Retry-After names.",
        retry_after_seconds=10,
    )


def _new_place(directory: Path) -> tuple[Path, int]:
    while True:
        place = directory / uuid.uuid4().hex
        place.mkdir(mode=0o700)
        # Another process that starts just now may take the new directory for one that was left behind.
        if (locked := _lock(place)) is not None:
            _sync(directory)
            return locked


def _lock(place: Path) -> tuple[Path, int] | None:
    """The directory and its lock, or None where it is no journal or belongs to a process that lives."""
    if not place.is_dir():
        return None
    try:
        lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None  # Its process has just ended and tidied up.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    if not (place / "lock").exists():
        os.close(lock)
        return None
    return place, lock


def _segments_in(place: Path) -> Iterator[Segment]:
    for path in sorted(place.glob("*.segment")):
        size, events = _whole(path)
        left = path.stat().st_size - size
        if left:
            # The end of a write that was never acknowledged, or damage; it stays in the file either way.
            log.warning("%d bytes at the end of the journal's segment %s are no whole record", left, path.name)
        yield Segment(path, size, events)


def _whole(path: Path) -> tuple[int, int]:
    """How many bytes from the start on are whole records, and how many events these hold."""
    size = events = 0
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, count, checksum = _HEAD.unpack(head)
            rows = file.read(length)
            if len(rows) != length or _checksum(rows, count) != checksum:
                break
            size, events = file.tell(), events + count
    return size, events


def _checksum(rows: bytes, events: int) -> int:
    return zlib.crc32(rows, zlib.crc32(_NUMBERS.pack(len(rows), events)))


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
