import asyncio
import fcntl
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.config import BASE_DIR
from usage.journal import Journal, orphans, read

RECORDS = [b"first", b"", b"third" * 8]
HEAD = 8


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal", 600)
    made.open()
    yield made
    made.close()


def segments(journal: Journal) -> list[Path]:
    return sorted(journal.folder.glob("*.journal"))


async def fill(journal: Journal, records: list[bytes] = RECORDS) -> Path:
    for record in records:
        journal.append(record)
    await journal.sync()
    return segments(journal)[-1]


async def test_records_come_back_in_order_also_those_of_this_loop_turn(journal: Journal) -> None:
    for record in RECORDS:
        journal.append(record)

    assert list(journal.records()) == RECORDS


async def test_what_was_appended_reaches_the_kernel_at_the_end_of_the_loop_turn(journal: Journal) -> None:
    journal.append(b"x")
    assert segments(journal)[0].stat().st_size == 0

    turned = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turned.set_result, None)
    await turned

    assert list(read(segments(journal)[0])) == [b"x"]


async def test_a_tail_torn_at_any_byte_loses_only_the_record_it_tears(journal: Journal, tmp_path: Path) -> None:
    whole = (await fill(journal)).read_bytes()
    ends = [sum(len(record) + HEAD for record in RECORDS[: n + 1]) for n in range(len(RECORDS))]
    torn = tmp_path / "torn.journal"

    for length in range(len(whole) + 1):
        torn.write_bytes(whole[:length])
        assert list(read(torn)) == RECORDS[: sum(end <= length for end in ends)]


async def test_a_flipped_byte_is_never_read_as_a_record(journal: Journal, tmp_path: Path) -> None:
    whole = (await fill(journal)).read_bytes()
    bad = tmp_path / "bad.journal"

    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 0x40
        bad.write_bytes(flipped)
        found = list(read(bad))
        assert found == RECORDS[: len(found)]
        assert len(found) < len(RECORDS)


@given(st.binary(max_size=200))
def test_garbage_is_read_as_nothing_or_as_what_carries_its_checksum(garbage: bytes) -> None:
    path = Path(f"/tmp/sentinel-garbage-{os.getpid()}.journal")  # noqa: S108 - one name per process
    path.write_bytes(garbage)
    try:
        assert sum(len(record) + HEAD for record in read(path)) <= len(garbage)
    finally:
        path.unlink()


class Disk:
    """Counts fsyncs, and can hold them up or fail them; stands where the operating system's stands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[int] = []
        self.failures = 0
        self.gate = threading.Event()
        self.gate.set()
        monkeypatch.setattr(os, "fdatasync", self._sync)

    def _sync(self, fd: int) -> None:
        self.synced.append(os.fstat(fd).st_size)
        self.gate.wait(5)
        if self.failures:
            self.failures -= 1
            raise OSError(5, "Input/output error")


async def test_callers_that_come_together_share_an_fsync(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    disk.gate.clear()

    async def keep(number: int) -> None:
        journal.append(b"%d" % number)
        await journal.sync()

    waiting = [asyncio.ensure_future(keep(number)) for number in range(100)]
    asyncio.get_running_loop().call_later(0.02, disk.gate.set)
    await asyncio.gather(*waiting)

    assert len(disk.synced) <= 2
    assert disk.synced[-1] == segments(journal)[0].stat().st_size


async def test_nobody_is_told_durable_by_an_fsync_that_began_before_their_record(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    disk.gate.clear()
    journal.append(b"early")
    first = asyncio.ensure_future(journal.sync())
    while not disk.synced:
        await _turn()

    journal.append(b"late")
    second = asyncio.ensure_future(journal.sync())
    await _turn()
    disk.gate.set()
    await asyncio.gather(first, second)

    assert disk.synced == [HEAD + 5, 2 * HEAD + 9]


async def test_a_caller_that_is_cancelled_does_not_spoil_the_fsync_of_others(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    disk.gate.clear()
    journal.append(b"x")
    first, second = asyncio.ensure_future(journal.sync()), asyncio.ensure_future(journal.sync())
    await _turn()

    first.cancel()
    disk.gate.set()
    await second

    assert disk.synced


async def test_after_a_failed_fsync_everything_is_written_and_synced_in_a_new_segment(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    disk.failures = 1

    await fill(journal)

    assert len(segments(journal)) == 2
    assert list(read(segments(journal)[-1])) == RECORDS


async def test_an_fsync_that_fails_twice_is_reported_and_mended_by_the_next(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    disk.failures = 2

    with pytest.raises(OSError, match="Input/output"):
        await fill(journal)
    disk.failures = 0
    await fill(journal, [b"later"])

    assert {*RECORDS, b"later"} <= set(journal.records())


class FullDisk:
    """No file may grow beyond `size` bytes inside the block: the kernel writes part of a record, then fails."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __enter__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._size, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


async def test_what_is_synced_after_the_disk_was_full_can_be_read_back(journal: Journal) -> None:
    large = [bytes([number]) * 400_000 for number in range(4)]

    with FullDisk(1_000_000):
        for _ in range(3):
            with pytest.raises(OSError, match="large"):
                await fill(journal, large[:3])
    await fill(journal, [large[3], b"after"])

    assert set(journal.records()) == {*large, b"after"}
    assert list(journal.folder.glob("*.new")) == []
    assert len(segments(journal)) == 2


async def test_a_full_disk_without_a_waiter_is_made_good_by_the_next_append(journal: Journal) -> None:
    with FullDisk(1_000_000):
        journal.append(b"x" * 600_000)
        journal.append(b"y" * 600_000)
        await _turn()
        await _turn()
    journal.append(b"z")

    assert {record[:1] for record in journal.records()} == {b"x", b"y", b"z"}


async def test_a_folder_that_vanished_is_an_error_and_not_a_silent_loss(journal: Journal) -> None:
    journal._keep_seconds = 0  # every segment is old
    shutil.rmtree(journal.folder)

    with pytest.raises(OSError, match="No such file"):
        journal.tidy()

    journal.append(b"x")
    await journal.sync()  # the open file still takes it


def test_a_folder_that_cannot_be_made_is_reported_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        Journal(tmp_path / "file" / "journal", 600).open()


async def test_old_segments_are_dropped_and_young_ones_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0.0)
    journal.open()
    await fill(journal, [b"old"])
    for _ in range(3):
        journal.tidy()
    await fill(journal, [b"new"])

    assert list(journal.records()) == [b"new"]
    assert len(segments(journal)) <= 2
    journal.close()


async def test_segments_of_one_millisecond_have_names_of_their_own(journal: Journal) -> None:
    for number in range(20):
        await fill(journal, [b"%d" % number])
        journal._rotate()

    assert len(segments(journal)) == 21
    assert list(journal.records()) == [b"%d" % number for number in range(20)]


async def test_segments_within_their_keep_time_stay(journal: Journal) -> None:
    await fill(journal)
    journal.tidy()

    assert len(segments(journal)) == 1


async def test_segments_of_a_living_process_are_nobodys_orphans(journal: Journal) -> None:
    await fill(journal)

    assert list(orphans(journal.folder)) == []


async def test_what_a_process_leaves_is_adopted_by_one_of_two(journal: Journal) -> None:
    path = await fill(journal)
    journal.close()

    adopted = list(orphans(journal.folder))
    at_once = list(orphans(journal.folder))
    found = list(read(adopted[0].path))
    adopted[0].remove()

    assert (len(adopted), at_once, found) == (1, [], RECORDS)
    assert not path.exists()


async def test_an_orphan_that_could_not_be_replayed_is_left_for_another(journal: Journal) -> None:
    await fill(journal)
    journal.close()

    for orphan in orphans(journal.folder):
        orphan.leave()

    again = list(orphans(journal.folder))
    assert len(again) == 1
    again[0].remove()


WRITER = """
import asyncio, sys
from pathlib import Path
from usage.journal import Journal

async def write():
    journal = Journal(Path(sys.argv[1]), 600)
    journal.open()
    journal.append(b"written before the end")
    await journal.sync()
    print("ready", flush=True)
    sys.stdin.read()

asyncio.run(write())
"""


def test_a_killed_process_leaves_its_records_and_its_lock_ends_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, cwd=BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        assert list(orphans(tmp_path)) == []
        writer.kill()
        writer.wait(10)

    (orphan,) = orphans(tmp_path)
    assert list(read(orphan.path)) == [b"written before the end"]
    orphan.remove()


def test_a_segment_is_locked_before_it_can_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    lock = fcntl.flock

    def look_and_lock(fd: int, how: int) -> None:
        seen.append(list(tmp_path.glob("*.journal")))
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", look_and_lock)
    journal = Journal(tmp_path, 600)

    journal.open()

    assert seen == [[]]
    assert len(segments(journal)) == 1
    journal.close()


async def _turn() -> None:
    turned = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turned.set_result, None)
    await turned
