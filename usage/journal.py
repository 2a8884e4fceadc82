"""A local, append-only file of settles: what brings usage back when Redis could not take it, or lost it.

Record: length and CRC-32 of the payload (two big-endian 32-bit integers), then the payload. A torn tail ends a file.
One process writes one segment at a time and holds a lock on it; whoever finds a segment without its lock replays it.

1. `append` hands records to the kernel once per loop turn: they survive the death of the process.
2. `sync` makes all that was appended survive the death of the machine; callers that come together share one fsync.
3. After a failed write or fsync the segment is given up: what it had is written again to a new one.
"""

import asyncio
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from zlib import crc32

import structlog

from sentinel.lib import clock
from sentinel.lib.background import spawn

log = structlog.get_logger("journal")
_HEAD = struct.Struct(">II")
_LARGEST_RECORD = 1 << 20
_LARGEST_SEGMENT = 16 * 1024 * 1024  # also what is kept in memory, to be written again should the disk fail
_SEGMENTS_KEPT = 4  # the keep time is cut into this many segments, so that it can be dropped in parts


class Journal:
    """The segments of this process. `keep_seconds` is how long settled records stay for a replay."""

    def __init__(self, folder: Path, keep_seconds: float) -> None:
        self.folder = folder
        self._keep_seconds = keep_seconds
        self._fd = -1
        self._segments: list[tuple[float, Path, int]] = []
        self._buffer: list[bytes] = []
        self._since_rotation: list[bytes] = []
        self._carried_bytes = 0
        self._flush_planned = False
        self._syncing: asyncio.Task[None] | None = None
        self._is_torn = False

    def open(self) -> None:
        """Start the first segment. Raises OSError when the folder cannot be written."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._rotate()

    def append(self, payload: bytes) -> None:
        """Take a record; it reaches the kernel at the end of this loop turn."""
        self._buffer.append(_HEAD.pack(len(payload), crc32(payload)) + payload)
        if not self._flush_planned:
            self._flush_planned = True
            asyncio.get_running_loop().call_soon(self._flush_quietly)

    async def sync(self) -> None:
        """Return once everything appended so far is on the disk. Raises OSError when no segment takes it."""
        if self._syncing is not None:  # that fsync may have begun before our record was written
            await asyncio.wait([self._syncing])
        if self._syncing is None:  # else one of those who waited with us has begun the next, which is ours too
            self._syncing = spawn(self._sync_all())
        await asyncio.shield(self._syncing)

    async def _sync_all(self) -> None:
        try:
            self._flush()
            try:
                await asyncio.to_thread(os.fdatasync, self._fd)
            except OSError as error:
                # A failed fsync may have dropped pages: never ask the same file again and believe it.
                log.critical("journal_fsync_failed", reason=str(error))
                self._start_anew()
                await asyncio.to_thread(os.fdatasync, self._fd)
        finally:
            self._syncing = None

    def records(self) -> Iterator[bytes]:
        """The payloads of this process' own segments, oldest first."""
        self._flush_quietly()
        for _, path, _ in self._segments:
            yield from read(path)

    def tidy(self) -> None:
        """Start a new segment when the present one is old enough, drop those past the keep time.

        Raises OSError when a new one cannot be written; the present one serves on.
        """
        now = clock.monotonic()
        is_old = now - self._segments[-1][0] > self._keep_seconds / _SEGMENTS_KEPT
        if (is_old or self._carried_bytes > _LARGEST_SEGMENT) and not self._is_torn:
            self._rotate()
        while len(self._segments) > 1 and now - self._segments[1][0] > self._keep_seconds:
            _, path, fd = self._segments.pop(0)
            path.unlink(missing_ok=True)
            os.close(fd)

    def close(self) -> None:
        """Leave the segments behind, unlocked: a sibling or the next process replays and removes them."""
        self._flush_quietly()
        for _, _, fd in self._segments:
            os.close(fd)
        self._segments.clear()

    def _flush_quietly(self) -> None:
        try:
            self._flush()
        except OSError as error:
            log.critical("journal_write_failed", reason=str(error))

    def _flush(self) -> None:
        self._flush_planned = False
        records, self._buffer = self._buffer, []
        self._since_rotation += records
        self._carried_bytes += sum(map(len, records))
        if not self._is_torn:
            try:
                _write(self._fd, b"".join(records))
            except OSError:
                self._is_torn = True
        if self._is_torn:
            self._start_anew()

    def _start_anew(self) -> None:
        """Write all that the given-up segment had to a new one. Until that works nothing counts as written."""
        self._is_torn = True
        self._rotate(self._since_rotation)
        self._is_torn = False

    def _rotate(self, carried: list[bytes] | None = None) -> None:
        # Locked before it has its name: nobody may take it for one that its process left behind.
        # By chance no two names are alike: containers that share the folder have the same process ids, and the rename
        # of a second one would replace the first.
        path = self.folder / f"{os.getpid()}-{clock.now_ms()}-{token_hex(4)}.journal"
        new = path.with_suffix(".new")
        fd = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(fd, b"".join(carried or []))
            new.rename(path)
            _sync_folder(self.folder)
        except OSError:
            new.unlink(missing_ok=True)
            os.close(fd)
            raise
        self._fd = fd
        self._segments.append((clock.monotonic(), path, fd))
        self._since_rotation = list(carried or [])
        self._carried_bytes = sum(map(len, self._since_rotation))


def read(path: Path) -> Iterator[bytes]:
    """The intact payloads of a segment, up to its torn tail."""
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            payload = file.read(length) if length <= _LARGEST_RECORD else b""
            if len(payload) != length or crc32(payload) != checksum:
                log.warning("journal_torn", segment=path.name)
                return
            yield payload


class Orphan:
    """A segment whose process is gone, locked by us while we replay it."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path, self._fd = path, fd

    def remove(self) -> None:
        """All of it was replayed."""
        self.path.unlink(missing_ok=True)
        os.close(self._fd)

    def leave(self) -> None:
        """Not all of it was replayed: somebody tries again later."""
        os.close(self._fd)


def orphans(folder: Path) -> Iterator[Orphan]:
    """Segments that no living process holds."""
    for path in sorted(folder.glob("*.journal")):
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            continue
        yield Orphan(path, fd)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
