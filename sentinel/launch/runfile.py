"""The run file: what a running stack tells commands in other shells, and the lock that keeps a second stack away.

Its lock is held for as long as the launcher lives, so the file of a killed launcher is never believed
(`sentinel.sources` reads it). It may hold the simulators' keys, hence mode 0600.
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sentinel.launch.errors import LaunchError
from sentinel.sources import RUN_FILE, read_run_file

LOCK_TRIES = 20  # a reader holds the lock for microseconds; another launcher for good


class RunFile:
    """The open, locked file of this launcher."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._size = 0
        file.truncate(0)

    def write(self, facts: Mapping[str, object]) -> None:
        """Replace the content. In place: a new file would not carry the lock. In one write, never shorter than before:
        who reads meanwhile finds the old or the new."""
        text = json.dumps(facts, indent=2).encode() + b"\n"
        self._size = max(self._size, len(text))
        os.pwrite(self._file.fileno(), text.ljust(self._size), 0)


@contextmanager
def hold(data_dir: Path) -> Iterator[RunFile]:
    """Own the data folder. Raises LaunchError when another stack runs from it."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data_dir / RUN_FILE
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        if not _lock(file):
            other = read_run_file(data_dir)
            who = f"pid {other.get('pid', 'unknown')}, {other.get('url', 'starting')}"
            raise LaunchError(
                f"Sentinel already runs from {data_dir} ({who}). Stop it, or set SENTINEL_DATA_DIR to another folder."
            )
        try:
            yield RunFile(file)
        finally:
            path.unlink(missing_ok=True)


def _lock(file: TextIO) -> bool:
    pause = threading.Event()
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pause.wait(0.01)
        else:
            return True
    return False


def claim(data_dir: Path, purpose: str) -> None:
    """Keep the sandbox's ledger and a real one apart: a folder serves one purpose for ever. Raises LaunchError."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    marker = data_dir / "purpose"
    if not marker.exists():
        marker.write_text(purpose, encoding="utf-8")
    if (found := marker.read_text(encoding="utf-8").strip()) != purpose:
        raise LaunchError(
            f"{data_dir} holds the ledger of `{found}`, which must not mix with that of `{purpose}`."
            f" Set SENTINEL_DATA_DIR to another folder, such as {data_dir / purpose}."
        )
