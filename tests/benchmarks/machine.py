"""The machine: its name, its cores, and what a process and its children used of it. Linux only."""

import os
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the server under test runs, and where all else does."""

    server: int
    load: int

    @property
    def are_apart(self) -> bool:
        """Whether there are two of them."""
        return self.server != self.load


def cores() -> Cores:
    """The first two cores that we may use; the same one twice where there is but one."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[min(1, len(usable) - 1)])


def name() -> str:
    """CPU model, cores, kernel, Python: what a figure means nothing without."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    cpu = model.group(1).strip() if model else platform.machine()
    return f"{cpu}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for member in found:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            found.extend(int(child) for child in children.read_text(encoding="ascii").split())
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children so far.

    Read from the process' CPU clock, which is the sum of the two fields in /proc/PID/stat before it is cut to ticks of
    10 ms; its number is built as clock_getcpuclockid(3) does.
    """
    return sum(time.clock_gettime((~member << 3) | 2) for member in family(pid))


def worker(pid: int) -> int:
    """The largest process of a family: of a gateway's, the one that serves."""
    return max(family(pid), key=_resident)


def memory_mb(pid: int) -> float:
    """Resident memory of the process that serves."""
    return _resident(worker(pid)) / MEGABYTE


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0
