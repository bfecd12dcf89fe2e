"""E5: rows on this machine's disk. What was acknowledged is read back after any crash, in order; nothing else is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from billing.errors import Unavailable
from ingestion.journal import Journal

ROOM = 1_000_000


def _drained(journal: Journal) -> list[bytes]:
    found: list[bytes] = []
    while (segment := journal.oldest) is not None:
        found += segment.records()
        journal.remove(segment)
    return found


def _crashed(journal: Journal) -> None:
    """As if the process had died: nothing is tidied up, only the locks are gone."""
    journal.seal()
    for _, lock in journal._adopted:
        os.close(lock)
    journal._adopted = []


def test_E5_rows_come_back_in_the_order_in_which_they_were_acknowledged(tmp_path: Path) -> None:
    journal = Journal(tmp_path, ROOM)
    journal.append([(b"a\n", 1), (b"b\nc\n", 2)])
    journal.append([(b"d\n", 1)])
    assert (journal.events, journal.oldest is not None) == (4, True)
    assert _drained(journal) == [b"a\n", b"b\nc\n", b"d\n"]
    assert (journal.events, journal.size, journal.oldest) == (0, 0, None)
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_E5_the_next_process_takes_over_what_a_dead_one_has_left(tmp_path: Path) -> None:
    dead = Journal(tmp_path, ROOM)
    dead.append([(b"a\n", 1)])
    _crashed(dead)
    heir = Journal(tmp_path, ROOM)
    heir.append([(b"b\n", 1)])
    assert heir.events == 2
    assert _drained(heir) == [b"a\n", b"b\n"]
    heir.close()
    assert list(tmp_path.iterdir()) == []


def test_two_processes_never_read_the_same_journal(tmp_path: Path) -> None:
    one, other = Journal(tmp_path, ROOM), Journal(tmp_path, ROOM)
    one.append([(b"a\n", 1)])
    assert other.oldest is None
    other.close()
    assert _drained(one) == [b"a\n"]
    one.close()


@pytest.mark.parametrize("cut", range(1, 15))
def test_E5_after_a_crash_at_any_byte_the_acknowledged_records_are_whole_and_the_torn_one_is_gone(
    tmp_path: Path, cut: int
) -> None:
    dead = Journal(tmp_path, ROOM)
    dead.append([(b"first\n", 1)])
    dead.append([(b"second, which is torn\n", 1)])
    segment = dead.oldest
    assert segment is not None
    _crashed(dead)
    os.truncate(segment.path, segment.path.stat().st_size - cut)
    heir = Journal(tmp_path, ROOM)
    assert _drained(heir) == [b"first\n"]
    heir.close()


def test_a_damaged_record_is_not_taken_for_rows(tmp_path: Path) -> None:
    dead = Journal(tmp_path, ROOM)
    dead.append([(b"first\n", 1)])
    dead.append([(b"second\n", 1)])
    segment = dead.oldest
    assert segment is not None
    _crashed(dead)
    content = bytearray(segment.path.read_bytes())
    content[-2] ^= 1
    segment.path.write_bytes(content)
    heir = Journal(tmp_path, ROOM)
    assert _drained(heir) == [b"first\n"]
    heir.close()


def test_E5_a_full_journal_takes_nothing_and_says_when_to_come_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 60)
    journal.append([(b"x" * 30, 1)])
    with pytest.raises(Unavailable) as refused:
        journal.append([(b"y" * 30, 1)])
    assert (refused.value.code, refused.value.retry_after_seconds) == ("journal_full", 10)
    assert _drained(journal) == [b"x" * 30]
    journal.close()


def test_E5_a_disk_that_is_full_is_not_a_lie_and_leaves_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, ROOM)
    journal.append([(b"first\n", 1)])

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(Unavailable) as refused:
            journal.append([(b"second\n", 1)])
    assert refused.value.code == "journal_failed"
    journal.append([(b"third\n", 1)])
    assert _drained(journal) == [b"first\n", b"third\n"]
    journal.close()


def test_a_segment_that_is_drained_does_not_grow_meanwhile(tmp_path: Path) -> None:
    journal = Journal(tmp_path, ROOM)
    journal.append([(b"a\n", 1)])
    journal.seal()
    draining = journal.oldest
    assert draining is not None
    journal.append([(b"b\n", 1)])
    assert list(draining.records()) == [b"a\n"]
    journal.remove(draining)
    assert _drained(journal) == [b"b\n"]
    journal.close()


def test_rows_that_the_warehouse_refuses_are_kept_where_people_find_them(tmp_path: Path) -> None:
    journal = Journal(tmp_path, ROOM)
    place = journal.set_aside(b'{"bad":1}\n')
    assert place.read_bytes() == b'{"bad":1}\n'
    assert place.parent == tmp_path
    journal.close()
    assert place.exists()
