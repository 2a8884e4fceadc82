"""Where the gateway's CPU goes: py-spy samples its worker under each kind of load; own time by function."""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import uvloop

from tests.benchmarks import clients, machine, wrk
from tests.benchmarks.rounds import STREAMS
from tests.benchmarks.stand import Stand, Target

_SECONDS, _RATE, _TOP = 8, 250, 25
# Threads that wait in a system call are sampled as if they worked: uvicorn's answer to its supervisor, idle executors.
_WAITING = ("Connection._recv (multiprocessing/", "_worker (concurrent/")
_LINE_NUMBER = re.compile(r":\d+\)$")
Say = Callable[[str], None]


def run(sampler: str, stand: Stand, wrk_path: str, say: Say) -> int:
    """Sample plain calls, then streams, and print the functions with most own time. 0, as the exit code."""
    plain, streaming = stand.plain["gateway"], stand.streaming["gateway"]
    uvloop.run(clients.latencies(plain, 1, 64))
    with ThreadPoolExecutor(1) as load:
        work: Future[object] = load.submit(wrk.run, wrk_path, stand.script, plain, _SECONDS + 2)
        say(_listing("plain calls", _sample(sampler, plain)))
        work.result()
        work = load.submit(lambda: uvloop.run(clients.streams(streaming, STREAMS, _SECONDS + 1)))
        say(_listing("streams", _sample(sampler, streaming)))
        work.result()
    return 0


def _sample(sampler: str, target: Target) -> list[str]:
    """Stacks with their counts, one per line: frames from the outermost, separated by semicolons."""
    worker = machine.worker(target.pid)
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        options = ("--format", "raw", "-d", str(_SECONDS), "-r", str(_RATE))
        command = [sampler, "record", *options, "-o", file.name, "-p", str(worker)]
        subprocess.run(command, check=True, capture_output=True)
        return Path(file.name).read_text(encoding="utf-8").splitlines()


def _listing(what: str, stacks: list[str]) -> str:
    own: Counter[str] = Counter()
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        function = _LINE_NUMBER.sub(")", frames.rpartition(";")[2])
        if not function.startswith(_WAITING):
            own[function] += int(count)
    total = own.total()
    listed = [f"{100 * count / total:5.1f} %  {name}" for name, count in own.most_common(_TOP)]
    return "\n  ".join([f"own time, {what}, {total} samples:", *listed])
