"""Plain calls under full load: `wrk` with 32 connections, every answer checked for its status."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import machine
from tests.benchmarks.stand import Target

CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Plain:
    """One round of plain calls."""

    cpu_us: float  # of the server, per call
    calls_per_second: float  # on the one core that the server has


def run(wrk: str, told: Path, target: Target, seconds: float) -> Plain:
    """One round. Raises AssertionError when an answer was not 2xx, or none came."""
    url = f"http://127.0.0.1:{target.port}/v1/chat/completions"
    argv = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", str(told), url]
    before = machine.cpu_seconds(target.pid)
    printed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    cpu = machine.cpu_seconds(target.pid) - before
    found = re.search(r"(\d+) requests in ([\d.]+)(m?s)", printed)
    assert found, printed
    assert "Non-2xx" not in printed, f"{target.name}: {printed}"
    assert "Socket errors" not in printed, f"{target.name}: {printed}"
    calls, took = int(found[1]), float(found[2]) / (1000 if found[3] == "ms" else 1)
    assert calls, f"{target.name} answered nothing"
    return Plain(cpu_us=cpu / calls * 1e6, calls_per_second=calls / took)
