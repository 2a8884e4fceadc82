"""The folder through which the processes of one node share their metrics; must be clean before any of them starts.

Knows files only: `prometheus_client` reads the variable when it is imported, so it must not be imported here.
"""

import os
import re
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


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


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
