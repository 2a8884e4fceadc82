"""The folder through which the processes of one node share their metrics; must be clean before any of them starts.

Knows files only: `prometheus_client` reads the variable when it is imported, so it must not be imported here.
"""

import os
import re
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_KINDS = ("counter", "histogram", "gauge_livesum", "gauge_mostrecent")
_CLAIMED_BYTES = 256 * 1024  # above what the label sets of one process need, so that no file grows


def empty(folder: Path) -> None:
    """Remove the counters of the last run; nobody writes yet."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what processes that are gone left behind, and what an earlier process with our own number left."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        owner = re.search(r"_(\d+)\.db$", file.name)
        if owner and (int(owner[1]) == os.getpid() or not _exists(int(owner[1]))):
            file.unlink(missing_ok=True)


def claim(folder: Path) -> None:
    """Give the files of this process all their disk before they are mapped. Raises OSError.

    `prometheus_client` leaves holes in them, and the kernel kills (SIGBUS) whoever writes into one on a full disk.
    """
    for kind in _KINDS:
        with (folder / f"{kind}_{os.getpid()}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, _CLAIMED_BYTES)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
