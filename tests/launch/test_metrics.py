"""The metrics folder: counters of dead processes never come back."""

import os
import subprocess
import sys
from pathlib import Path

from sentinel.launch import metrics


def written(folder: Path, *pids: int) -> None:
    for pid in pids:
        (folder / f"counter_{pid}.db").write_bytes(b"x")


def left(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_the_launcher_empties_it(tmp_path: Path) -> None:
    written(tmp_path, os.getppid(), 1)

    metrics.empty(tmp_path)

    assert left(tmp_path) == set()


def test_a_single_process_removes_what_the_dead_and_its_own_number_left(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    written(tmp_path, dead.pid, os.getpid(), os.getppid())
    (tmp_path / "note.txt").touch()

    metrics.sweep(tmp_path)

    assert left(tmp_path) == {f"counter_{os.getppid()}.db", "note.txt"}


def test_what_a_process_claims_has_no_holes_and_keeps_what_was_there(tmp_path: Path) -> None:
    mine = tmp_path / f"counter_{os.getpid()}.db"
    mine.write_bytes(b"x")

    metrics.claim(tmp_path)

    assert mine.read_bytes()[:1] == b"x"
    assert {kind.name.rpartition("_")[0] for kind in tmp_path.iterdir()} == {
        "counter", "histogram", "gauge_livesum", "gauge_mostrecent",
    }  # fmt: skip
    for file in tmp_path.iterdir():
        assert file.stat().st_blocks * 512 >= file.stat().st_size >= 64 * 1024
