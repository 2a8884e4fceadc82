"""Stand-ins for what the launcher starts, and looks at the processes of this machine."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sentinel.launch.process import Child, Spec, always

PATIENT = "import signal; signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
WITH_CHILD = """
import subprocess, sys, signal
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
signal.pause()
"""


def child(
    code: str = PATIENT,
    *,
    name: str = "stand-in",
    ready: Callable[[], bool] = always,
    ready_seconds: float = 10.0,
    stop_seconds: float = 5.0,
    orphan_signal: signal.Signals = signal.SIGKILL,
    log: Path | None = None,
) -> Child:
    """A process that runs this code."""
    return Child(
        Spec(
            name=name,
            argv=(sys.executable, "-c", code),
            ready=ready,
            ready_seconds=ready_seconds,
            stop_seconds=stop_seconds,
            orphan_signal=orphan_signal,
            log=log,
        )
    )


def lives(pid: int) -> bool:
    """True while a process has this number and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> set[int]:
    """All living processes below this one, however deep."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, rest = stat.read_text(encoding="utf-8").split(" (", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(number)] = int(rest.rsplit(")", 1)[1].split()[1])
    found: set[int] = set()
    while more := {each for each, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found
